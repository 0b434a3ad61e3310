//! Why and how a run ends.

use std::fmt;
use std::time::Duration;

use contract::exit;
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use super::{ABORT_WAIT, Manager, RunError};
use crate::executor::Executor;
use crate::ledger::Ledger;
use crate::plan::Settles;
use crate::shared::Orders;
use crate::source::Source;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The source is empty, or as many items as allowed are through.
    Finished(Summary),
    /// The first attempts all failed alike.
    Broken(Summary),
    /// The source did not answer for as long as it was to be waited for.
    Unreachable(Summary),
    /// It was told to end.
    Drained {
        /// What it did.
        summary: Summary,
        /// Whether there was an end it did not reach.
        early: bool,
    },
}

/// What a run did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    began: Instant,
    /// Items done.
    pub done: u64,
    /// Items given up.
    pub dead: u64,
    /// Items that an earlier run gave up: they stand in the dead letter until somebody retries or skips them.
    pub dead_before: u64,
    /// Items that are not to be done.
    pub skipped: u64,
    /// Items that are still to be done.
    pub left: u64,
    /// How long it took.
    pub took: Duration,
}

impl Ending {
    /// What the process exits with: 0 all done, 3 some are dead, 4 the breaker is open, 69 the source does not answer, 75
    /// ended early.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Finished(summary) if summary.dead + summary.dead_before == 0 => 0,
            Self::Finished(_) => 3,
            Self::Broken(_) => 4,
            Self::Unreachable(_) => exit::UNAVAILABLE,
            Self::Drained { early: true, .. } => 75,
            Self::Drained { early: false, .. } => 0,
        }
    }

    /// What the run did.
    pub fn summary(&self) -> &Summary {
        match self {
            Self::Finished(summary)
            | Self::Broken(summary)
            | Self::Unreachable(summary)
            | Self::Drained { summary, .. } => summary,
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self {
            Self::Finished(_) => "finished",
            Self::Broken(_) => "given up, since the first items all failed alike",
            Self::Unreachable(_) => "given up, since the source did not answer for as long as --source-wait says",
            Self::Drained { .. } => "ended as told",
        };
        write!(f, "{how}: {}", self.summary())
    }
}

/// What a run that ends by itself waits for while nothing runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    Source,
    First,
    Operator,
    Complete,
    Backlog(u64),
    Pending(u64),
    Todo(u64),
    Unsettled(u64),
    Confirmation,
    Items(usize),
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source => f.write_str("the source to answer"),
            Self::First => f.write_str("a first item (--wait-for-first)"),
            Self::Operator => f.write_str("`queue-manager resume`"),
            Self::Complete => f.write_str("the source to see all of itself"),
            Self::Backlog(items) => write!(f, "{items} items behind the source's window"),
            Self::Pending(items) => write!(f, "{items} items that are about to be listed"),
            Self::Todo(items) => write!(f, "{items} items whose time has not come"),
            Self::Unsettled(items) => write!(f, "the source to be told of {items} items"),
            Self::Confirmation => f.write_str("a list that shows nothing new"),
            Self::Items(items) => write!(f, "{items} more items to be listed (--limit)"),
        }
    }
}

impl Summary {
    pub(super) fn new(began: Instant) -> Self {
        Self { began, done: 0, dead: 0, dead_before: 0, skipped: 0, left: 0, took: Duration::ZERO }
    }

    pub(super) fn count(&mut self, dead: bool) {
        if dead {
            self.dead += 1;
        } else {
            self.done += 1;
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} done, {} failed", self.done, self.dead + self.dead_before)?;
        if self.dead_before > 0 {
            write!(f, " ({} of them earlier)", self.dead_before)?;
        }
        let took = Duration::from_millis(u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX));
        write!(f, ", {} skipped, {} left to do, in {}", self.skipped, self.left, humantime::format_duration(took))
    }
}

impl<S: Source, E: Executor, L: Ledger> Manager<S, E, L> {
    /// Whether the run is at its end.
    pub(super) async fn ending(&mut self) -> Result<Option<Ending>, RunError> {
        self.waiting = None;
        if !self.attempts.is_empty() || !self.chores.is_empty() || !self.settling.is_idle() {
            return Ok(None);
        }
        if self.shutdown.is_draining() {
            return Ok(Some(self.drained().await));
        }
        let patience = self.settings.source_wait;
        if patience.zip(self.listing.down_since).is_some_and(|(patience, since)| since.elapsed() >= patience) {
            return Ok(Some(Ending::Unreachable(self.summed_up().await?)));
        }
        if !self.settings.has_an_end() {
            return Ok(None);
        }
        if self.control.paused {
            self.waiting = Some(Waiting::Operator);
            return Ok(None);
        }
        let breaker_open = self.shared.judge().breaker().open().is_some();
        if breaker_open && self.shared.keep(|ledger| ledger.tally()).await?.todo > 0 {
            return Ok(Some(Ending::Broken(self.summed_up().await?)));
        }
        if self.limit_is_through().await? {
            return Ok(Some(Ending::Finished(self.summed_up().await?)));
        }
        self.waiting = self.waits_for().await?;
        Ok(if self.waiting.is_none() { Some(Ending::Finished(self.summed_up().await?)) } else { None })
    }

    async fn limit_is_through(&self) -> Result<bool, RunError> {
        if self.settings.limit.is_none_or(|limit| self.started.len() < limit) {
            return Ok(false);
        }
        let names: Vec<_> = self.started.iter().cloned().collect();
        let rows = self.shared.keep(|ledger| ledger.rows(names.clone())).await?;
        Ok(rows.values().all(|row| row.state != crate::ledger::State::Todo || row.absent_since.is_some()))
    }

    /// Why the source is not empty yet. Only a list that was begun after the last change says that nothing is left.
    async fn waits_for(&mut self) -> Result<Option<Waiting>, RunError> {
        let Some((changes, walked)) = self.listing.last else { return Ok(Some(Waiting::Source)) };
        if !self.settings.until_empty {
            let left = self.settings.limit.unwrap_or_default().saturating_sub(self.started.len());
            return Ok(Some(Waiting::Items(left)));
        }
        if !walked.complete {
            return Ok(Some(Waiting::Complete));
        }
        if walked.backlog > 0 {
            return Ok(Some(Waiting::Backlog(walked.backlog)));
        }
        if walked.pending > 0 {
            return Ok(Some(Waiting::Pending(walked.pending)));
        }
        let tally = self.shared.keep(|ledger| ledger.tally()).await?;
        self.tally = tally;
        if tally.todo + tally.running > 0 {
            return Ok(Some(Waiting::Todo(tally.todo + tally.running)));
        }
        let unsettled = match self.settles() {
            Settles::Nothing => 0,
            Settles::Done => tally.done_unsettled,
            Settles::All => tally.done_unsettled + tally.dead_unsettled,
        };
        if unsettled > 0 {
            // What could not be told is met by the next list.
            self.hasten();
            return Ok(Some(Waiting::Unsettled(unsettled)));
        }
        let known = tally.done + tally.dead + tally.skipped + tally.absent;
        if !self.had_items && known == 0 && self.summary.began.elapsed() < self.settings.wait_for_first {
            if !std::mem::replace(&mut self.first_awaited, true) {
                info!("waiting for a first item (--wait-for-first)");
            }
            return Ok(Some(Waiting::First));
        }
        if changes != self.changes {
            self.listing.next = self.listing.next.min(Instant::now());
            return Ok(Some(Waiting::Confirmation));
        }
        Ok(None)
    }

    async fn summed_up(&self) -> Result<Summary, RunError> {
        let tally = self.shared.keep(|ledger| ledger.tally()).await?;
        let mut summary = self.summary.clone();
        summary.skipped = tally.skipped;
        summary.left = tally.todo + tally.running;
        summary.dead_before = tally.dead.saturating_sub(summary.dead);
        summary.took = summary.began.elapsed();
        Ok(summary)
    }

    async fn drained(&self) -> Ending {
        let summary = match self.summed_up().await {
            Ok(summary) => summary,
            Err(_) => Summary { took: self.summary.began.elapsed(), ..self.summary.clone() },
        };
        Ending::Drained { summary, early: self.settings.has_an_end() }
    }

    /// Starts nothing more; what runs may end by itself, as long as there is time to stop it afterwards.
    pub(super) fn drain(&mut self) {
        let patience = self.shutdown.grace().saturating_sub(self.settings.stop_grace);
        self.stop_at = Some(Instant::now() + patience);
        self.shared.orders.send_replace(Orders::Drain);
        self.stop_walking();
        self.stop_watching();
        info!(running = self.attempts.len(), ?patience, "nothing more is started");
    }

    /// Ends what still runs.
    pub(super) fn stop(&mut self) {
        self.stopping = true;
        if !self.attempts.is_empty() {
            warn!(running = self.attempts.len(), grace = ?self.settings.stop_grace, "stopping what still runs");
        }
        self.shared.orders.send_replace(Orders::Stop(self.settings.stop_grace));
    }

    /// Kills what still runs, and waits no longer than it takes to record that.
    pub(super) async fn abort(&mut self) -> Result<Ending, RunError> {
        self.shared.orders.send_replace(Orders::Stop(Duration::ZERO));
        let deadline = Instant::now() + ABORT_WAIT;
        while let Ok(Some(landed)) = timeout_at(deadline, self.attempts.join_next_with_id()).await {
            if let Err(error) = self.landed(landed).await {
                warn!(%error, "an end could not be recorded; the next start finds it");
            }
        }
        while let Ok(Some(_)) = timeout_at(deadline, self.chores.join_next()).await {}
        if !self.attempts.is_empty() {
            warn!(attempts = self.attempts.len(), "left to the next start");
        }
        Ok(self.drained().await)
    }
}
