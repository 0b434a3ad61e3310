//! Settling: a source that wants to know is told what became of its items, until it lists them no more.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use contract::ItemName;
use contract::client::ClientError;
use sidecar::fault;
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use super::{Manager, RunError};
use crate::executor::Executor;
use crate::ledger::{ItemId, Ledger};
use crate::plan::Settles;
use crate::shared::Shared;
use crate::source::Source;

/// How many are under way at a time.
const AT_ONCE: usize = 8;
/// How many wait for their turn at most.
const WAITING: usize = 10_000;

/// One to be made.
#[derive(Clone, Debug)]
pub(super) struct Settlement {
    name: ItemName,
    id: ItemId,
    dead: bool,
}

/// One that was tried.
#[derive(Debug)]
pub(super) struct Settled {
    id: ItemId,
    failed: Option<ClientError>,
}

/// All that are under way or to come.
#[derive(Debug, Default)]
pub(super) struct Settling {
    pub(super) tasks: JoinSet<Result<Settled, RunError>>,
    waiting: VecDeque<Settlement>,
    /// Of either.
    ids: HashSet<ItemId>,
    /// Whether the last one failed, and that was said.
    failing: bool,
}

impl Settling {
    pub(super) fn is_idle(&self) -> bool {
        self.tasks.is_empty() && self.waiting.is_empty()
    }
}

async fn settle<S: Source, E: Executor, L: Ledger>(
    shared: Arc<Shared<S, E, L>>,
    what: Settlement,
) -> Result<Settled, RunError> {
    let Settlement { name, id, dead } = what;
    let reason = match dead {
        true => Some(shared.keep(|ledger| ledger.last_words(id)).await?.unwrap_or_else(|| "failed".into())),
        false => None,
    };
    fault::point("manager.settle.before")?;
    let settled = shared.source.settle(&name, reason.as_deref()).await;
    match settled {
        // It may be gone already: then there is nothing to settle.
        Ok(()) | Err(ClientError::NotFound { .. } | ClientError::Gone { .. }) => {
            fault::point("manager.settle.after")?;
            let now = shared.clock.now();
            shared.keep(|ledger| ledger.settled(id, now)).await?;
            fault::point("manager.settled.after")?;
            debug!(item = %name, dead, "settled");
            Ok(Settled { id, failed: None })
        }
        Err(error) => Ok(Settled { id, failed: Some(error) }),
    }
}

impl<S: Source, E: Executor, L: Ledger> Manager<S, E, L> {
    /// What the source is told. While all that was tried has failed alike, the worker may be what is wrong: a source that
    /// was told then would have put good items aside. With nothing left to try there is no more to learn.
    pub(super) fn settles(&self) -> Settles {
        if !self.shared.source.settles() {
            return Settles::Nothing;
        }
        let (passed, open) = {
            let judge = self.shared.judge();
            (judge.breaker().has_passed(), judge.breaker().open().is_some())
        };
        let all_tried = self.attempts.is_empty() && self.listing.last.is_some() && self.tally.todo == 0;
        if passed || (!open && all_tried) { Settles::All } else { Settles::Done }
    }

    /// Has an item settled, now or as soon as fewer others are. What finds no place in the line is met by the next walk.
    pub(super) fn settle(&mut self, name: ItemName, id: ItemId, dead: bool) {
        if self.settling.waiting.len() < WAITING && self.settling.ids.insert(id) {
            self.settling.waiting.push_back(Settlement { name, id, dead });
            self.settle_more();
        }
    }

    fn settle_more(&mut self) {
        while self.settling.tasks.len() < AT_ONCE
            && let Some(what) = self.settling.waiting.pop_front()
        {
            self.settling.tasks.spawn(settle(Arc::clone(&self.shared), what));
        }
    }

    /// What failed is tried again when it is next listed.
    pub(super) fn settled(&mut self, settled: Settled) {
        self.settling.ids.remove(&settled.id);
        match settled.failed {
            None => {
                self.settling.failing = false;
                // A queue's window has room again: a list from before does not show what comes next.
                self.changes += 1;
            }
            Some(ClientError::Unsupported { .. }) => {
                info!("the source does not want to know what became of its items, and is not told again");
                self.settling.ids.clear();
                self.settling.waiting.clear();
            }
            Some(error) => {
                self.hasten();
                if !std::mem::replace(&mut self.settling.failing, true) {
                    warn!(%error, "an item could not be settled; it is tried again as long as it is listed");
                }
            }
        }
        self.settle_more();
    }
}
