//! The queue as a [`Source`]: messages are taken into a window, listed, and acknowledged when they are settled.

use std::sync::Arc;

use ambassador_kit::source::{About, Change, Health, Order, Outcome, Page, Revision, Source, SourceError, Tally};
use contract::ItemName;
use contract::wire::{Item, Settle, Withheld};
use futures_util::stream::BoxStream;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tracing::info;

use crate::args::Settings;
use crate::shared::{Ending, Shared};
use crate::taking;

/// A queue, served as what the broker hands out of it.
#[derive(Debug)]
pub struct QueueSource {
    shared: Arc<Shared>,
    incarnation: String,
}

impl QueueSource {
    /// Takes messages from now on; the broker need not be reachable yet.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn open(settings: Settings, registry: &mut Registry) -> Self {
        info!(
            queue = settings.queue.name, broker = ?settings.broker, window = settings.window.window,
            identity = ?settings.identity, dead_letter = settings.dead_letter, "taking messages of the queue"
        );
        let shared = Arc::new(Shared::new(settings, registry));
        shared
            .window
            .settle_late(&shared, async |shared: Arc<Shared>, name, outcome| shared.settle(&name, &outcome).await);
        tokio::spawn(taking::take(Arc::clone(&shared)));
        Self { shared, incarnation: ambassador_kit::source::new_incarnation() }
    }
}

impl Drop for QueueSource {
    fn drop(&mut self) {
        self.shared.end();
    }
}

impl Source for QueueSource {
    type Cursor = u64;

    fn about(&self) -> About {
        About {
            ambassador: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            source_id: self.shared.settings.source_id.clone(),
            order: Order::Position,
            incarnation: self.incarnation.clone(),
            settle: Settle::Exact,
        }
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.shared.window.health()
    }

    fn tally(&self) -> Tally {
        self.shared.window.tally()
    }

    fn had_items(&self) -> Option<bool> {
        Some(self.shared.window.had_items())
    }

    fn revision(&self) -> Option<Revision> {
        None
    }

    async fn page(&self, from: Option<u64>, max: usize) -> Result<Page<ItemName, u64>, SourceError> {
        Ok(self.shared.window.page(from, max))
    }

    fn changes(&self, _: Option<Revision>) -> Result<BoxStream<'static, Result<Change, SourceError>>, SourceError> {
        Err(SourceError::Unsupported(
            "what a queue hands out is held in no catalog of which changes could be told: poll",
        ))
    }

    async fn get(&self, name: &ItemName) -> Result<Item, SourceError> {
        self.shared.window.get(name)
    }

    async fn settle(&self, name: &ItemName, outcome: &Outcome) -> Result<(), SourceError> {
        self.shared.settle(name, outcome).await
    }

    async fn withheld(&self, from: Option<u64>, max: usize) -> Result<Page<Withheld, u64>, SourceError> {
        Ok(self.shared.window.withheld(from, max))
    }

    async fn drain(&self) {
        self.shared.end();
        let mut ending = self.shared.ending.subscribe();
        // Fails only where nobody takes any more.
        let _ = ending.wait_for(|ending| *ending == Ending::Done).await;
    }
}
