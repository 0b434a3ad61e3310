//! The window of a queue: messages that are taken from it, each an item until it is settled.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use contract::{ItemName, TraceContext};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde_json::{Map, Value};
use tokio::sync::watch;
use tracing::warn;

use super::kept::Kept;
use super::leases::{Lease, Leases};
use super::message::{MessageArgs, Said};
use super::past::Past;
use super::settling::Settling;
use crate::source::{Health, Outcome, SourceError};
use crate::{Fullness, Remembered, SettleArgs, Turns, Vitals};

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
    pub(super) fullness: Fullness,
    pub(super) remembered: Remembered<()>,
    turns: Turns,
    held: Gauge,
    state: Mutex<State<T>>,
    /// Told whenever there is room that was not there before, and enough of it.
    room: watch::Sender<()>,
}

#[derive(Debug)]
pub(super) struct State<T> {
    pub(super) leases: Leases<T>,
    pub(super) settled: Past,
    pub(super) gone: Past,
    /// What failed for good and has nowhere to go, and why: so it is when it was lost and comes again.
    pub(super) kept: Kept,
    /// How many items have left the list.
    pub(super) departures: u64,
    /// The last look behind the window, and how many it found there.
    pub(super) behind: Option<(Look, u64)>,
    pub(super) had_items: bool,
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

/// A look behind the window: how many items had left the list when it began.
#[derive(Clone, Copy, Debug)]
pub struct Look(pub(super) u64);

impl<T: Clone + Send + 'static> Window<T> {
    /// An empty one, of a backend that nobody has seen yet; registers what [`Fullness`] does, and `window_messages`.
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
                kept: Kept::default(),
                departures: 0,
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

    /// Waits until there is room for a quarter of what it holds at most, so that asking for more is worth it.
    pub async fn has_room(&self) {
        let mut room = self.room.subscribe();
        while !self.is_worth_it(&self.state()) {
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
        self.hold(name, key, content, trace_id, token, again)
    }

    /// As [`take`](Self::take), of a message of which the backend knows without its content that it is no item, and why.
    pub fn withhold(&self, name: &ItemName, key: &[u8], why: Why, token: T, again: bool) -> Taken {
        self.hold(name, key, Err(why), None, token, again)
    }

    fn hold(
        &self,
        name: &ItemName,
        key: &[u8],
        content: Result<Map<String, Value>, Why>,
        trace_id: Option<String>,
        token: T,
        again: bool,
    ) -> Taken {
        let mut state = self.state();
        if state.leases.get(name).is_some() {
            return Taken::Double;
        }
        if again && state.settled.contains(name) {
            return Taken::Settled;
        }
        let content = content.and_then(|content| state.kept.get(name).map_or(Ok(content), Err));
        let why = content.as_ref().err().cloned();
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

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.state().leases.len() == 0
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
        if self.state().settled.contains(name) {
            return Ok(None);
        }
        let find = || {
            let state = self.state();
            let (place, lease) = state.leases.find(name).ok_or_else(|| SourceError::NotFound(name.clone()))?;
            Ok((place, lease.token.clone(), lease.trace_id.clone()))
        };
        let found = self.remembered.find_or_remember(name, outcome, find)?;
        Ok(found.map(|(place, token, trace_id)| Settling {
            window: self,
            name: name.clone(),
            outcome: outcome.clone(),
            place,
            token,
            trace_id,
            _turn: turn,
        }))
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
        Look(self.state().departures)
    }

    /// So many wait behind the window, as that look found, by which whatever was handed over before is [taken](Self::take); the backend is
    /// seen. Whether it was lost before.
    pub fn seen(&self, look: Look, behind: u64) -> bool {
        let mut state = self.state();
        state.behind = Some((look, behind));
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

    fn content(&self, said: Said<'_>, place: Vec<(&'static str, Value)>) -> Result<Map<String, Value>, Why> {
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

    /// Something is listed no more.
    pub(super) fn left(&self, mut state: MutexGuard<'_, State<T>>) {
        state.departures += 1;
        self.count(&state);
        let is_worth_it = self.is_worth_it(&state);
        drop(state);
        if is_worth_it {
            self.room.send_replace(());
        }
    }

    /// Whether there is so much room that asking for more is.
    fn is_worth_it(&self, state: &State<T>) -> bool {
        self.most.saturating_sub(state.leases.len()) >= self.most.div_ceil(4)
    }

    fn count(&self, state: &State<T>) {
        self.held.set(i64::try_from(state.leases.len()).unwrap_or(i64::MAX));
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
