//! What the store says, in the words of the contract.

use std::time::Duration;

use ambassador_kit::source::SourceError;
use sidecar::chain;
use storage::Error;

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
        Error::Invalid(_) | Error::Changed { .. } | Error::Taken(_) | Error::Unpublishable(_) | Error::Io { .. } => {
            "other"
        }
    }
}
