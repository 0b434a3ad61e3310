//! What a server's refusal means, and what trying again can mend.

use std::io;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode, header};
use storage::Error;

use crate::link::Link;

/// The longest that a server's `Retry-After` is waited for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// Why a request came to nothing.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Trying again would end the same way.
    Final(Error),
    /// It may pass: a reset, a timeout, a server that is busy or away.
    Passing {
        /// For people.
        why: String,
        /// When the server wants to be asked again.
        after: Option<Duration>,
    },
}

impl Failure {
    pub(crate) fn passing(why: impl Into<String>) -> Self {
        Self::Passing { why: why.into(), after: None }
    }

    /// This failure of `doing` as an error of the seam, by whoever does not try again.
    pub(crate) fn at(self, doing: &str) -> Error {
        match self {
            Self::Final(error) => error,
            Self::Passing { why, .. } => Error::Unavailable { doing: doing.to_owned(), source: io::Error::other(why) },
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

/// An answer that is not what was asked for, its body read as far as it tells something.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    /// A store's own word: S3's, Google's and Azure's `Code`.
    code: String,
    message: String,
    after: Option<Duration>,
}

impl Refusal {
    /// The refusal of a request for `link`. What the body says is left out where it repeats anything of the query.
    pub(crate) fn new(status: StatusCode, headers: &HeaderMap, body: &[u8], link: &Link) -> Self {
        let body = String::from_utf8_lossy(body);
        let told = |tag| element(&body, tag).filter(|text| !repeats(text, link)).unwrap_or_default();
        let after = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let after = after.map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
        Self { status, code: told("Code"), message: told("Message"), after }
    }

    /// Whether it was refused because the URL's time is over: an URL made anew will do.
    pub(crate) fn is_expired(&self, link: &Link, now: SystemTime) -> bool {
        if !matches!(self.status.as_u16(), 400 | 401 | 403) {
            return false;
        }
        let said =
            matches!(self.code.as_str(), "ExpiredToken" | "ExpiredRequest" | "TokenRefreshRequired" | "RequestExpired");
        let message = self.message.to_ascii_lowercase();
        // Some stores say no more than that access is denied, to a URL that says itself when it ends.
        said || message.contains("has expired") || link.expiry().is_some_and(|expiry| expiry <= now)
    }

    /// Whether a store refuses a PUT since another one, on the same condition, is under way.
    pub(crate) fn is_conditional_conflict(&self) -> bool {
        self.code == "ConditionalRequestConflict"
    }

    /// What it means to whoever was `doing` something with `link`.
    pub(crate) fn judge(self, doing: &str, link: &Link) -> Failure {
        let expired = self.is_expired(link, SystemTime::now());
        let why = self.to_string();
        let text = format!("cannot {doing}: {why}");
        if expired {
            return Error::Expired(format!("{text}; the URL has expired, and the item read anew has another")).into();
        }
        Failure::Final(match self.status.as_u16() {
            408 | 425 | 429 | 500 | 502..=504 | 506..=599 => return Failure::Passing { why, after: self.after },
            404 | 410 => Error::NotFound(text),
            401 | 403 | 407 => Error::Forbidden(text),
            409 | 423 => Error::Busy(text),
            400..=499 => Error::Invalid(text),
            _ => Error::Unsupported(text),
        })
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HTTP {}", self.status.as_u16())?;
        match (self.code.as_str(), self.message.as_str()) {
            ("", "") => self.status.canonical_reason().map_or(Ok(()), |reason| write!(f, " {reason}")),
            (code, "") => write!(f, " {code}"),
            ("", message) => write!(f, ": {message}"),
            (code, message) => write!(f, " {code}: {message}"),
        }
    }
}

/// The text of the first `<tag>`, in one line of at most 300 characters, to be followed by more.
fn element(xml: &str, tag: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{tag}>"))?;
    let (text, _) = rest.split_once("</")?;
    Some(text.trim().trim_end_matches('.').chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect())
}

/// Whether `text` has a value of the URL's query in it that is long enough to be a secret.
fn repeats(text: &str, link: &Link) -> bool {
    let parts = link.query().unwrap_or_default().split(['&', '=']);
    parts.filter(|part| part.len() >= 8).any(|part| text.contains(part) || text.contains(&decoded(part)))
}

fn decoded(text: &str) -> String {
    String::from_utf8_lossy(&contract::item::decode_path(text)).into_owned()
}

#[cfg(test)]
mod tests {
    use storage::Uri;

    use super::*;

    fn judged(status: u16, body: &str, url: &str) -> Failure {
        let link = Link::parse(&Uri::parse(url).expect("a URI")).expect("a URL");
        let status = StatusCode::from_u16(status).expect("a status");
        Refusal::new(status, &HeaderMap::new(), body.as_bytes(), &link).judge("fetch it", &link)
    }

    #[test]
    fn an_expired_url_is_temporary_and_any_other_refusal_is_not() {
        let aws = "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>Request has expired</Message>\
                   <X-Amz-Expires>1</X-Amz-Expires></Error>";
        let token = "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>";
        let denied = "<Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>";
        for (status, body, url) in [
            (403, aws, "https://h/a"),
            (400, token, "https://h/a"),
            (403, token, "https://h/a"),
            (400, "<Error><Code>ExpiredToken</Code></Error>", "https://h/a"),
            (403, denied, "https://h/a?X-Amz-Date=20130524T000000Z&X-Amz-Expires=60"),
            (403, "", "https://h/a?Expires=1&Signature=x"),
        ] {
            assert!(matches!(judged(status, body, url), Failure::Final(Error::Expired(_))), "{status} {body} {url}");
        }
        for url in ["https://h/a", "https://h/a?X-Amz-Date=21130524T000000Z&X-Amz-Expires=60"] {
            let Failure::Final(Error::Forbidden(text)) = judged(403, denied, url) else { panic!("{url} is forbidden") };
            assert_eq!(text, "cannot fetch it: HTTP 403 AccessDenied: Access Denied");
        }
        assert!(matches!(judged(404, "", "https://h/a?Expires=1"), Failure::Final(Error::NotFound(_))));
    }

    #[test]
    fn what_may_pass_is_told_from_what_will_not() {
        for status in [408, 425, 429, 500, 502, 503, 504, 507] {
            assert!(matches!(judged(status, "", "https://h/a"), Failure::Passing { .. }), "{status}");
        }
        for (status, want) in [(401, "Forbidden"), (404, "NotFound"), (410, "NotFound"), (409, "Busy"), (423, "Busy")] {
            let Failure::Final(error) = judged(status, "", "https://h/a") else { panic!("{status} passes") };
            assert!(format!("{error:?}").starts_with(want), "{status}: {error:?}");
        }
        for (status, want) in
            [(400, "Invalid"), (414, "Invalid"), (300, "Unsupported"), (501, "Unsupported"), (505, "Unsupported")]
        {
            let Failure::Final(error) = judged(status, "", "https://h/a") else { panic!("{status} passes") };
            assert!(format!("{error:?}").starts_with(want), "{status}: {error:?}");
        }
    }

    #[test]
    fn a_server_is_waited_for_as_long_as_it_says_and_no_longer_than_can_be() {
        let link = Link::parse(&Uri::parse("https://h/a").expect("a URI")).expect("a URL");
        for (text, want) in
            [("3", Some(3)), ("86400", Some(30)), ("soon", None), ("Sun, 22 Nov 2026 08:00:00 GMT", None)]
        {
            let headers = [(header::RETRY_AFTER, text.parse().expect("a value"))].into_iter().collect();
            let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, &headers, b"", &link);
            let Failure::Passing { after, .. } = refusal.judge("x", &link) else { panic!("it may pass") };
            assert_eq!(after, want.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn a_body_that_repeats_the_signature_is_not_repeated() {
        let body = "<Error><Code>SignatureDoesNotMatch</Code><Message>sig AbCdEf/123456 is wrong</Message></Error>";
        let Failure::Final(Error::Forbidden(text)) = judged(403, body, "https://h/a?sig=AbCdEf%2F123456") else {
            panic!("it is forbidden")
        };
        assert_eq!(text, "cannot fetch it: HTTP 403 SignatureDoesNotMatch");
    }
}
