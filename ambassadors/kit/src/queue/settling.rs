//! An item of a window, between its settlement's begin and end.

use contract::ItemName;
use tracing::warn;

use super::window::{Why, Window};
use crate::source::Outcome;
use crate::turns::Turn;

/// An item that is being settled, by nobody else meanwhile. Dropped, it is listed as before.
#[derive(Debug)]
#[must_use = "nothing is settled until `done` or `keep` says so"]
pub struct Settling<'a, T> {
    pub(super) window: &'a Window<T>,
    pub(super) name: ItemName,
    pub(super) outcome: Outcome,
    /// Where its lease is, which may be lost meanwhile, and another be there.
    pub(super) place: u64,
    /// By which the backend knows it.
    pub token: T,
    /// Of the trace it is part of.
    pub trace_id: Option<String>,
    pub(super) _turn: Turn,
}

impl<T: Clone + Send + 'static> Settling<'_, T> {
    /// The backend was told: it is listed no more. What was lost meanwhile is known to be settled if it comes again, and what has come
    /// again already is settled like that.
    pub fn done(self) {
        let mut state = self.window.state();
        state.kept.remove(&self.name);
        if state.leases.at(&self.name, self.place).is_some() {
            state.leases.remove(&self.name);
            state.settled.add(&self.name);
            self.window.left(state);
        } else if state.leases.get(&self.name).is_none() {
            state.settled.add(&self.name);
        } else {
            drop(state);
            self.again();
        }
        self.window.fullness.settled();
    }

    /// It failed, and there is nowhere to put it: it is held, and listed no more, also when it is lost and comes again. What was lost
    /// meanwhile fails when it comes again.
    pub fn keep(self, reason: &str, advice: &str) {
        warn!(name = %self.name, reason, trace_id = self.trace_id, "a message failed for good, and stays where it is");
        let mut state = self.window.state();
        if let Some(lease) = state.leases.at(&self.name, self.place) {
            let why = Why { reason: "dead-letter", message: format!("{reason}; {advice}") };
            lease.content = Err(why.clone());
            state.kept.add(&self.name, why);
            self.window.left(state);
        } else {
            drop(state);
            self.again();
        }
    }

    /// It is to be settled in the same way by whatever lease there is now, or comes.
    fn again(&self) {
        self.window.remembered.settle(&self.name, &self.outcome);
        if self.window.holds(&self.name) {
            self.window.remembered.turned_up(&self.name);
        }
    }
}
