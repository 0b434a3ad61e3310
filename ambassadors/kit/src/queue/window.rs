//! The window of a queue: messages that are taken from it, each an item until it is settled; and all that is answered of them.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use contract::wire::{Item, Withheld};
use contract::{ItemName, Key, TraceContext};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde_json::Value;
use tokio::sync::watch;
use tracing::warn;

use super::leases::{Lease, Leases};
use super::message::{MessageArgs, Said};
use crate::source::{Health, Outcome, Page, SourceError, Tally};
use crate::turns::Turn;
use crate::{Fullness, Remembered, SettleArgs, Turns, Vitals};

/// Names that are remembered as settled, and others as gone: the youngest so many.
const PAST: usize = 65_536;

/// How much is taken of a queue.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "How messages are taken")]
pub struct WindowArgs {
    /// How many messages are taken before some of them are settled. As many times --max-value is the most memory they take.
    #[arg(long, value_name = "COUNT", default_value = "100", value_parser = clap::value_parser!(u16).range(1..))]
    pub window: u16,
    /// When a message counts as settled.
    #[command(flatten)]
    pub settling: SettleArgs,
}

/// Messages that are taken, by names, with what the backend knows each by (`T`). It holds no connection and does no waiting.
#[derive(Debug)]
pub struct Window<T> {
    most: usize,
    message: MessageArgs,
    vitals: Arc<Vitals>,
    fullness: Fullness,
    remembered: Remembered<()>,
    turns: Turns,
    held: Gauge,
    state: Mutex<State<T>>,
    /// Told whenever there is room that was not there before.
    room: watch::Sender<()>,
}

#[derive(Debug)]
struct State<T> {
    leases: Leases<T>,
    settled: Past,
    gone: Past,
    /// Since when nothing is held, if nothing is.
    emptied: Instant,
    /// When the last look behind the window began, and what it found.
    behind: Option<(Instant, u64)>,
    had_items: bool,
}

/// The youngest of many names.
#[derive(Debug, Default)]
struct Past {
    names: HashSet<ItemName>,
    order: VecDeque<ItemName>,
}

/// Why a message is no item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// As `/v1/withheld` has it: `too-large`, `malformed`, `dead-letter`.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

/// What became of a message that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is listed, or is settled in a moment, since it was settled before it came.
    Listed,
    /// It is held and not listed: to be written off where there is a place for such.
    Withheld(Why),
    /// It was settled, by this window, and comes again: the backend has not heard of it yet.
    Settled,
    /// One of this name is held already, and stays.
    Double,
}

/// When a look behind the window began.
#[derive(Clone, Copy, Debug)]
pub struct Look(Instant);

/// An item that is being settled, by nobody else meanwhile. Dropped, it is listed as before.
#[derive(Debug)]
#[must_use = "nothing is settled until `done` or `keep` says so"]
pub struct Settling<'a, T> {
    window: &'a Window<T>,
    name: ItemName,
    /// By which the backend knows it.
    pub token: T,
    /// Of the trace it is part of.
    pub trace_id: Option<String>,
    _turn: Turn,
}

impl<T: Clone + Send + 'static> Window<T> {
    /// An empty one, of a backend that nobody has seen yet; registers what [`Fullness`] does, and `window_messages`.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn new(args: &WindowArgs, message: MessageArgs, registry: &mut Registry) -> Self {
        let held = Gauge::default();
        registry.register("window_messages", "Messages that are taken and not settled", held.clone());
        Self {
            most: usize::from(args.window),
            message,
            // What was lost with its connection is somebody else's now: there is nothing to answer from.
            vitals: Vitals::start(Duration::ZERO),
            fullness: Fullness::new(args.settling.window_full_after, registry),
            remembered: Remembered::default(),
            turns: Turns::default(),
            held,
            state: Mutex::new(State {
                leases: Leases::default(),
                settled: Past::default(),
                gone: Past::default(),
                emptied: Instant::now(),
                behind: None,
                had_items: false,
            }),
            room: watch::Sender::new(()),
        }
    }

    /// How many more may be taken.
    pub fn room(&self) -> usize {
        self.most.saturating_sub(self.state().leases.len())
    }

    /// Waits until there is room.
    pub async fn has_room(&self) {
        let mut room = self.room.subscribe();
        while self.room() == 0 {
            // Fails only when the window is gone, and this holds it.
            let _ = room.changed().await;
        }
    }

    /// A message came, of this name and native key; `place` is where it lies, as fields of the item's data. `again`: it may have been
    /// handed to us before.
    pub fn take(
        &self,
        name: &ItemName,
        key: &[u8],
        said: Said<'_>,
        place: Vec<(&'static str, Value)>,
        token: T,
        again: bool,
    ) -> Taken {
        let trace_id = said.trace.as_ref().map(|trace: &TraceContext| trace.trace_id().to_owned());
        let content = self.content(said, place);
        let why = content.as_ref().err().cloned();
        let mut state = self.state();
        if state.leases.get(name).is_some() {
            return Taken::Double;
        }
        if again && state.settled.names.contains(name) {
            return Taken::Settled;
        }
        state.had_items = true;
        state.gone.remove(name);
        state.settled.remove(name);
        let (key, taken) = (key.into(), Instant::now());
        state.leases.insert(Lease { name: name.clone(), token, key, content, trace_id: trace_id.clone(), taken });
        self.count(&state);
        drop(state);
        self.remembered.turned_up(name);
        match why {
            None => Taken::Listed,
            Some(why) => {
                warn!(%name, reason = why.reason, why.message, trace_id, "a message is no item");
                Taken::Withheld(why)
            }
        }
    }

    /// Whether one of this name is held.
    pub fn holds(&self, name: &ItemName) -> bool {
        self.state().leases.get(name).is_some()
    }

    /// What is held, by names, in the order in which it came.
    pub fn held(&self) -> Vec<(ItemName, T)> {
        self.state().leases.from(0).map(|(_, lease)| (lease.name.clone(), lease.token.clone())).collect()
    }

    /// This one is ours no more: it is listed no longer, and comes again, here or elsewhere. What it was known by.
    pub fn lose(&self, name: &ItemName) -> Option<T> {
        let mut state = self.state();
        let lease = state.leases.remove(name)?;
        state.gone.add(name);
        self.left(state);
        Some(lease.token)
    }

    /// Begins to settle; `None` when there is nothing to do, or nothing yet: what is not at hand is remembered.
    ///
    /// # Errors
    /// [`SourceError::Unavailable`] while somebody else settles it.
    pub fn settle(&self, name: &ItemName, outcome: &Outcome) -> Result<Option<Settling<'_, T>>, SourceError> {
        let turn = self.turns.take(name)?;
        if self.state().settled.names.contains(name) {
            return Ok(None);
        }
        let find = || {
            let state = self.state();
            let lease = state.leases.get(name).ok_or_else(|| SourceError::NotFound(name.clone()))?;
            Ok((lease.token.clone(), lease.trace_id.clone()))
        };
        let found = self.remembered.find_or_remember(name, outcome, find)?;
        Ok(found.map(|(token, trace_id)| Settling { window: self, name: name.clone(), token, trace_id, _turn: turn }))
    }

    /// Has `settle` settle what was settled before it came, as long as there is a `source` to do it. To be called once.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn settle_late<S, F>(&self, source: &Arc<S>, settle: impl Fn(Arc<S>, ItemName, Outcome) -> F + Send + 'static)
    where
        S: Send + Sync + 'static,
        F: Future<Output = Result<(), SourceError>> + Send,
    {
        self.remembered.settle_late(source, settle);
    }

    /// A look behind the window begins.
    pub fn look(&self) -> Look {
        self.fullness.saw(self.room() == 0);
        Look(Instant::now())
    }

    /// So many wait behind the window, as that look found; the backend is seen. Whether it was lost before.
    pub fn seen(&self, look: Look, behind: u64) -> bool {
        let mut state = self.state();
        state.behind = Some((look.0, behind));
        state.had_items |= behind > 0;
        drop(state);
        self.vitals.live()
    }

    /// The backend cannot be seen. Whether that is new.
    pub fn lost(&self, why: String) -> bool {
        self.state().behind = None;
        self.vitals.lost(why)
    }

    /// How the backend is.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.vitals.subscribe()
    }

    /// Whether anything was ever in the queue since this runs.
    pub fn had_items(&self) -> bool {
        self.state().had_items
    }

    /// The item of this name.
    ///
    /// # Errors
    /// [`SourceError::Gone`] or [`SourceError::NotFound`].
    pub fn get(&self, name: &ItemName) -> Result<Item, SourceError> {
        let state = self.state();
        match state.leases.get(name).map(|lease| &lease.content) {
            Some(Ok(data)) => Ok(Item::new(name.clone(), data.clone())),
            None if state.gone.names.contains(name) || state.settled.names.contains(name) => {
                Err(SourceError::Gone(name.clone()))
            }
            Some(Err(_)) | None => Err(SourceError::NotFound(name.clone())),
        }
    }

    /// Part of the list, in the order in which messages came.
    pub fn page(&self, from: Option<u64>, max: usize) -> Page<ItemName, u64> {
        let state = self.state();
        let listed = state.leases.from(from.unwrap_or(0)).filter(|(_, lease)| lease.content.is_ok());
        let page = part(listed.map(|(place, lease)| (place, || lease.name.clone())), max);
        Page { complete: state.behind.is_some(), backlog: state.backlog(), ..page }
    }

    /// Part of what is held and not listed.
    pub fn withheld(&self, from: Option<u64>, max: usize) -> Page<Withheld, u64> {
        let state = self.state();
        let full = self.fullness.withheld().map(|one| (0, one));
        let held = state.leases.from(0).filter_map(|(place, lease)| Some((place + 1, lease.withheld()?)));
        let all: BTreeMap<u64, Withheld> = full.into_iter().chain(held).collect();
        let rest = all.range(from.unwrap_or(0)..);
        let page = part(rest.map(|(place, one)| (*place, || one.clone())), max);
        Page { complete: state.behind.is_some(), ..page }
    }

    /// It in figures.
    pub fn tally(&self) -> Tally {
        let state = self.state();
        let mut withheld: BTreeMap<&'static str, u64> = BTreeMap::new();
        let mut listed = 0;
        for (_, lease) in state.leases.from(0) {
            match &lease.content {
                Ok(_) => listed += 1,
                Err(why) => *withheld.entry(why.reason).or_default() += 1,
            }
        }
        if self.fullness.withheld().is_some() {
            withheld.insert("window-full", 1);
        }
        Tally {
            listed: Some(listed),
            withheld: withheld.into_iter().collect(),
            oldest: state.leases.from(0).next().map(|(_, lease)| lease.taken.elapsed()),
            backlog: state.backlog(),
        }
    }

    fn content(
        &self,
        said: Said<'_>,
        place: Vec<(&'static str, Value)>,
    ) -> Result<serde_json::Map<String, Value>, Why> {
        let headers = said.headers.iter().map(|(name, value)| name.len() + weight(value));
        let parts = [said.value, said.key].into_iter().flatten().map(<[u8]>::len);
        let (size, most) = (headers.chain(parts).sum::<usize>(), self.message.most());
        if size > most {
            let message = format!("its value, key and headers have {size} bytes, and --max-value is {most}");
            return Err(Why { reason: "too-large", message });
        }
        said.data(self.message.payload, place)
            .map_err(|error| Why { reason: "malformed", message: format!("{error}, as --payload says") })
    }

    /// Something is held no more.
    fn left(&self, mut state: MutexGuard<'_, State<T>>) {
        if state.leases.len() == 0 {
            state.emptied = Instant::now();
        }
        self.count(&state);
        drop(state);
        self.room.send_replace(());
    }

    fn count(&self, state: &State<T>) {
        self.held.set(i64::try_from(state.leases.len()).unwrap_or(i64::MAX));
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone + Send + 'static> Settling<'_, T> {
    /// The backend was told: it is listed no more.
    pub fn done(self) {
        let mut state = self.window.state();
        // It may have been lost meanwhile.
        if state.leases.remove(&self.name).is_some() {
            state.settled.add(&self.name);
        }
        self.window.left(state);
        self.window.fullness.settled();
    }

    /// It failed, and there is nowhere to put it: it is held, and listed no more.
    pub fn keep(self, reason: &str, advice: &str) {
        let mut state = self.window.state();
        if let Some(lease) = state.leases.get_mut(&self.name) {
            lease.content = Err(Why { reason: "dead-letter", message: format!("{reason}; {advice}") });
        }
        drop(state);
        warn!(name = %self.name, reason, trace_id = self.trace_id, "a message failed for good, and stays where it is");
    }
}

impl<T> Lease<T> {
    fn withheld(&self) -> Option<Withheld> {
        let why = self.content.as_ref().err()?;
        Some(Withheld {
            key: Key::new(&self.key),
            reason: why.reason.to_owned(),
            message: format!("{}; it has a place in the window until it is settled as {}", why.message, self.name),
            pending: false,
            since: None,
        })
    }
}

impl<T> State<T> {
    /// Nothing only where a look that began after the window was empty found nothing.
    fn backlog(&self) -> Option<u64> {
        let (looked, behind) = self.behind?;
        let unsure = self.leases.len() == 0 && looked < self.emptied;
        Some(behind.max(u64::from(unsure)))
    }
}

impl Past {
    fn add(&mut self, name: &ItemName) {
        if self.names.insert(name.clone()) {
            self.order.push_back(name.clone());
        }
        while self.order.len() > PAST {
            let oldest = self.order.pop_front();
            oldest.map(|oldest| self.names.remove(&oldest));
        }
    }

    /// It stays in the order, and makes room there in its time.
    fn remove(&mut self, name: &ItemName) {
        self.names.remove(name);
    }
}

/// At most `max` of these, which are in their order; where the rest begins, and how many those are.
fn part<T, F: Fn() -> T>(mut all: impl Iterator<Item = (u64, F)>, max: usize) -> Page<T, u64> {
    let items = all.by_ref().take(max).map(|(_, make)| make()).collect();
    let next = all.next().map(|(place, _)| place);
    let remaining = next.map_or(0, |_| all.count() as u64 + 1);
    Page { items, next, complete: false, remaining: Some(remaining), backlog: None }
}

/// How many bytes somebody wrote.
fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(all) => all.iter().map(weight).sum(),
        Value::Object(all) => all.iter().map(|(name, value)| name.len() + weight(value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
    }
}
