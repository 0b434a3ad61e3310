//! Listing: what the pages show is planned and written down; what complete lists no longer show ages.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use contract::client::ClientError;
use sidecar::fault;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;
use tracing::{info, warn};

use super::{Manager, RunError};
use crate::executor::Executor;
use crate::ledger::{ItemId, Ledger};
use crate::plan::{self, Act};
use crate::presence::{IdSet, Presence};
use crate::shared::Backoff;
use crate::source::{Page, SOURCE_BACKOFF, Source};
use crate::walk::{Walked, walk};

/// A source that does not know the contract and suddenly lists nothing is believed when it has said so this often: some
/// answer an error with an empty list.
const EMPTY_LISTS: u32 = 3;

/// What is known of the source, and when it is asked again.
pub(super) struct Listing {
    pub(super) walk: Option<Walk>,
    pub(super) next: Instant,
    /// The last walk that ended well, and how much had changed when it began.
    pub(super) last: Option<(u64, Walked)>,
    pub(super) complete_at: Option<Instant>,
    /// Whether a complete list was seen ever, also by former managers.
    walked_ever: bool,
    presence: Presence,
    /// Empty lists in a row that are not believed yet.
    empty: u32,
    pub(super) up: Option<bool>,
    backoff: Backoff,
    /// Until when nothing is started, since the source failed.
    pub(super) hold: Option<Instant>,
    /// How many items in a row were not given.
    pub(super) unreached: u32,
}

impl Listing {
    pub(super) fn new(listed: Vec<ItemId>, walked_ever: bool) -> Self {
        Self {
            walk: None,
            next: Instant::now(),
            last: None,
            complete_at: None,
            walked_ever,
            presence: Presence::new(listed),
            empty: 0,
            up: None,
            backoff: Backoff::new(SOURCE_BACKOFF.0, SOURCE_BACKOFF.1),
            hold: None,
            unreached: 0,
        }
    }
}

/// A walk under way.
pub(super) struct Walk {
    pages: mpsc::Receiver<Page>,
    pub(super) task: JoinHandle<Result<Walked, ClientError>>,
    seen: IdSet,
    began: Instant,
    /// How much had changed when it began.
    changes: u64,
}

/// What a walk brings.
pub(super) enum Listed {
    Page(Page),
    End(Result<Result<Walked, ClientError>, JoinError>),
}

pub(super) async fn next(walk: &mut Option<Walk>) -> Listed {
    let Some(walk) = walk else { return std::future::pending().await };
    match walk.pages.recv().await {
        Some(page) => Listed::Page(page),
        None => Listed::End((&mut walk.task).await),
    }
}

impl<S: Source, E: Executor, L: Ledger> Manager<S, E, L> {
    pub(super) fn start_walk(&mut self) {
        // One page waits while one is planned.
        let (sender, pages) = mpsc::channel(1);
        let task = tokio::spawn(walk(Arc::clone(&self.shared), sender, self.settings.until_empty));
        self.listing.walk =
            Some(Walk { pages, task, seen: IdSet::default(), began: Instant::now(), changes: self.changes });
    }

    pub(super) async fn listed(&mut self, listed: Listed) -> Result<(), RunError> {
        match listed {
            Listed::Page(page) => self.page(page).await,
            Listed::End(ended) => {
                let Some(walk) = self.listing.walk.take() else { return Ok(()) };
                match ended? {
                    Ok(walked) => self.walked(walk, walked).await,
                    Err(error) => {
                        self.listing.presence.walked(walk.seen, false);
                        self.listing.last = None;
                        self.source_failed(&error);
                        Ok(())
                    }
                }
            }
        }
    }

    async fn page(&mut self, page: Page) -> Result<(), RunError> {
        let names = page.names;
        let rows = self.shared.keep(|ledger| ledger.rows(names.clone())).await?;
        let mut budget = self.budget();
        let skip_new = self.settings.skip_first && !self.listing.walked_ever;
        let decisions = self.decide(&names, &rows, &mut budget, skip_new);
        let seen = plan::seen(&decisions);
        let mut noted = HashMap::new();
        if !seen.is_empty() {
            let now = self.now();
            fault::point("manager.note.before")?;
            noted = self.shared.keep(|ledger| ledger.note(seen.clone(), now)).await?;
            fault::point("manager.note.after")?;
            self.changes += 1;
            self.stale = true;
        }
        if let Some(walk) = &mut self.listing.walk {
            rows.values().chain(noted.values()).for_each(|row| walk.seen.insert(row.id));
        }
        for decision in &decisions {
            if let Act::Settle { id, dead } = decision.act {
                self.settle(decision.name.clone(), id, dead);
            }
        }
        self.start(decisions, &noted);
        Ok(())
    }

    async fn walked(&mut self, walk: Walk, mut walked: Walked) -> Result<(), RunError> {
        self.source_answered();
        let (now, took) = (self.now(), walk.began.elapsed());
        walked.complete = walked.complete && self.believed(&walked);
        let absent = self.listing.presence.walked(walk.seen, walked.complete);
        if walked.complete {
            if !absent.is_empty() {
                info!(items = absent.len(), "listed no more");
                self.stale = true;
            }
            fault::point("manager.walked.before")?;
            self.shared.keep(|ledger| ledger.walked(absent.clone(), now)).await?;
            fault::point("manager.walked.after")?;
            self.listing.walked_ever = true;
            self.listing.complete_at = Some(Instant::now());
            let before = crate::clock::Time(
                now.0.saturating_sub(i64::try_from(self.settings.forget_after.as_millis()).unwrap_or(i64::MAX)),
            );
            let forgotten = self.shared.keep(|ledger| ledger.forget(before)).await?;
            if forgotten > 0 {
                info!(items = forgotten, "forgotten, since they were absent for so long");
            }
        }
        self.listing.last = Some((walk.changes, walked));
        // A list that takes long to walk is not walked all the time.
        self.listing.next = Instant::now() + self.settings.poll.max(took);
        Ok(())
    }

    fn believed(&mut self, walked: &Walked) -> bool {
        if walked.names > 0 || walked.promised || self.listing.presence.is_empty() {
            self.listing.empty = 0;
            return true;
        }
        self.listing.empty += 1;
        if self.listing.empty == 1 {
            warn!(
                times = EMPTY_LISTS,
                "the source lists nothing where items were; it is believed when it says so again"
            );
        }
        self.listing.empty >= EMPTY_LISTS
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
        self.listing.next = now + wait;
        if self.listing.up != Some(false) {
            warn!(%error, "the source fails; nothing changes until it answers again");
        }
        self.listing.up = Some(false);
        self.shared.health.not_ready("source", error.to_string());
    }

    fn source_answered(&mut self) {
        if self.listing.up != Some(true) {
            info!("the source answers");
        }
        self.listing.up = Some(true);
        self.listing.backoff.reset();
        self.stale |= self.listing.hold.take().is_some();
        self.shared.health.ready("source");
    }
}
