//! Scaling: what the loop sees of the load goes to [`crate::parallelism`], and what that decides holds from then on.

use tokio::time::Instant;
use tracing::info;

use super::{Manager, Underway};
use crate::executor::Executor;
use crate::ledger::{Cause, Conclusion, Ledger, Next};
use crate::parallelism::{Decision, Ended, Sight, Why};
use crate::source::Source;

impl<S: Source, E: Executor, L: Ledger> Manager<S, E, L> {
    /// Learns from an attempt that has been concluded. Those that were stopped, and those that end while the breaker is open,
    /// say nothing about the load. How long one took that was lost, or that a former manager began, nobody knows: while no
    /// manager ran, time passed in which it may long have been over.
    pub(super) fn learn(&mut self, underway: &Underway, conclusion: &Conclusion, breaker_opened: bool) {
        let again = matches!(conclusion.next, Next::Again { .. });
        let now = Instant::now();
        let breaker_open = self.shared.judge().breaker().open().is_some();
        if conclusion.cause == Cause::Stopped || breaker_open {
            if !again {
                self.scaler.over();
            }
        } else if conclusion.cause == Cause::Lost || underway.resumed {
            if again { self.scaler.arrived(1) } else { self.scaler.over() }
        } else {
            let took = now.saturating_duration_since(underway.since);
            self.scaler.ended(Ended { took, at_once: self.attempts.len() + 1, again }, now.into_std());
        }
        if breaker_opened {
            self.scaler.forget(now.into_std());
        }
    }

    /// Decides, where that is due, how many attempts at a time it is from now on.
    pub(super) fn scale(&mut self) {
        let now = Instant::now();
        if now < self.next_scaling {
            return;
        }
        self.next_scaling = now + self.settings.parallelism.adjust_every;
        let waits_behind = self.listing.last.map_or(0, |(_, walked)| walked.backlog);
        let all = self.tally.todo + self.tally.running + waits_behind;
        let backlog = match self.settings.limit {
            Some(limit) => all.min((limit as u64).saturating_sub(self.summary.done + self.summary.dead)),
            None => all,
        };
        let ages: Vec<_> = self.items.values().map(|under| now.saturating_duration_since(under.since)).collect();
        let held = self.budget().hold.is_some() || self.shared.judge().breaker().open().is_some();
        let decision = self.scaler.decide(&Sight {
            now: now.into_std(),
            backlog,
            ages: &ages,
            watched: self.listing.up == Some(true) && self.listing.last.is_some(),
            held,
        });
        self.shared.meters.decided(&decision);
        if decision.from != decision.to {
            announce(&decision);
            self.stale = true;
        }
    }
}

fn announce(decision: &Decision) {
    let Decision { from, to, why, terms, hold } = decision;
    let reason = why.as_str();
    let (interarrival, processing, backlog) = (terms.interarrival, terms.processing, terms.backlog);
    let (drain_floor, utilization) = (terms.drain_floor(), format!("{:.2}", terms.utilization(*from)));
    let says = match why {
        Why::Arrivals => "work comes in faster than fewer could do it",
        Why::Backlog => "fewer could not do what waits within --drain-target",
        Why::Spare => "fewer have been enough for a while",
        Why::Saturated => "more only made each slower: the machine, or something that all share, is busy",
        Why::Enough | Why::Ceiling | Why::Maximum | Why::Held | Why::Unmeasured => "",
    };
    info!(
        from,
        to,
        reason,
        says,
        ?interarrival,
        ?processing,
        backlog,
        drain_floor,
        utilization,
        ?hold,
        "parallelism changed"
    );
}
