//! Listing: what the pages show is planned and written down; what complete lists no longer show ages.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use contract::ItemName;
use contract::client::{ClientError, ETag};
use sidecar::fault;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;
use tracing::{info, warn};

use super::{Manager, RunError};
use crate::executor::Executor;
use crate::ledger::{ItemId, Ledger, Row, State};
use crate::metrics::ListOutcome;
use crate::plan::{self, Act};
use crate::presence::{IdSet, Presence};
use crate::shared::Backoff;
use crate::source::{Page, SOURCE_BACKOFF, Source};
use crate::walk::{Answer, Walked, walk};

/// A source that does not know the contract and suddenly lists nothing is believed when it has said so this often: some
/// answer an error with an empty list.
const EMPTY_LISTS: u32 = 3;

/// What is known of the source, and when it is asked again.
pub(super) struct Listing {
    pub(super) walk: Option<Walk>,
    pub(super) next: Instant,
    /// The last walk that ended well, and how much had changed when it began.
    pub(super) last: Option<(u64, Walked)>,
    /// The last walk that ended well, for as long as a list that is still the same leaves nothing to be done.
    known: Option<Known>,
    /// When the last list ended well, and how long it took.
    pub(super) ended: (Instant, Duration),
    /// Whether the last list left nothing open that no watch tells of.
    pub(super) calm: bool,
    /// Whether something has happened since the last list began that only another explains.
    pub(super) hastened: bool,
    /// When a list is due because a watch has ended.
    pub(super) relist: Option<Instant>,
    pub(super) complete_at: Option<Instant>,
    /// Whether a complete list was seen ever, also by former managers.
    walked_ever: bool,
    presence: Presence,
    /// Empty lists in a row that are not believed yet.
    empty: u32,
    pub(super) up: Option<bool>,
    /// Since when it has not answered.
    pub(super) down_since: Option<Instant>,
    pub(super) backoff: Backoff,
    /// Until when nothing is started, since the source failed.
    pub(super) hold: Option<Instant>,
    /// How many items in a row were not given.
    pub(super) unreached: u32,
}

impl Listing {
    pub(super) fn new(listed: Vec<ItemId>, walked_ever: bool) -> Self {
        let now = Instant::now();
        Self {
            walk: None,
            next: now,
            last: None,
            known: None,
            ended: (now, Duration::ZERO),
            calm: false,
            hastened: false,
            relist: None,
            complete_at: None,
            walked_ever,
            presence: Presence::new(listed),
            empty: 0,
            up: None,
            down_since: Some(now),
            backoff: Backoff::new(SOURCE_BACKOFF.0, SOURCE_BACKOFF.1),
            hold: None,
            unreached: 0,
        }
    }

    /// Something is to be told to the source, or found out by a list, that a list which is still the same would pass over.
    pub(super) fn forget_known(&mut self) {
        self.known = None;
        if let Some(walk) = &mut self.walk {
            walk.lasting = false;
        }
    }

    /// How long the last list took.
    pub(super) fn took(&self) -> Duration {
        self.ended.1
    }

    /// An item is listed, whatever a walk under way meets.
    fn met(&mut self, id: ItemId) {
        self.presence.met(id);
        if let Some(walk) = &mut self.walk {
            walk.seen.insert(id);
        }
    }
}

/// A complete list, and what marks it.
struct Known {
    mark: ETag,
    version: Option<String>,
    seen: IdSet,
    walked: Walked,
}

/// A walk under way.
pub(super) struct Walk {
    pages: mpsc::Receiver<Page>,
    pub(super) task: JoinHandle<Result<Answer, ClientError>>,
    seen: IdSet,
    began: Instant,
    /// How much had changed when it began.
    changes: u64,
    /// Whether it has brought its first page.
    arrived: bool,
    /// What that said of the list's version and mark.
    version: Option<String>,
    mark: Option<ETag>,
    /// Whether a list that is still the same would leave nothing to be done.
    lasting: bool,
}

/// What a walk brings.
pub(super) enum Listed {
    Page(Page),
    End(Result<Result<Answer, ClientError>, JoinError>),
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
        (self.listing.relist, self.listing.hastened) = (None, false);
        // One page waits while one is planned.
        let (sender, pages) = mpsc::channel(1);
        let known = self.listing.known.as_ref().map(|known| known.mark.clone());
        let task = tokio::spawn(walk(Arc::clone(&self.shared), sender, known, self.settings.until_empty));
        let (seen, arrived, version, mark) = Default::default();
        let (began, changes) = (Instant::now(), self.changes);
        self.listing.walk = Some(Walk { pages, task, seen, began, changes, arrived, version, mark, lasting: true });
    }

    pub(super) fn stop_walking(&mut self) {
        if let Some(walk) = self.listing.walk.take() {
            walk.task.abort();
        }
    }

    pub(super) async fn listed(&mut self, listed: Listed) -> Result<(), RunError> {
        match listed {
            Listed::Page(page) => self.page(page).await,
            Listed::End(ended) => {
                let Some(walk) = self.listing.walk.take() else { return Ok(()) };
                match ended? {
                    Ok(Answer::Through(walked)) => self.walked(walk, walked).await,
                    Ok(Answer::Same { pending }) => self.unchanged(walk, pending).await,
                    Err(error) => {
                        self.shared.meters.source.listed(ListOutcome::Failed);
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
        if let Some(walk) = &mut self.listing.walk
            && !std::mem::replace(&mut walk.arrived, true)
        {
            (walk.version, walk.mark) = (page.version, page.mark);
            // From the list's beginning, so that a long walk does not outlast what the source remembers.
            let version = walk.version.clone();
            self.watch_from(version, page.complete);
        }
        let skip_new = self.passes_over();
        for id in self.shown(page.names, skip_new).await? {
            if let Some(walk) = &mut self.listing.walk {
                walk.seen.insert(id);
            }
        }
        Ok(())
    }

    /// Whether what is listed was there before the queue was first run, and is left alone for that.
    pub(super) fn passes_over(&self) -> bool {
        self.settings.skip_first && !self.listing.walked_ever
    }

    /// Items that a watch has shown. What came after a list that showed everything is new, also while that is still walked,
    /// and also where it was there before and was taken away; what came after one that did not may have been there before.
    pub(super) async fn added(&mut self, names: Vec<ItemName>) -> Result<(), RunError> {
        let skip_new = self.passes_over() && !self.watching.tells_what_is_new();
        for id in self.shown(names, skip_new).await? {
            self.listing.met(id);
        }
        Ok(())
    }

    /// Items that a watch has taken away. That concludes nothing: where one of them is still to be done, a list is asked for.
    pub(super) async fn removed(&mut self, names: Vec<ItemName>) -> Result<(), RunError> {
        if !self.listing.hastened {
            let rows = self.shared.keep(|ledger| ledger.rows(names.clone())).await?;
            if rows.values().any(|row| row.state == State::Todo && row.absent_since.is_none()) {
                self.hasten();
            }
        }
        Ok(())
    }

    /// Plans names that were seen to be listed, writes down what is new, and does what is to be done.
    async fn shown(&mut self, names: Vec<ItemName>, skip_new: bool) -> Result<Vec<ItemId>, RunError> {
        let rows = self.shared.keep(|ledger| ledger.rows(names.clone())).await?;
        let mut budget = self.budget();
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
        let over = |row: &Row| matches!(row.state, State::Done | State::Dead);
        if self.shared.source.settles() && rows.values().any(over) {
            self.listing.forget_known();
        }
        for decision in &decisions {
            if let Act::Settle { id, dead } = decision.act {
                self.settle(decision.name.clone(), id, dead);
            }
        }
        self.start(decisions, &noted);
        Ok(rows.values().chain(noted.values()).map(|row| row.id).collect())
    }

    /// The source says that its list is the one that is known already, which is as good as having walked it again.
    async fn unchanged(&mut self, mut walk: Walk, pending: u64) -> Result<(), RunError> {
        self.shared.meters.source.listed(ListOutcome::Unchanged);
        let Some(known) = self.listing.known.take() else {
            // What was known was worth nothing any more by the time it was confirmed.
            self.source_answered();
            self.listing.next = Instant::now();
            return Ok(());
        };
        walk.seen.add(&known.seen);
        (walk.version, walk.mark) = (known.version, Some(known.mark));
        self.watch_from(walk.version.clone(), true);
        self.concluded(walk, Walked { pending, ..known.walked }).await
    }

    async fn walked(&mut self, walk: Walk, mut walked: Walked) -> Result<(), RunError> {
        self.shared.meters.source.listed(ListOutcome::Walked);
        walked.complete = walked.complete && self.believed(&walked);
        self.concluded(walk, walked).await
    }

    async fn concluded(&mut self, walk: Walk, walked: Walked) -> Result<(), RunError> {
        self.source_answered();
        let (now, took) = (self.now(), walk.began.elapsed());
        let known = walk.mark.filter(|_| walk.lasting && walked.complete);
        self.listing.known = known.map(|mark| Known { mark, version: walk.version, seen: walk.seen.clone(), walked });
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
        self.had_items |= walked.had_items;
        self.listing.last = Some((walk.changes, walked));
        self.listing.calm = walked.complete && walked.backlog == 0 && walked.pending == 0;
        self.listing.ended = (Instant::now(), took);
        self.schedule();
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
}
