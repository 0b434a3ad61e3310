//! What `--check` asks of the store before anything is listed, so that it says whose fault it is.

use sidecar::Failure;
use storage::Error;
use storage_s3::ListQuery;

use crate::args::Settings;

/// Whether there is such a bucket, and it may be listed.
///
/// # Errors
/// Exit 78 when it may not or there is none, 69 when the store fails or does not answer.
pub(crate) async fn preflight(settings: &Settings) -> Result<(), Failure> {
    let query = ListQuery { prefix: settings.prefix.clone(), max: Some(1), ..ListQuery::default() };
    match tokio::time::timeout(settings.when.stall_after, settings.bucket.list(&query)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error @ (Error::Forbidden(_) | Error::Unsupported(_) | Error::Invalid(_) | Error::NotFound(_)))) => {
            Err(Failure::config(error))
        }
        Ok(Err(error)) => Err(Failure::unavailable(error)),
        Err(_) => Err(Failure::unavailable(anyhow::anyhow!("the store does not answer"))),
    }
}
