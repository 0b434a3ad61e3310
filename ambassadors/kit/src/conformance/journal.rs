//! What holds for every answer, whatever was asked: noted as answers come, and asked for at the end.

use std::sync::{Mutex, PoisonError};

use contract::wire::Status;
use http::{StatusCode, header};

use super::ask::Answer;

/// The first offence of each kind.
#[derive(Debug, Default)]
pub(super) struct Journal(Mutex<Notes>);

#[derive(Clone, Debug, Default)]
pub(super) struct Notes {
    /// An error that is no proper Status.
    pub(super) status: Option<String>,
    /// A body that is not `application/json`.
    pub(super) body_type: Option<String>,
    /// A 503 that does not say when to ask again.
    pub(super) unavailable: Option<String>,
    /// Whether there was a 503 at all.
    pub(super) was_unavailable: bool,
}

impl Journal {
    /// Notes an answer that was read as far as its kind asks for.
    pub(super) fn note(&self, answer: &Answer) {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Answer { asked, status, headers, body } = answer;
        let is_error = status.is_client_error() || status.is_server_error();
        if !body.is_empty() && (is_error || *status == StatusCode::OK) {
            let kind = headers.get(header::CONTENT_TYPE).map(|kind| String::from_utf8_lossy(kind.as_bytes()));
            let is_json =
                kind.as_ref().is_some_and(|kind| kind.split(';').next().map(str::trim) == Some("application/json"));
            // An error of a source that knows no Status says what it likes.
            if !is_json && !is_error {
                notes.body_type.get_or_insert_with(|| format!("{asked} was answered by {}", kind.unwrap_or_default()));
            }
        }
        if is_error && !asked.starts_with("HEAD ") {
            let fault =
                serde_json::from_slice(body).map_err(|error| error.to_string()).and_then(|said| proper(&said, *status));
            if let Err(fault) = fault {
                notes.status.get_or_insert_with(|| format!("{asked} was answered by {status}, {fault}"));
            }
        }
        if *status == StatusCode::SERVICE_UNAVAILABLE {
            notes.was_unavailable = true;
            if answer.retry_after().is_none() {
                notes
                    .unavailable
                    .get_or_insert_with(|| format!("{asked} was answered by 503 without Retry-After in seconds"));
            }
        }
    }

    pub(super) fn notes(&self) -> Notes {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Whether a Status says what its answer's code says.
fn proper(said: &Status, code: StatusCode) -> Result<(), String> {
    let reasons: &[&str] = match code.as_u16() {
        400 => &["BadRequest"],
        401 => &["Unauthorized"],
        404 => &["NotFound"],
        405 => &["MethodNotAllowed"],
        410 => &["Gone", "Expired"],
        429 => &["TooManyRequests"],
        500 => &["InternalError"],
        501 => &["NotImplemented"],
        503 => &["ServiceUnavailable"],
        504 => &["Timeout"],
        // The contract has no word for others.
        _ => &[],
    };
    let named = reasons.is_empty() || reasons.contains(&said.reason.as_str());
    let is_whole = said.kind == "Status" && said.status == "Failure" && !said.message.is_empty();
    if is_whole && named && said.code == code.as_u16() {
        Ok(())
    } else {
        Err(format!("with no Status of it: {said:?}"))
    }
}
