//! When the source is asked for its list, and what follows from its failure.

use std::time::Duration;

use contract::client::ClientError;
use tokio::time::Instant;
use tracing::{info, warn};

use super::{Manager, Settings};
use crate::executor::Executor;
use crate::ledger::Ledger;
use crate::source::Source;

impl<S: Source, E: Executor, L: Ledger> Manager<S, E, L> {
    /// When the list is asked for again, as far as is known now.
    pub(super) fn schedule(&mut self) {
        let Settings { poll, resync, .. } = self.settings;
        let told = self.is_watched() && self.listing.calm && !self.listing.hastened;
        let pace = if told { resync.max(poll) } else { poll };
        let (ended, took) = self.listing.ended;
        // A list that takes long to walk is not walked all the time.
        let due = ended + pace.max(took);
        self.listing.next = self.listing.relist.map_or(due, |relist| relist.min(due));
    }

    /// There is something that only a list can tell, so that it is asked for as often as if nobody watched.
    pub(super) fn hasten(&mut self) {
        if !std::mem::replace(&mut self.listing.hastened, true) {
            self.reschedule();
        }
    }

    /// A watch has ended: only a list can tell what it missed, after a while, so that not everybody asks at once.
    pub(super) fn relist(&mut self, wait: Duration) {
        self.listing.relist = Some(Instant::now() + wait);
        self.reschedule();
    }

    /// Something has changed about when to ask. A source that fails is asked again as it is, and a walk under way ends first.
    pub(super) fn reschedule(&mut self) {
        if self.listing.walk.is_none() && self.listing.up == Some(true) {
            self.schedule();
        }
    }

    /// The source does not answer, or answers nonsense: nothing follows from that for any item.
    pub(super) fn source_failed(&mut self, error: &ClientError) {
        let now = Instant::now();
        // Attempts that fail together tell of one failure.
        if self.listing.hold.is_some_and(|until| until > now) && self.listing.walk.is_none() && self.listing.next > now
        {
            return;
        }
        let asked = match error {
            ClientError::Unavailable { retry_after, .. } => *retry_after,
            ClientError::NotFound { .. }
            | ClientError::Gone { .. }
            | ClientError::Unsupported { .. }
            | ClientError::Broken { .. } => None,
        };
        let wait = self.listing.backoff.next().max(asked.unwrap_or_default().min(Duration::from_secs(300)));
        self.listing.hold = Some(now + wait);
        (self.listing.next, self.listing.relist) = (now + wait, None);
        self.listing.down_since.get_or_insert(now);
        if self.listing.up != Some(false) {
            warn!(%error, "the source fails; nothing changes until it answers again");
        }
        self.listing.up = Some(false);
        self.shared.health.not_ready("source", error.to_string());
    }

    pub(super) fn source_answered(&mut self) {
        if self.listing.up != Some(true) {
            info!("the source answers");
        }
        self.listing.up = Some(true);
        self.listing.down_since = None;
        self.listing.backoff.reset();
        self.stale |= self.listing.hold.take().is_some();
        self.shared.health.ready("source");
    }
}
