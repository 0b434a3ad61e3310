//! The third shape: a window of leases on a queue, which moves as items are settled.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};

use ambassador_kit::source::{About, Change, Health, Order, Outcome, Page, Revision, Source, SourceError, Tally};
use contract::ItemName;
use contract::wire::{Item, Settle, Withheld};
use futures_util::stream::BoxStream;
use tokio::sync::watch;

/// Messages by id; so many of them are leased at a time.
#[derive(Debug)]
pub(crate) struct Queue {
    size: usize,
    health: watch::Sender<Health>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<u64>,
    /// Message ids by delivery.
    window: BTreeMap<u64, u64>,
    deliveries: u64,
    /// Settled while the message was not at hand: applied when it comes.
    settled: HashSet<ItemName>,
    pub(crate) dead: Vec<(u64, Option<String>)>,
}

impl Queue {
    /// Messages 0 to `count`, of which `size` are leased at a time.
    pub(crate) fn with(count: u64, size: usize) -> Arc<Self> {
        let state = State { waiting: (0..count).collect(), ..State::default() };
        let queue = Self { size, health: watch::Sender::new(Health::Live), state: Mutex::new(state) };
        queue.fill(&mut queue.lock());
        Arc::new(queue)
    }

    /// A message that comes later.
    pub(crate) fn push(&self, id: u64) {
        let mut state = self.lock();
        state.waiting.push_back(id);
        self.fill(&mut state);
    }

    pub(crate) fn name(id: u64) -> ItemName {
        ItemName::derive(b"test", format!("message-{id}").as_bytes(), b"")
    }

    /// Dead letters, and how many messages wait unleased.
    pub(crate) fn rest(&self) -> (Vec<(u64, Option<String>)>, usize) {
        let state = self.lock();
        (state.dead.clone(), state.waiting.len())
    }

    fn fill(&self, state: &mut State) {
        while state.window.len() < self.size
            && let Some(id) = state.waiting.pop_front()
        {
            if !state.settled.remove(&Self::name(id)) {
                state.window.insert(state.deliveries, id);
                state.deliveries += 1;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics under this lock")
    }
}

impl Source for Queue {
    type Cursor = u64;

    fn about(&self) -> About {
        super::about(Order::Position, "connection-1", Settle::Exact)
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    fn tally(&self) -> Tally {
        let state = self.lock();
        let (listed, backlog) = (Some(state.window.len() as u64), Some(state.waiting.len() as u64));
        Tally { listed, backlog, ..Tally::default() }
    }

    fn revision(&self) -> Option<Revision> {
        None
    }

    async fn page(&self, from: Option<u64>, max: usize) -> Result<Page<ItemName, u64>, SourceError> {
        let state = self.lock();
        let mut rest = state.window.range((from.map_or(Bound::Unbounded, Bound::Included), Bound::Unbounded));
        let items = rest.by_ref().take(max).map(|(_, id)| Self::name(*id)).collect();
        let next = rest.next().map(|(delivery, _)| *delivery);
        let remaining = Some(next.map_or(0, |_| rest.count() as u64 + 1));
        Ok(Page { items, next, complete: true, remaining, backlog: Some(state.waiting.len() as u64) })
    }

    fn changes(
        &self,
        _since: Option<Revision>,
    ) -> Result<BoxStream<'static, Result<Change, SourceError>>, SourceError> {
        Err(SourceError::Unsupported("a queue has no catalog to watch"))
    }

    async fn get(&self, name: &ItemName) -> Result<Item, SourceError> {
        let state = self.lock();
        match state.window.values().find(|id| Self::name(**id) == *name) {
            Some(id) => Ok(super::item(name, "value", *id)),
            None => Err(SourceError::NotFound(name.clone())),
        }
    }

    async fn settle(&self, name: &ItemName, outcome: &Outcome) -> Result<(), SourceError> {
        let mut state = self.lock();
        let found = state.window.iter().find(|(_, id)| Self::name(**id) == *name).map(|(at, id)| (*at, *id));
        let Some((delivery, id)) = found else {
            state.settled.insert(name.clone());
            return Ok(());
        };
        state.window.remove(&delivery);
        if let Outcome::Failed { reason } = outcome {
            state.dead.push((id, reason.clone()));
        }
        self.fill(&mut state);
        Ok(())
    }

    async fn withheld(&self, _from: Option<u64>, _max: usize) -> Result<Page<Withheld, u64>, SourceError> {
        Ok(Page { items: Vec::new(), next: None, complete: true, remaining: Some(0), backlog: None })
    }

    async fn drain(&self) {
        let mut state = self.lock();
        let leased = std::mem::take(&mut state.window);
        for id in leased.into_values().rev() {
            state.waiting.push_front(id);
        }
    }
}
