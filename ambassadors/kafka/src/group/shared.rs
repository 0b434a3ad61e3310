//! What the threads that take records share with those who answer.

mod answers;
mod settling;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ambassador_kit::queue::Payload;
use ambassador_kit::{Fullness, Remembered, Vitals};
use contract::TraceContext;
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

pub(super) use self::settling::Next;
use super::args::Membership;
use super::bell::Bell;
use super::metrics::Metrics;
use super::state::{Letter, State, Topic, Why};
use super::window::Delivered;
use crate::args::Settings;
use crate::naming::{Naming, Position};
use crate::record::Record;
use crate::topic::TopicFacts;
use crate::trouble::Trouble;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) membership: Membership,
    pub(super) vitals: Arc<Vitals>,
    pub(super) metrics: Metrics,
    pub(super) fullness: Fullness,
    /// Heard by the thread that takes records.
    pub(super) bell: Bell,
    /// Heard by the thread that looks at topic and group.
    pub(super) look: Bell,
    /// What was settled and is not at hand.
    pub(super) remembered: Remembered<()>,
    /// To be written to the dead letter topic without being asked.
    pub(super) doomed: mpsc::UnboundedSender<Position>,
    /// Whether nothing is taken any more: asked for, and done.
    pub(super) ending: watch::Sender<Ending>,
    state: Mutex<State>,
}

/// How far the end is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ending {
    #[default]
    No,
    /// The member is to commit and leave.
    Asked,
    /// It has left.
    Done,
}

impl Shared {
    pub(super) fn new(
        settings: Settings,
        membership: Membership,
        metrics: Metrics,
        fullness: Fullness,
        doomed: mpsc::UnboundedSender<Position>,
    ) -> Self {
        let state = State::new(membership.bounds);
        Self {
            vitals: Vitals::start(settings.when.max_stale),
            settings,
            membership,
            metrics,
            fullness,
            bell: Bell::default(),
            look: Bell::default(),
            remembered: Remembered::default(),
            doomed,
            ending: watch::Sender::default(),
            state: Mutex::new(state),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing is taken from now on.
    pub(super) fn end(&self) {
        self.ending.send_if_modified(|ending| {
            let first = *ending == Ending::No;
            *ending = (*ending).max(Ending::Asked);
            first
        });
        self.bell.ring();
        self.look.ring();
    }

    pub(super) fn is_ending(&self) -> bool {
        *self.ending.borrow() != Ending::No
    }

    /// Waits for so long, or for the end.
    pub(super) fn rest(&self, patience: Duration) {
        let began = Instant::now();
        while !self.is_ending() && began.elapsed() < patience {
            self.bell.wait(patience.saturating_sub(began.elapsed()));
        }
    }

    pub(super) fn topic(&self) -> Option<Topic> {
        self.state().topic.clone()
    }

    /// The topic was looked at: it is another than before, or the same. Whether that can be: one that was deleted never comes back, and
    /// whoever tells of it has not heard yet that another was made in its place.
    pub(super) fn found(&self, facts: &TopicFacts, began: Instant) -> bool {
        let TopicFacts { identity, partitions } = facts.clone();
        let mut state = self.state();
        if let Some(topic) = state.topic.as_mut().filter(|topic| topic.identity == identity) {
            (topic.partitions, topic.looked) = (partitions, began);
            return true;
        }
        let naming = Naming::new(&self.settings.source_id, &self.settings.topic, &identity);
        if state.topic.as_ref().is_some_and(|topic| topic.before.as_ref() == Some(&naming)) {
            return false;
        }
        let before = state.topic.take();
        if let Some(before) = &before {
            warn!(
                before = before.identity,
                now = identity,
                "the topic was deleted and made again: all of it is new work"
            );
        }
        state.forget_all();
        self.metrics.anew();
        state.topic = Some(Topic {
            naming,
            identity,
            first: before.as_ref().map_or(partitions.len(), |_| 0),
            partitions,
            generation: before.as_ref().map_or(0, |before| before.generation + 1),
            before: before.map(|before| before.naming),
            looked: began,
        });
        drop(state);
        self.bell.ring();
        true
    }

    /// The group has told us what is ours, or we know no more what is.
    pub(super) fn joined(&self, joined: bool) {
        let mut state = self.state();
        if joined || state.joined.is_some() {
            state.joined = Some(joined);
        }
        state.trouble.take_if(|_| joined);
        self.judge(&state);
    }

    /// What keeps us from taking records; `None` once nothing does.
    pub(super) fn trouble(&self, trouble: Option<String>) {
        let mut state = self.state();
        if state.trouble != trouble {
            state.trouble = trouble;
            self.judge(&state);
        }
    }

    /// What came of a look at topic and group.
    pub(super) fn looked(&self, trouble: Option<&Trouble>) {
        if let Some(trouble) = trouble {
            self.metrics.failed(trouble.word());
        }
        let mut state = self.state();
        state.looked = Some(trouble.map_or(Ok(()), |trouble| Err(trouble.to_string())));
        self.judge(&state);
    }

    fn judge(&self, state: &State) {
        match (&state.looked, &state.trouble, state.joined) {
            (Some(Err(why)), _, _) | (_, Some(why), _) => {
                if self.vitals.lost(why.clone()) {
                    warn!(error = why, "the topic cannot be seen");
                }
            }
            // The first look is that of the group, too: before it nobody knows what is ours.
            (None, None, _) | (Some(Ok(())), None, None) => {}
            (Some(Ok(())), None, Some(_)) => {
                if self.vitals.live() {
                    info!(topic = self.settings.topic, group = self.membership.group, "the topic is back");
                }
            }
        }
    }

    /// A record came. Whether the log went backwards.
    pub(super) fn deliver(&self, record: Record) -> bool {
        let at = record.at;
        let mut state = self.state();
        let Some(topic) = &state.topic else { return false };
        if record.value.is_none() && !self.settings.tombstones {
            let delivered = state.window.pass(at);
            self.metrics.passed.inc();
            return delivered == Delivered::Backwards;
        }
        let name = topic.naming.name(at);
        let withheld = self.why(&record, &topic.naming);
        let (size, doom) = (record.size(), withheld.clone().map(|why| (why, record.trace())));
        let letter = || Letter { record: Arc::new(record), withheld, leaving: false };
        let delivered = state.window.deliver(at, size, letter);
        drop(state);
        if delivered == Delivered::Held {
            self.remembered.turned_up(&name);
            if let Some((why, trace)) = doom {
                let trace_id = trace.as_ref().map(TraceContext::trace_id);
                warn!(
                    %name,
                    partition = at.partition,
                    offset = at.offset,
                    reason = why.reason,
                    why.message,
                    trace_id,
                    "a record is no item"
                );
                // Fails only where nobody answers any more.
                let _ = self.doomed.send(at);
            }
        }
        delivered == Delivered::Backwards
    }

    fn why(&self, record: &Record, naming: &Naming) -> Option<Why> {
        let settings = &self.settings;
        let size = record.weight();
        if size > settings.message.most() {
            let message =
                format!("its value, key and headers have {size} bytes, and --max-value is {}", settings.message.most());
            return Some(Why { reason: "too-large", message });
        }
        if settings.message.payload == Payload::Text {
            return None;
        }
        let error = record.item(naming, settings).err()?;
        Some(Why { reason: "malformed", message: format!("{error}, as --payload says") })
    }
}
