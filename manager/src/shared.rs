//! What the run loop and the attempts it has under way share: the three seams, and patience with each.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use sidecar::{Health, Shutdown};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::executor::{AttemptId, Phase, Snapshot};
use crate::ledger::LedgerError;
use crate::metrics::Meters;
use crate::verdict::Judge;

/// Why the manager cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The ledger is of no use any more.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A fault point was told to fail.
    #[error("stopped by fault injection")]
    Fault(#[from] std::io::Error),
    /// A defect of ours.
    #[error("a task of the manager panicked")]
    Panicked(#[from] tokio::task::JoinError),
}

impl RunError {
    /// What the process exits with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Ledger(error) => error.exit_code(),
            Self::Fault(_) => 74,
            Self::Panicked(_) => 70,
        }
    }
}

/// What all attempts are to do, beyond their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Orders {
    /// Go on.
    Work,
    /// Those that have not begun: do not.
    Drain,
    /// Those that run: end, within this.
    Stop(Duration),
}

/// Everything an attempt needs.
pub(crate) struct Shared<S, E, L> {
    pub(crate) source: S,
    pub(crate) executor: E,
    pub(crate) ledger: L,
    pub(crate) clock: Clock,
    pub(crate) judge: Mutex<Judge>,
    pub(crate) pulse: Pulse,
    pub(crate) orders: watch::Sender<Orders>,
    pub(crate) health: Health,
    pub(crate) meters: Meters,
    pub(crate) shutdown: Shutdown,
    /// How long an item that its source lists and does not give is left alone.
    pub(crate) put_off: Duration,
}

impl<S, E, L> Shared<S, E, L> {
    pub(crate) fn judge(&self) -> MutexGuard<'_, Judge> {
        self.judge.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the ledger until it answers: a full disk makes the manager wait, and nothing is forgotten meanwhile. Only
    /// what time cannot mend is an error, and everything is once the manager is aborted.
    pub(crate) async fn keep<'a, R, F>(&'a self, mut ask: impl FnMut(&'a L) -> F + Send) -> Result<R, LedgerError>
    where
        F: Future<Output = Result<R, LedgerError>> + Send,
        Self: Sync,
    {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
        loop {
            match ask(&self.ledger).await {
                Ok(answer) => {
                    if backoff.used() {
                        info!("the ledger can be written again");
                        self.health.ready("ledger");
                    }
                    return Ok(answer);
                }
                Err(error) if error.is_temporary() && !self.shutdown.is_aborting() => {
                    // All who write meet the same full disk: it is said once.
                    let said = self.health.obstacles().iter().any(|(part, _)| *part == "ledger");
                    if !said {
                        warn!(%error, "the ledger cannot be written; nothing is started until it can");
                    }
                    self.health.not_ready("ledger", error.to_string());
                    tokio::select! {
                        () = sleep(backoff.next()) => {}
                        () = self.shutdown.aborting() => {}
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Waits that double, each somewhere between half and the whole, so that many who wait do not come back at once.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, next: first }
    }

    pub(crate) fn used(&self) -> bool {
        self.next != self.first
    }

    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }

    pub(crate) fn next(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(self.most.max(self.first + Duration::from_nanos(1)));
        wait.mul_f64(0.5 + 0.5 * fastrand::f64())
    }
}

/// Wakes whoever waits for an attempt when a snapshot says that there may be news of it. What it says is not believed:
/// they look for themselves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pulse(Arc<Mutex<HashMap<AttemptId, Arc<Notify>>>>);

impl Pulse {
    /// From now on, until what is given back is dropped.
    pub(crate) fn watch(&self, id: &AttemptId) -> Watched {
        let notify = Arc::new(Notify::new());
        self.lock().insert(id.clone(), Arc::clone(&notify));
        Watched { pulse: self.clone(), id: id.clone(), notify }
    }

    /// Passes on what the executor sees, for as long as it does.
    pub(crate) async fn follow(self, mut snapshots: impl Stream<Item = Snapshot> + Unpin + Send) {
        while let Some(snapshot) = snapshots.next().await {
            let alive = |(_, phase): &&(AttemptId, Phase)| matches!(phase, Phase::Pending | Phase::Running);
            let alive: HashSet<&AttemptId> = snapshot.attempts.iter().filter(alive).map(|(id, _)| id).collect();
            // One that is not shown may be lost, or not be shown yet.
            self.lock().iter().filter(|(id, _)| !alive.contains(id)).for_each(|(_, notify)| notify.notify_one());
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AttemptId, Arc<Notify>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One attempt that is waited for.
#[derive(Debug)]
pub(crate) struct Watched {
    pulse: Pulse,
    id: AttemptId,
    notify: Arc<Notify>,
}

impl Watched {
    pub(crate) async fn news(&self) {
        self.notify.notified().await;
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.pulse.lock().remove(&self.id);
    }
}
