//! The queue as a source: messages are taken into a window, listed, and acknowledged when they are settled.

use std::sync::Arc;

use ambassador_kit::queue::{Window, Windowed};
use ambassador_kit::source::{About, Order, Outcome, SourceError};
use contract::ItemName;
use contract::wire::Settle;
use prometheus_client::registry::Registry;
use tracing::info;

use crate::args::Settings;
use crate::shared::{Ending, Shared, Tag};
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

impl Windowed for QueueSource {
    type Token = Tag;

    fn who(&self) -> About {
        About {
            ambassador: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            source_id: self.shared.settings.source_id.clone(),
            order: Order::Position,
            incarnation: self.incarnation.clone(),
            settle: Settle::Exact,
        }
    }

    fn window(&self) -> &Window<Tag> {
        &self.shared.window
    }

    async fn give_back(&self, name: &ItemName, outcome: &Outcome) -> Result<(), SourceError> {
        self.shared.settle(name, outcome).await
    }

    async fn stop(&self) {
        self.shared.end();
        let mut ending = self.shared.ending.subscribe();
        // Fails only where nobody takes any more.
        let _ = ending.wait_for(|ending| *ending == Ending::Done).await;
    }
}
