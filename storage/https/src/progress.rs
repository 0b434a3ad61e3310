//! A line in the log every 5 seconds, of what takes longer.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::info;

const EVERY: Duration = Duration::from_secs(5);

/// How far transfers are that belong together.
#[derive(Debug)]
pub(crate) struct Progress {
    what: &'static str,
    uri: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    bytes: u64,
    of: Option<u64>,
    told: Instant,
}

impl Progress {
    /// `what` is `fetching` or `publishing`, `uri` what goes over the wire, `of` how much that is, where known.
    pub(crate) fn new(what: &'static str, uri: String, of: Option<u64>) -> Self {
        Self { what, uri, state: Mutex::new(State { bytes: 0, of, told: Instant::now() }) }
    }

    /// It begins anew, and has so many bytes now.
    pub(crate) fn restart(&self, of: Option<u64>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.bytes, state.of) = (0, of);
    }

    /// So many bytes more are done.
    pub(crate) fn add(&self, bytes: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.bytes += bytes;
        if state.told.elapsed() < EVERY {
            return;
        }
        state.told = Instant::now();
        info!(uri = self.uri, bytes = state.bytes, of = state.of, "{}", self.what);
    }
}
