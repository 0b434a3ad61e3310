//! A line in the log every 5 seconds, of what takes longer.

use std::time::{Duration, Instant};

use tracing::info;

const EVERY: Duration = Duration::from_secs(5);

/// How far a transfer is.
#[derive(Debug)]
pub(crate) struct Progress {
    what: &'static str,
    uri: String,
    total: Option<u64>,
    last: Instant,
}

impl Progress {
    /// `what` is `fetching` or `publishing`, `uri` what goes over the wire.
    pub(crate) fn new(what: &'static str, uri: String) -> Self {
        Self { what, uri, total: None, last: Instant::now() }
    }

    /// All there is, where known.
    pub(crate) fn total(&mut self, bytes: Option<u64>) {
        self.total = bytes;
    }

    /// So much is done.
    pub(crate) fn at(&mut self, bytes: u64) {
        if self.last.elapsed() < EVERY {
            return;
        }
        self.last = Instant::now();
        info!(uri = self.uri, bytes, of = self.total, "{}", self.what);
    }
}
