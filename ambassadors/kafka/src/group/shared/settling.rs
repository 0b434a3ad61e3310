//! How records leave the window.

use std::sync::Arc;
use std::time::Instant;

use ambassador_kit::source::{Outcome, SourceError};
use contract::{ItemName, TraceContext};
use tracing::warn;

use super::super::state::{Place, State};
use super::super::window::Settled;
use super::Shared;
use crate::naming::Position;
use crate::record::Record;
use crate::trouble::RETRY;

/// Records that failed and were told to stay, as far as they are told of.
const MOST_STAYING: usize = 1_000;

/// What is to be done about an item that is settled.
#[derive(Debug)]
pub(in crate::group) enum Next {
    Nothing,
    /// Its record is to be written to the dead letter topic.
    Bury(Burial),
}

/// A record that is being written to the dead letter topic.
#[derive(Debug)]
pub(in crate::group) struct Burial {
    pub(in crate::group) at: Position,
    pub(in crate::group) record: Arc<Record>,
    /// Of which topic of the name it is.
    generation: Option<u64>,
}

impl Shared {
    /// Begins to settle. What is not at hand is remembered.
    pub(in crate::group) fn settle(&self, name: &ItemName, outcome: &Outcome) -> Result<Next, SourceError> {
        if let Place::Over = self.state().place(name) {
            return Ok(Next::Nothing);
        }
        let find = || {
            let state = self.state();
            match state.place(name) {
                Place::Here(at) => Ok((at, state.generation())),
                Place::Over | Place::Elsewhere | Place::Nowhere => Err(SourceError::NotFound(name.clone())),
            }
        };
        let found = self.remembered.find_or_remember(name, outcome, find)?;
        let Some((at, generation)) = found else { return Ok(Next::Nothing) };
        let mut state = self.state();
        if state.generation() != generation {
            return Ok(Next::Nothing);
        }
        let Some(letter) = state.window.get_mut(at) else {
            // It was taken away, or settled, since it was found.
            drop(state);
            return self.settle(name, outcome);
        };
        if letter.leaving {
            let why = "this item is being settled already".into();
            return Err(SourceError::Unavailable { why, retry: RETRY });
        }
        match outcome {
            Outcome::Failed { .. } if self.membership.dead_letter_topic.is_some() => {
                letter.leaving = true;
                let record = Arc::clone(&letter.record);
                return Ok(Next::Bury(Burial { at, record, generation }));
            }
            Outcome::Failed { reason } => self.stay(&mut state, at, reason.as_deref()),
            Outcome::Done => {}
        }
        if let Settled::Now(_) = state.window.settle(at) {
            self.after_settling(&mut state);
        }
        Ok(Next::Nothing)
    }

    /// A dead letter was written, or not.
    pub(in crate::group) fn buried(&self, burial: &Burial, written: bool) {
        let mut state = self.state();
        if state.generation() != burial.generation {
            // What lies there now is another record, of a topic that was made in place of that one.
            return;
        }
        if written {
            state.window.settle_late(burial.at);
            self.after_settling(&mut state);
        } else if let Some(letter) = state.window.get_mut(burial.at) {
            letter.leaving = false;
        }
    }

    /// A record that is no item is to be written to the dead letter topic now, if it is ours still; and why.
    pub(in crate::group) fn doom(&self, at: Position) -> Option<(Burial, String)> {
        let mut state = self.state();
        let generation = state.generation();
        let letter = state.window.get_mut(at).filter(|letter| !letter.leaving)?;
        let reason = letter.withheld.as_ref()?.message.clone();
        letter.leaving = true;
        Some((Burial { at, record: Arc::clone(&letter.record), generation }, reason))
    }

    fn after_settling(&self, state: &mut State) {
        self.fullness.settled();
        if state.window.size().0 == 0 {
            state.emptied = Instant::now();
            // Whether there is more is to be known before anybody is told that there is none.
            self.look.ring();
        }
        self.bell.ring();
    }

    /// A record failed, and there is nowhere to put it: it is settled, and told of for a while.
    fn stay(&self, state: &mut State, at: Position, reason: Option<&str>) {
        let Some(held) = state.window.get(at) else { return };
        let reason = reason.unwrap_or("it failed for good");
        let (trace, Position { partition, offset }) = (held.value.record.trace(), at);
        let trace_id = trace.as_ref().map(TraceContext::trace_id);
        warn!(partition, offset, reason, trace_id, "a record failed for good, and stays where it is");
        let message = format!(
            "{reason}; it is in the topic as long as that has it, give --dead-letter-topic to have it written there"
        );
        let one = self.withheld_as(at, "dead-letter", &message, &held.value.record);
        state.staying.push_back((at, one));
        if state.staying.len() > MOST_STAYING {
            state.staying.pop_front();
        }
        self.metrics.buried("failed");
    }
}
