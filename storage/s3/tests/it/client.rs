//! The client against real stores, and against what is none.

mod needs_s3_servers;
mod refusals;
mod strangers;

use std::time::Duration;

use storage_s3::{Patience, S3, S3Args, TransferArgs};
use test_servers::S3Server;

/// Longer than any machine stands still, or takes to start a server.
pub(crate) const LONG: Patience = Patience { total: Duration::from_secs(300), answer: Duration::from_secs(300) };
/// Gives up after the first attempts.
pub(crate) const NONE: Patience = Patience { total: Duration::ZERO, ..LONG };

pub(crate) fn args(url: &str) -> S3Args {
    S3Args { s3_endpoint_url: Some(url.to_owned()), s3_region: Some("us-east-1".to_owned()), ..S3Args::default() }
}

/// The store behind `url`, as the root user of `server`.
pub(crate) fn s3_at(url: &str, server: &S3Server) -> S3 {
    S3::with_keys(args(url), TransferArgs::default(), server.access_key(), server.secret_key()).with_patience(LONG)
}

pub(crate) fn s3(server: &S3Server) -> S3 {
    s3_at(&server.url(), server)
}

/// Somebody at `url` who does not look at signatures.
pub(crate) fn anybody(url: &str, patience: Patience) -> S3 {
    S3::with_keys(args(url), TransferArgs::default(), "AK", "SK").with_patience(patience)
}

/// The error and its causes.
pub(crate) fn said(error: &storage::Error) -> String {
    let source = std::error::Error::source(error).map(|source| format!(": {source}"));
    format!("{error}{}", source.unwrap_or_default())
}
