//! The second shape: a list that is nowhere, since every name can be computed, as of a topic.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use ambassador_kit::source::{About, Change, Health, Order, Outcome, Page, Revision, Source, SourceError, Tally};
use contract::ItemName;
use contract::wire::{Item, Settle, Withheld};
use futures_util::stream::BoxStream;
use tokio::sync::watch;

/// Offsets of one partition, with a gap where a transaction was aborted.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) end: u64,
    pub(crate) gap: Range<u64>,
    pub(crate) health: watch::Sender<Health>,
    /// Offsets one call reads at most.
    step: u64,
    hash: String,
    /// Names handed out.
    pub(crate) given: AtomicU64,
    /// Most names asked for in one page.
    pub(crate) asked: AtomicUsize,
}

impl Log {
    /// `count` items, and a gap of 10,000 offsets in their middle.
    pub(crate) fn with(count: u64) -> Arc<Self> {
        let gap = count / 2..count / 2 + 10_000;
        Arc::new(Self {
            end: count + 10_000,
            gap,
            health: watch::Sender::new(Health::Live),
            step: 4_000,
            hash: contract::name::hash(&[b"cluster", b"orders", b"topic id"]),
            given: AtomicU64::new(0),
            asked: AtomicUsize::new(0),
        })
    }

    pub(crate) fn name(&self, offset: u64) -> ItemName {
        super::name(&format!("orders-0-{offset}-{}", self.hash))
    }

    /// The offset a name stands for, if the log holds it.
    fn offset(&self, name: &ItemName) -> Option<u64> {
        let offset = name.as_str().strip_prefix("orders-0-")?.strip_suffix(&self.hash)?.strip_suffix('-')?;
        let offset = offset.parse().ok()?;
        // Only the one way of writing it is its name.
        (offset < self.end && !self.gap.contains(&offset) && self.name(offset) == *name).then_some(offset)
    }
}

impl Source for Log {
    type Cursor = u64;

    fn about(&self) -> About {
        super::about(Order::Position, "topic-id", Settle::None)
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    fn tally(&self) -> Tally {
        Tally { listed: Some(self.end - (self.gap.end - self.gap.start)), ..Tally::default() }
    }

    fn revision(&self) -> Option<Revision> {
        None
    }

    async fn page(&self, from: Option<u64>, max: usize) -> Result<Page<ItemName, u64>, SourceError> {
        let from = from.unwrap_or(0).min(self.end);
        // A bounded read, of which a gap may leave nothing.
        let until = self.end.min(from + self.step.min(max as u64));
        let items: Vec<_> = (from..until).filter(|offset| !self.gap.contains(offset)).map(|o| self.name(o)).collect();
        self.given.fetch_add(items.len() as u64, Ordering::Relaxed);
        self.asked.fetch_max(max, Ordering::Relaxed);
        let next = (until < self.end).then_some(until);
        Ok(Page { items, next, complete: true, remaining: None, backlog: None })
    }

    fn changes(
        &self,
        _since: Option<Revision>,
    ) -> Result<BoxStream<'static, Result<Change, SourceError>>, SourceError> {
        Err(SourceError::Unsupported("a log has no catalog to watch"))
    }

    async fn get(&self, name: &ItemName) -> Result<Item, SourceError> {
        let offset = self.offset(name).ok_or_else(|| SourceError::NotFound(name.clone()))?;
        Ok(super::item(name, "offset", offset))
    }

    async fn settle(&self, _name: &ItemName, _outcome: &Outcome) -> Result<(), SourceError> {
        Err(SourceError::Unsupported("a log is read-only"))
    }

    async fn withheld(&self, _from: Option<u64>, _max: usize) -> Result<Page<Withheld, u64>, SourceError> {
        Ok(Page { items: Vec::new(), next: None, complete: true, remaining: Some(0), backlog: None })
    }

    async fn drain(&self) {}
}
