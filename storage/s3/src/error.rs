//! What the SDK says, in the words of storage's seam.

use std::io;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use storage::Error;

/// A store's refusal, before anybody has said what it means there.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// The HTTP status; 0 when there was no answer.
    pub(crate) status: u16,
    /// The store's own word, such as `NoSuchKey`; empty where it gave none (a HEAD has no body).
    pub(crate) code: String,
    /// All of it for people, the chain of causes in one line.
    pub(crate) message: String,
}

impl<E: ProvideErrorMetadata + std::error::Error + 'static> From<SdkError<E, HttpResponse>> for Refusal {
    fn from(error: SdkError<E, HttpResponse>) -> Self {
        let status = error.raw_response().map_or(0, |response| response.status().as_u16());
        let code = error.code().unwrap_or_default().to_owned();
        let message = match error.message() {
            Some(message) if !code.is_empty() => format!("{code}: {message}"),
            _ if status != 0 && !code.is_empty() => code.clone(),
            _ if status != 0 => format!("HTTP {status}"),
            _ => chain(&error),
        };
        Self { status, code, message }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
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

impl Refusal {
    pub(crate) fn is_precondition(&self) -> bool {
        self.status == 412 || self.code == "PreconditionFailed"
    }

    /// Whether the object (or what was asked for of it) is not there.
    pub(crate) fn is_absent(&self) -> bool {
        match self.code.as_str() {
            "NoSuchKey" | "NotFound" | "NoSuchVersion" => true,
            // A HEAD has no body, so no code either.
            "" => self.status == 404,
            _ => false,
        }
    }

    /// Whether the store lacks this operation.
    pub(crate) fn is_unimplemented(&self) -> bool {
        self.status == 501
            || matches!(self.code.as_str(), "NotImplemented" | "MethodNotAllowed" | "VersioningNotConfigured")
    }

    /// `doing`, which was refused so, as an error of the seam.
    pub(crate) fn at(self, doing: &str) -> Error {
        let Self { status, code, message } = self;
        let text = format!("cannot {doing}: {message}");
        match (status, code.as_str()) {
            (_, "NoSuchBucket") => Error::Unsupported(format!("{text}; is the bucket's name right, and the endpoint?")),
            (404, _) | (_, "NoSuchKey" | "NotFound" | "NoSuchVersion") => Error::NotFound(text),
            (401 | 403, _) => Error::Forbidden(text),
            (301 | 307 | 308, _) | (400, "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException") => {
                Error::Unsupported(format!(
                    "{text}; the bucket is in another region: say it by --s3-region or AWS_REGION"
                ))
            }
            (409 | 412, _) => Error::Busy(text),
            (400..=499, _) => Error::Invalid(text),
            _ => Error::Unavailable { doing: doing.to_owned(), source: io::Error::other(message) },
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}
