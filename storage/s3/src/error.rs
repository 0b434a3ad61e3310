//! What the SDK says, in the words of storage's seam.

use std::io;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use storage::Error;

use crate::credentials::Failure;
use crate::home::REGION;
use crate::retry::{EXPIRED, GivenUp};
use crate::whole::CutShort;

/// A store's refusal, before anybody has said what it means there.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// The HTTP status; 0 when there was no answer.
    pub(crate) status: u16,
    /// The store's own word, such as `NoSuchKey`; empty where it gave none (a HEAD has no body).
    pub(crate) code: String,
    /// All of it for people, the chain of causes in one line.
    pub(crate) message: String,
    /// Where the bucket is, if the store says that it is elsewhere.
    region: Option<String>,
    /// Whether whoever answered does not speak S3, and what it does instead.
    stranger: Option<String>,
    /// Why there were no credentials to sign with.
    failure: Option<Failure>,
}

impl<E: ProvideErrorMetadata + std::error::Error + 'static> From<SdkError<E, HttpResponse>> for Refusal {
    fn from(error: SdkError<E, HttpResponse>) -> Self {
        let response = error.raw_response();
        let status = response.map_or(0, |response| response.status().as_u16());
        let header = |name: &str| response.and_then(|response| response.headers().get(name)).map(str::to_owned);
        let code = error.code().unwrap_or_default().to_owned();
        let message = match error.message() {
            Some(message) if !code.is_empty() => format!("{code}: {message}"),
            _ if status != 0 && !code.is_empty() => code.clone(),
            _ if let Some(cut) = find::<CutShort>(&error) => cut.to_string(),
            _ if let Some(given_up) = find::<GivenUp>(&error) => given_up.to_string(),
            _ if status != 0 => format!("HTTP {status}"),
            _ => plainly(&error),
        };
        let page = header("content-type").is_some_and(|kind| kind.starts_with("text/html"));
        let speaks = response.and_then(|response| response.body().bytes()).is_some_and(|body| !body.is_empty());
        let stranger = match (header("location"), code.is_empty()) {
            (Some(to), true) if matches!(status, 301..=308) => Some(format!("redirects to {to}")),
            (_, true) if page && status < 500 => Some("answers with a web page".to_owned()),
            (_, true) if (200..300).contains(&status) && find::<CutShort>(&error).is_none() => {
                Some("answers with what is no S3".to_owned())
            }
            (_, true) if speaks && matches!(status, 400 | 404 | 405) => Some("answers with what is no S3".to_owned()),
            _ => None,
        };
        let region = header(REGION);
        // What the bucket's own region answers is no word about where it is.
        let region = region.filter(|_| matches!(status, 301 | 307 | 308 | 400));
        Self { status, code, message, region, stranger, failure: find(&error).cloned() }
    }
}

/// An error and its causes in one line, none said twice.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

/// The first of its kind among an error and its causes.
pub(crate) fn find<'a, E: std::error::Error + 'static>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// Whether a text says that the other side's certificate, or its TLS at all, was not accepted.
pub(crate) fn is_distrusted(text: &str) -> bool {
    ["invalid peer certificate", "corrupt message", "InvalidContentType", "no certificates"]
        .iter()
        .any(|words| text.contains(words))
}

impl Refusal {
    pub(crate) fn is_precondition(&self) -> bool {
        self.status == 412 || self.code == "PreconditionFailed"
    }

    /// Whether the object (or what was asked for of it) is not there.
    pub(crate) fn is_absent(&self) -> bool {
        match self.code.as_str() {
            "NoSuchKey" | "NotFound" | "NoSuchVersion" => true,
            // A HEAD has no body, so no code either.
            "" => self.status == 404 && self.stranger.is_none(),
            _ => false,
        }
    }

    /// Whether it does not say why: the answer to a HEAD has no body. It may be an expired token as well as another region, a key that
    /// nobody knows as well as a right that is missing.
    pub(crate) fn is_mute(&self) -> bool {
        matches!(self.status, 400 | 403) && self.code.is_empty() && self.stranger.is_none()
    }

    /// Whether the store lacks this operation.
    pub(crate) fn is_unimplemented(&self) -> bool {
        self.status == 501
            || matches!(self.code.as_str(), "NotImplemented" | "MethodNotAllowed" | "VersioningNotConfigured")
    }

    /// `doing`, which was refused so, as an error of the seam.
    pub(crate) fn at(self, doing: &str) -> Error {
        if let Some(failure) = self.failure {
            return failure.error();
        }
        let Self { status, code, message, region, stranger, .. } = self;
        let text = format!("cannot {doing}: {message}");
        if let Some(does) = stranger {
            return no_store(&text, &does);
        }
        match (status, code.as_str()) {
            (_, "NoSuchBucket") => Error::Unsupported(format!("{text}; is the bucket's name right, and the endpoint?")),
            (301 | 307 | 308, _) | (400, "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException") => {
                elsewhere(&text, region)
            }
            // Its own region is no news (`crate::home`).
            (400, "") if region.is_some() => elsewhere(&text, region),
            (_, code) if EXPIRED.contains(&code) => Error::Unavailable {
                doing: doing.to_owned(),
                source: io::Error::other(format!("{message}; the credentials have expired: give others")),
            },
            (_, "InvalidAccessKeyId" | "InvalidToken" | "InvalidClientTokenId") => {
                Error::Forbidden(format!("{text}; the store does not know the access key: is it of this endpoint?"))
            }
            (_, "SignatureDoesNotMatch") => Error::Forbidden(format!(
                "{text}; is the secret key right, and does nothing in between change the Host header or the path?"
            )),
            (_, "RequestTimeTooSkewed") => {
                Error::Forbidden(format!("{text}; this machine's clock and the store's are too far apart"))
            }
            (_, "NotImplemented") | (405 | 501, _) => Error::Unsupported(format!("{text}: this store lacks it")),
            // What is full is emptied, what was spoilt on its way comes through.
            (_, code) if PASSING.contains(&code) => away(doing, message),
            (404, _) | (_, "NoSuchKey" | "NotFound" | "NoSuchVersion") => Error::NotFound(text),
            (401 | 403, code) => Error::Forbidden(match right(doing).filter(|_| matches!(code, "" | "AccessDenied")) {
                Some(right) => format!("{text}; it needs {right}"),
                None => text,
            }),
            (409 | 412, _) => Error::Busy(text),
            (_, code) if NAMING.contains(&code) => Error::Invalid(text),
            (_, "InvalidArgument") if message.contains("version id") => Error::Invalid(text),
            (0, _) if is_distrusted(&message) => Error::Unsupported(format!(
                "{text}; a store whose certificate is signed by an authority of its own needs --s3-ca-bundle (AWS_CA_BUNDLE)"
            )),
            // Any other refusal may be about how the store is set up as well: no item is given up for it.
            _ => away(doing, message),
        }
    }
}

/// Refusals of what the store itself has no room for, or did not get as it was sent, whatever their status.
const PASSING: [&str; 12] = [
    "BadDigest",
    "XAmzContentChecksumMismatch",
    "IncompleteBody",
    "RequestTimeout",
    "QuotaExceeded",
    "QuotaExceededException",
    "XMinioAdminBucketQuotaExceeded",
    "XMinioStorageFull",
    "InsufficientCapacity",
    "InsufficientStorage",
    "TooManyRequests",
    "SlowDown",
];
/// Refusals of a key that no object can have in this store.
const NAMING: [&str; 4] = ["KeyTooLongError", "InvalidURI", "InvalidObjectName", "XMinioInvalidObjectName"];

/// What has to be allowed, to do this.
fn right(doing: &str) -> Option<&'static str> {
    const RIGHTS: [(&str, &str); 13] = [
        ("list the uploads ", "s3:ListBucketMultipartUploads on the bucket"),
        ("list versions ", "s3:ListBucketVersions on the bucket"),
        ("list ", "s3:ListBucket on the bucket"),
        ("ask whether ", "s3:GetBucketVersioning on the bucket"),
        ("look at ", "s3:GetObject on it"),
        ("fetch ", "s3:GetObject on it"),
        ("read the tags ", "s3:GetObjectTagging on it"),
        ("read ", "s3:GetObject on it"),
        ("tag ", "s3:PutObjectTagging on it"),
        ("write ", "s3:PutObject on it"),
        ("delete ", "s3:DeleteObject on it"),
        ("abort ", "s3:AbortMultipartUpload on it"),
        (
            "copy ",
            "s3:GetObject and s3:GetObjectTagging on the first, s3:PutObject and s3:PutObjectTagging on the other",
        ),
    ];
    RIGHTS.iter().find(|(what, _)| doing.starts_with(what)).map(|(_, right)| *right)
}

/// An error and its causes in one line, without the SDK's words for what has its own.
pub(crate) fn plainly(error: &(dyn std::error::Error + 'static)) -> String {
    let refused = find::<io::Error>(error).is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    // Some causes hide theirs from those who ask, and not from those who read.
    let all = chain(error);
    if refused || all.contains("Connection refused") { "connection refused".to_owned() } else { all }
}

/// What is said of an answer that no store gives.
pub(crate) fn no_store(text: &str, does: &str) -> Error {
    Error::Unsupported(format!(
        "{text}: whoever answers {does}; is the endpoint the S3 API itself, and nothing in between?"
    ))
}

fn away(doing: &str, message: String) -> Error {
    Error::Unavailable { doing: doing.to_owned(), source: io::Error::other(message) }
}

fn elsewhere(text: &str, region: Option<String>) -> Error {
    Error::Unsupported(match region {
        Some(region) => format!("{text}; the bucket is in {region}: say --s3-region {region} or AWS_REGION={region}"),
        None => format!("{text}; the bucket is in another region: say it by --s3-region or AWS_REGION"),
    })
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}
