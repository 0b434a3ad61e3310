//! What the store says, in the words of the contract.

use std::io;
use std::time::{Duration, Instant};

use ambassador_kit::source::SourceError;
use sidecar::chain;
use storage::Error;

use crate::args::Settings;

/// When to ask again for what could not be seen.
pub(crate) const RETRY: Duration = Duration::from_secs(2);

/// A request about the bucket, or one object of it, that failed.
pub(crate) fn unavailable(error: &Error) -> SourceError {
    SourceError::Unavailable { why: chain(error), retry: RETRY }
}

/// One word for the metric.
pub(crate) fn reason(error: &Error) -> &'static str {
    match error {
        Error::Forbidden(_) | Error::Expired(_) => "forbidden",
        Error::NotFound(_) | Error::Unsupported(_) => "no-bucket",
        Error::Unavailable { .. } => "unavailable",
        Error::Busy(_) => "busy",
        Error::Invalid(_)
        | Error::Changed { .. }
        | Error::Taken(_)
        | Error::Unreadable(_)
        | Error::Unpublishable(_)
        | Error::Io { .. } => "other",
    }
}

/// `answer`, unless it is too long in coming (`--stall-after`). What the store said meanwhile, or whoever stands where it should, is
/// said then: it may well have answered, and never with what was asked for.
///
/// # Errors
/// [`Error::Unavailable`] after that time.
pub(crate) async fn within<T>(settings: &Settings, answer: impl Future<Output = T>) -> Result<T, Error> {
    let (began, stall_after) = (Instant::now(), settings.when.stall_after);
    tokio::time::timeout(stall_after, answer).await.map_err(|_| {
        let patience = humantime::format_duration(stall_after);
        let why = match settings.bucket.s3().last_failure(began) {
            Some(cause) => format!("nothing came of it within {patience} (--stall-after); the last attempt: {cause}"),
            None => format!("it has not answered within {patience} (--stall-after)"),
        };
        let source = io::Error::new(io::ErrorKind::TimedOut, why);
        Error::Unavailable {
            doing: format!("hear from the store of {}", settings.bucket.uri(&settings.prefix)),
            source,
        }
    })
}
