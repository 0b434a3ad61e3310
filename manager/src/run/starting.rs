//! Starting: free slots are filled with what the ledger says is ready, as far as nothing holds.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use contract::ItemName;
use tokio::time::Instant;

use super::{Manager, RunError, Underway};
use crate::attempt;
use crate::clock::Time;
use crate::executor::Executor;
use crate::ledger::{Ledger, Row, State};
use crate::plan::{Act, Budget, Decision, Hold, Now, plan};
use crate::source::Source;

/// How many items are looked up beyond those that are started at once.
const READY_AHEAD: usize = 64;
/// For how long it is believed that they are ready, as far as this process has not started them: an operator may be at work,
/// and what waited longer may have become ready.
const READY_FOR: Duration = Duration::from_millis(500);

/// What the ledger said is ready, in the order in which it is to be started; none of it is under way.
pub(super) struct Ready {
    rows: VecDeque<(ItemName, Row)>,
    read: Instant,
}

impl Ready {
    pub(super) fn new(now: Instant) -> Self {
        Self { rows: VecDeque::new(), read: now }
    }
}

impl<S: Source, E: Executor, L: Ledger> Manager<S, E, L> {
    /// Why nothing may be started, and how much may be.
    pub(super) fn budget(&mut self) -> Budget {
        let (running, most) = (self.attempts.len(), self.scaler.slots());
        // What waits to be cleared away costs no slot, unless clearing away does not keep up.
        let free = most.saturating_sub(running + self.uncleared.len().saturating_sub(most));
        let held_by_source = self.listing.hold.is_some_and(|until| until > Instant::now());
        let (slots, breaker_open) = {
            let judge = self.shared.judge();
            let breaker = judge.breaker();
            (breaker.slots(free, running, self.now()), breaker.open().is_some())
        };
        let hold = if self.shutdown.is_draining() {
            Some(Hold::Draining)
        } else if self.control.paused {
            Some(Hold::Paused)
        } else if breaker_open && (slots == 0 || self.settings.has_an_end()) {
            Some(Hold::Breaker)
        } else if held_by_source {
            Some(Hold::Source)
        } else {
            None
        };
        Budget { slots, fresh: self.settings.limit.map(|limit| limit.saturating_sub(self.started.len())), hold }
    }

    /// Fills free slots with what the ledger says is ready, without asking the source what it lists.
    pub(super) async fn refill(&mut self) -> Result<(), RunError> {
        if !std::mem::take(&mut self.stale) {
            return Ok(());
        }
        let mut budget = self.budget();
        let now = self.now();
        if budget.slots > 0 && budget.hold.is_none() {
            let (names, rows) = self.candidates(&budget, now).await?;
            let decisions = self.decide(&names, &rows, &mut budget, false);
            self.start(decisions, &HashMap::new());
        }
        self.wake = self.next_wake(&budget, now).await?;
        Ok(())
    }

    async fn candidates(
        &mut self,
        budget: &Budget,
        now: Time,
    ) -> Result<(Vec<ItemName>, HashMap<ItemName, Row>), RunError> {
        if budget.fresh == Some(0) {
            let mut names: Vec<_> = self.started.iter().cloned().collect();
            names.sort();
            let mut rows = self.shared.keep(|ledger| ledger.rows(names.clone())).await?;
            rows.retain(|_, row| row.absent_since.is_none());
            names.retain(|name| rows.contains_key(name));
            return Ok((names, rows));
        }
        if self.ready.rows.len() < budget.slots || self.ready.read.elapsed() > READY_FOR {
            // Those about to be started are still to be done as far as the ledger knows.
            let max = budget.slots + self.attempts.len() + READY_AHEAD;
            let rows = self.shared.keep(|ledger| ledger.ready(now, max)).await?;
            let running: HashSet<&ItemName> = self.items.values().map(|underway| &underway.name).collect();
            let rows = rows.into_iter().filter(|(name, _)| !running.contains(name)).collect();
            self.ready = Ready { rows, read: Instant::now() };
        }
        let next = budget.slots.min(self.ready.rows.len());
        let ready: Vec<_> = self.ready.rows.drain(..next).collect();
        let names = ready.iter().map(|(name, _)| name.clone()).collect();
        Ok((names, ready.into_iter().collect()))
    }

    pub(super) fn decide(
        &mut self,
        names: &[ItemName],
        rows: &HashMap<ItemName, Row>,
        budget: &mut Budget,
        skip_new: bool,
    ) -> Vec<Decision> {
        let running = self.items.values().map(|underway| underway.name.clone()).collect();
        let now = Now { at: self.now(), running: &running, started: &self.started, settles: self.settles(), skip_new };
        let decisions = plan(names, rows, now, budget);
        let new = decisions.iter().filter(|decision| decision.new == Some(State::Todo)).count();
        self.scaler.arrived(new as u64);
        decisions
    }

    /// Starts what is decided; `noted` holds the rows of what was new.
    pub(super) fn start(&mut self, decisions: Vec<Decision>, noted: &HashMap<ItemName, Row>) {
        for decision in decisions {
            if decision.act != Act::Start {
                continue;
            }
            let Some(row) = decision.row.or_else(|| noted.get(&decision.name).cloned()) else { continue };
            self.ready.rows.retain(|(name, _)| *name != decision.name);
            let fresh = self.settings.limit.is_some() && self.started.insert(decision.name.clone());
            let since = Instant::now();
            self.scaler.ran(self.attempts.len(), since.into_std());
            let task = self.attempts.spawn(attempt::attempt(Arc::clone(&self.shared), decision.name.clone(), row));
            self.items.insert(task.id(), Underway { name: decision.name, fresh, resumed: false, since });
        }
    }

    /// When something may be started that may not be now, without any other event.
    async fn next_wake(&self, budget: &Budget, now: Time) -> Result<Option<Instant>, RunError> {
        let after = |time: Time| Instant::now() + time.since(now) + Duration::from_millis(1);
        match budget.hold {
            Some(Hold::Source) => Ok(self.listing.hold),
            Some(Hold::Breaker) => {
                let probe = self.shared.judge().breaker().probe_at();
                Ok(probe.filter(|at| *at > now).map(after))
            }
            Some(Hold::Paused | Hold::Draining) => Ok(None),
            None if budget.slots == 0 => Ok(None),
            None => Ok(self.shared.keep(|ledger| ledger.next_due(now)).await?.map(after)),
        }
    }
}
