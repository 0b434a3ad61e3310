//! Single records, for those who ask for items: in order they are had ahead of their askers, elsewhere they are sought in the log.
//!
//! A few lanes read, each on a thread of its own with a connection of its own. Whoever asks finds the record in what a lane has read
//! already, or gives the question to the lane that comes by there soonest, and waits without holding a thread.

mod lane;
mod shelf;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ambassador_kit::source::SourceError;
use tokio::sync::oneshot;

use self::lane::{Ask, Lane};
use super::Shared;
use crate::naming::Position;
use crate::record::Record;
use crate::trouble::RETRY;

/// Places in the log that are read from at once.
const LANES: usize = 4;
/// Questions that wait at a lane at most; more are told to come again.
const WAITING: usize = 256;

/// What became of a question.
#[derive(Clone, Debug)]
pub(super) enum Fetched {
    Record(Arc<Record>),
    /// The log has it no more.
    Gone,
}

/// Answers questions for records.
#[derive(Debug)]
pub(super) struct Fetcher {
    shared: Arc<Shared>,
    lanes: Vec<Arc<Lane>>,
    turn: AtomicU64,
}

impl Fetcher {
    /// Starts threads that end when nobody asks any more.
    pub(super) fn start(shared: &Arc<Shared>) -> Self {
        let ahead = usize::try_from(shared.settings.when.read_ahead.as_u64()).unwrap_or(usize::MAX) / LANES;
        let lanes = (0..LANES).map(|_| worker::start(Arc::clone(shared), ahead)).collect();
        Self { shared: Arc::clone(shared), lanes, turn: AtomicU64::new(0) }
    }

    /// The record at a position of an incarnation's list.
    ///
    /// # Errors
    /// [`SourceError::Unavailable`] where the brokers do not give it.
    pub(super) async fn fetch(&self, at: Position, incarnation: &str) -> Result<Fetched, SourceError> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        if let Some(record) = self.lanes.iter().find_map(|lane| lane.have(at, incarnation, turn)) {
            self.shared.metrics.got(true);
            return Ok(Fetched::Record(record));
        }
        self.shared.metrics.got(false);
        let lane = self.lanes.iter().find(|lane| lane.is_near(at, incarnation));
        let lane = lane.or_else(|| self.lanes.iter().min_by_key(|lane| lane.load()));
        let (answer, answered) = oneshot::channel();
        let taken = lane.is_some_and(|lane| lane.ask(Ask::new(at, incarnation, answer), turn, WAITING));
        let unavailable = |why: &str| SourceError::Unavailable { why: why.to_owned(), retry: RETRY };
        if !taken {
            return Err(unavailable("too many items are asked for at once"));
        }
        answered.await.unwrap_or_else(|_| Err(unavailable("the ambassador is about to end")))
    }
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        // What they look at first is whether anybody asks still.
        self.shared.over.store(true, Ordering::Relaxed);
        self.lanes.iter().for_each(|lane| lane.wake());
    }
}
