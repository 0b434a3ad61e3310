//! What the threads that take records share with those who answer.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ambassador_kit::source::{Outcome, Page, SourceError, Tally};
use ambassador_kit::{Fullness, Remembered, Vitals};
use contract::wire::{Item, Withheld};
use contract::{ItemName, Key, Timestamp, TraceContext};
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use super::args::Membership;
use super::bell::Bell;
use super::ends::Ends;
use super::metrics::Metrics;
use super::window::{Delivered, Known, Settled, Window};
use crate::args::{Payload, Settings};
use crate::naming::{Naming, Position};
use crate::record::Record;
use crate::trouble::{RETRY, Trouble};

/// Records that failed and were told to stay, as far as they are told of.
const MOST_STAYING: usize = 1_000;

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

/// A record that waits to be settled.
#[derive(Debug)]
pub(super) struct Letter {
    record: Arc<Record>,
    /// Why it is not listed.
    withheld: Option<Why>,
    /// It is being written to the dead letter topic.
    leaving: bool,
}

/// Why a record is no item.
#[derive(Clone, Debug)]
pub(super) struct Why {
    reason: &'static str,
    message: String,
}

#[derive(Debug)]
pub(super) struct State {
    topic: Option<Topic>,
    pub(super) window: Window<Letter>,
    pub(super) ends: Ends,
    /// Since when nothing is held, if nothing is.
    emptied: Instant,
    /// Whether the group has told us what is ours.
    joined: Option<bool>,
    /// What keeps the thread that takes records from it.
    trouble: Option<String>,
    /// What came of the last look at topic and group; `None` before the first.
    looked: Option<Result<(), String>>,
    /// Failed, settled, and still in the topic.
    staying: VecDeque<(Position, Withheld)>,
}

/// The topic as it is since it was last made.
#[derive(Clone, Debug)]
pub(super) struct Topic {
    pub(super) identity: String,
    pub(super) naming: Naming,
    /// Of the topic of this name that was there before, if we have seen it.
    before: Option<Naming>,
    /// Partitions that were there when we first looked.
    pub(super) first: usize,
    pub(super) partitions: Vec<i32>,
    /// How many topics of the name were there before, since we run.
    pub(super) generation: u64,
    pub(super) looked: Instant,
}

/// What is to be done about an item that is settled.
#[derive(Debug)]
pub(super) enum Next {
    Nothing,
    /// Its record is to be written to the dead letter topic.
    Bury(Burial),
}

/// A record that is being written to the dead letter topic.
#[derive(Debug)]
pub(super) struct Burial {
    pub(super) at: Position,
    pub(super) record: Arc<Record>,
    /// Of which topic of the name it is.
    generation: Option<u64>,
}

/// Where the item of a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In the window.
    Here(Position),
    /// Settled, or gone with the topic that it was of.
    Over,
    /// With the partition that was taken away.
    Elsewhere,
    /// It was never here.
    Nowhere,
}

impl Shared {
    pub(super) fn new(
        settings: Settings,
        membership: Membership,
        metrics: Metrics,
        fullness: Fullness,
        doomed: mpsc::UnboundedSender<Position>,
    ) -> Self {
        let state = State {
            topic: None,
            window: Window::new(membership.bounds),
            ends: Ends::default(),
            emptied: Instant::now(),
            joined: None,
            trouble: None,
            looked: None,
            staying: VecDeque::new(),
        };
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

    /// The topic was looked at: it is another than before, or the same.
    pub(super) fn found(&self, identity: String, partitions: Vec<i32>, began: Instant) {
        let mut state = self.state();
        if let Some(topic) = state.topic.as_mut().filter(|topic| topic.identity == identity) {
            (topic.partitions, topic.looked) = (partitions, began);
            return;
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
        state.topic = Some(Topic {
            naming: Naming::new(&self.settings.source_id, &self.settings.topic, &identity),
            identity,
            first: before.as_ref().map_or(partitions.len(), |_| 0),
            partitions,
            generation: before.as_ref().map_or(0, |before| before.generation + 1),
            before: before.map(|before| before.naming),
            looked: began,
        });
        drop(state);
        self.bell.ring();
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
        let size = record.value.as_ref().map_or(0, |value| value.len());
        if size > settings.max_value {
            let message = format!("its value has {size} bytes, and --max-value is {}", settings.max_value);
            return Some(Why { reason: "too-large", message });
        }
        if settings.payload == Payload::Text {
            return None;
        }
        let error = record.item(naming, settings).err()?;
        Some(Why { reason: "malformed", message: format!("{error}, as --payload says") })
    }

    pub(super) fn get(&self, name: &ItemName) -> Result<Item, SourceError> {
        let state = self.state();
        let (record, naming) = match state.place(name) {
            Place::Here(at) => {
                let held = state.window.get(at).filter(|held| held.value.withheld.is_none());
                let found = held.zip(state.topic.as_ref());
                let found = found.map(|(held, topic)| (Arc::clone(&held.value.record), topic.naming.clone()));
                found.ok_or_else(|| SourceError::NotFound(name.clone()))?
            }
            Place::Over | Place::Elsewhere => return Err(SourceError::Gone(name.clone())),
            Place::Nowhere => return Err(SourceError::NotFound(name.clone())),
        };
        drop(state);
        record.item(&naming, &self.settings).map_err(|error| SourceError::Internal(error.into()))
    }

    /// Begins to settle. What is not at hand is remembered.
    pub(super) fn settle(&self, name: &ItemName, outcome: &Outcome) -> Result<Next, SourceError> {
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
        let Some(letter) = state.window.get_mut(at) else { return Ok(Next::Nothing) };
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
    pub(super) fn buried(&self, burial: &Burial, written: bool) {
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
    pub(super) fn doom(&self, at: Position) -> Option<(Burial, String)> {
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

    pub(super) fn page(&self, from: Option<Position>, max: usize) -> Page<ItemName, Position> {
        let state = self.state();
        let Some(topic) = &state.topic else { return state.page_of(Vec::new(), None, 0) };
        let mut listed = state.window.held(from).filter(|(_, held)| held.value.withheld.is_none());
        let items = listed.by_ref().take(max).map(|(at, _)| topic.naming.name(at)).collect();
        let next = listed.next().map(|(at, _)| at);
        let rest = next.map_or(0, |_| listed.count() as u64 + 1);
        state.page_of(items, next, rest)
    }

    pub(super) fn withheld(&self, from: Option<Position>, max: usize) -> Page<Withheld, Position> {
        let state = self.state();
        let held = state.window.held(None).filter_map(|(at, held)| {
            let why = held.value.withheld.as_ref()?;
            let message = match (&self.membership.dead_letter_topic, &state.topic) {
                (None, Some(topic)) => {
                    format!("{}; commits wait for it until it is settled as {}", why.message, topic.naming.name(at))
                }
                _ => why.message.clone(),
            };
            Some((at, self.withheld_as(at, why.reason, &message, &held.value.record)))
        });
        let staying = state.staying.iter().map(|(at, one)| (*at, one.clone()));
        let nowhere = Position { partition: -1, offset: -1 };
        let full = self.fullness.withheld().map(|one| (nowhere, one));
        let all: BTreeMap<Position, Withheld> = full.into_iter().chain(held).chain(staying).collect();
        let from = from.unwrap_or(Position { partition: i32::MIN, offset: i64::MIN });
        let mut rest = all.range(from..);
        let items = rest.by_ref().take(max).map(|(_, one)| one.clone()).collect();
        let next = rest.next().map(|(at, _)| *at);
        let remaining = next.map_or(0, |_| rest.count() as u64 + 1);
        Page { backlog: None, ..state.page_of(items, next, remaining) }
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

    fn withheld_as(&self, at: Position, reason: &str, message: &str, record: &Record) -> Withheld {
        Withheld {
            key: Key::new(format!("{}/{}/{}", self.settings.topic, at.partition, at.offset).as_bytes()),
            reason: reason.to_owned(),
            message: message.to_owned(),
            pending: false,
            since: record.time.map(Timestamp),
        }
    }

    /// How long nobody need look. Who has nothing to do but to wait for others looks often: it may be theirs no more, or done.
    pub(super) fn until_the_next_look(&self) -> Duration {
        const OFTEN: Duration = Duration::from_secs(1);
        let state = self.state();
        let waits_for_others = state.window.size().0 == 0 && state.backlog().is_some_and(|backlog| backlog > 0);
        if waits_for_others { self.settings.when.poll.min(OFTEN) } else { self.settings.when.poll }
    }

    /// Whether anything was ever to be done, by us or by others.
    pub(super) fn had_items(&self) -> bool {
        let state = self.state();
        state.ends.had_items() || state.window.size().0 > 0
    }

    pub(super) fn tally(&self) -> Tally {
        let state = self.state();
        let mut withheld: BTreeMap<&'static str, u64> = BTreeMap::new();
        let mut listed = 0;
        for (_, held) in state.window.held(None) {
            match &held.value.withheld {
                Some(why) => *withheld.entry(why.reason).or_default() += 1,
                None => listed += 1,
            }
        }
        if !state.staying.is_empty() {
            withheld.insert("dead-letter", state.staying.len() as u64);
        }
        if self.fullness.withheld().is_some() {
            withheld.insert("window-full", 1);
        }
        let (items, bytes) = state.window.size();
        self.metrics.window_records.set(i64::try_from(items).unwrap_or(i64::MAX));
        self.metrics.window_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.metrics.uncommitted.set(i64::try_from(state.window.uncommitted()).unwrap_or(i64::MAX));
        Tally {
            listed: Some(listed),
            withheld: withheld.into_iter().collect(),
            oldest: state.window.oldest(),
            backlog: state.backlog(),
        }
    }
}

impl State {
    fn forget_all(&mut self) {
        self.window.clear();
        self.ends = Ends::default();
        self.staying.clear();
        self.joined = self.joined.map(|_| false);
        self.emptied = Instant::now();
    }

    fn place(&self, name: &ItemName) -> Place {
        let Some(topic) = &self.topic else { return Place::Nowhere };
        let Some(at) = topic.naming.position(name) else {
            let before = topic.before.as_ref().is_some_and(|before| before.position(name).is_some());
            return if before { Place::Over } else { Place::Nowhere };
        };
        match self.window.known(at) {
            Known::Held => Place::Here(at),
            Known::Settled => Place::Over,
            Known::Elsewhere => Place::Elsewhere,
            Known::Never => Place::Nowhere,
        }
    }

    fn generation(&self) -> Option<u64> {
        self.topic.as_ref().map(|topic| topic.generation)
    }

    /// Whether the topic was made again since it was this.
    pub(super) fn is_other(&self, topic: &Topic) -> bool {
        self.topic.as_ref().is_none_or(|now| now.generation != topic.generation)
    }

    /// Partitions were given or taken.
    pub(super) fn rebalanced(&mut self) {
        self.emptied = Instant::now();
    }

    fn page_of<T>(&self, items: Vec<T>, next: Option<Position>, remaining: u64) -> Page<T, Position> {
        let complete = self.joined == Some(true);
        Page { items, next, complete, remaining: Some(remaining), backlog: self.backlog() }
    }

    /// How much waits behind the window, in all partitions of the topic. Nothing only where a look that began after the window was empty
    /// found nothing.
    fn backlog(&self) -> Option<u64> {
        let behind = self.ends.behind(self.window.positions())?;
        let unsure = self.window.size().0 == 0 && !self.ends.is_since(self.emptied);
        Some(behind.max(u64::from(unsure)))
    }
}
