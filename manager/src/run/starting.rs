//! Starting: free slots are filled with what the ledger says is ready, as far as nothing holds.

use std::collections::HashMap;
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

impl<S: Source, E: Executor, L: Ledger> Manager<S, E, L> {
    /// Why nothing may be started, and how much may be.
    pub(super) fn budget(&mut self) -> Budget {
        let running = self.attempts.len();
        let free = self.scaler.slots().saturating_sub(running);
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
        &self,
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
        // Those about to be started are still to be done as far as the ledger knows.
        let max = budget.slots + self.attempts.len();
        let ready = self.shared.keep(|ledger| ledger.ready(now, max)).await?;
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
            let fresh = self.settings.limit.is_some() && self.started.insert(decision.name.clone());
            let task = self.attempts.spawn(attempt::attempt(Arc::clone(&self.shared), decision.name.clone(), row));
            self.items.insert(task.id(), Underway { name: decision.name, fresh, since: Instant::now() });
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
