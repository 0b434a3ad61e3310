//! Answers: JSON bodies, and refusals as a Status.

use std::borrow::Cow;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use contract::InvalidName;
use contract::wire::Status;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use sidecar::chain;
use tracing::error;

use crate::source::SourceError;

/// Why a request gets no answer.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    code: StatusCode,
    reason: &'static str,
    message: Cow<'static, str>,
    retry: Option<Duration>,
    allow: Option<&'static str>,
}

impl Refusal {
    fn new(code: StatusCode, reason: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, reason, message: message.into(), retry: None, allow: None }
    }

    pub(super) fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// The token was not shown, or is another.
    pub(super) fn unauthorized() -> Self {
        let message = "this source is guarded: show its token, as Authorization: Bearer <token>";
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", message)
    }

    pub(super) fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", message)
    }

    pub(super) fn expired(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::GONE, "Expired", message)
    }

    /// The method is not offered; only GET, HEAD and (where `settles`) DELETE are.
    pub(super) fn method(message: impl Into<Cow<'static, str>>, settles: bool) -> Self {
        let allow = Some(if settles { "GET, HEAD, DELETE" } else { "GET, HEAD" });
        Self { allow, ..Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message) }
    }

    pub(super) fn not_offered(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, "NotImplemented", message)
    }

    pub(super) fn unavailable(message: String, retry: Duration) -> Self {
        Self { retry: Some(retry), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message) }
    }

    pub(super) fn too_many(message: String, retry: Duration) -> Self {
        Self { retry: Some(retry), ..Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message) }
    }

    pub(super) fn timeout(deadline: Duration) -> Self {
        let message = format!("the source did not answer within {}", humantime::format_duration(deadline));
        Self { retry: Some(Duration::from_secs(1)), ..Self::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", message) }
    }

    /// A defect of ours, of which the asker learns nothing: the log has it.
    pub(super) fn internal() -> Self {
        let message = "internal error; the ambassador's log says more";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
    }
}

impl Refusal {
    /// As a body, or a line of a watch.
    pub(super) fn status(&self) -> Status {
        Status::failure(self.code.as_u16(), self.reason, self.message.clone())
    }
}

impl From<SourceError> for Refusal {
    fn from(error: SourceError) -> Self {
        let message = error.to_string();
        match error {
            SourceError::NotFound(_) => Self::not_found(message),
            SourceError::Gone(_) => Self::new(StatusCode::GONE, "Gone", message),
            SourceError::Expired(_) => Self::expired(message),
            SourceError::Invalid(_) => Self::bad_request(message),
            SourceError::Unavailable { retry, .. } => Self::unavailable(message, retry),
            SourceError::Unsupported(_) => Self::method(message, false),
            SourceError::Internal(source) => {
                error!(error = chain(&*source), "the source failed");
                Self::internal()
            }
        }
    }
}

impl From<InvalidName> for Refusal {
    fn from(error: InvalidName) -> Self {
        Self::bad_request(error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = json(self.code, &self.status());
        if self.code == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(retry) = self.retry {
            let seconds = retry.as_secs() + u64::from(retry.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if let Some(allow) = self.allow {
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        response
    }
}

/// `body` as JSON, with a newline behind it for people.
pub(super) fn json(code: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(mut text) => {
            text.push(b'\n');
            (code, [(header::CONTENT_TYPE, JSON)], text).into_response()
        }
        Err(error) => {
            error!(%error, "an answer could not be written as JSON");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// The type of every body but a watch's.
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// The type of a watch: a line of JSON for each event.
pub(super) const NDJSON: HeaderValue = HeaderValue::from_static("application/x-ndjson");
