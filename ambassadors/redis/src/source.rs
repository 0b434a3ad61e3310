//! A list or stream as a source: what is taken of it lies in a window, is listed, and leaves the server when it is settled.

mod buried;
mod preflight;
mod shared;
mod taker;

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ambassador_kit::queue::{Window, Windowed};
use ambassador_kit::source::{About, Order, Outcome, SourceError};
use contract::ItemName;
use contract::wire::Settle;
use prometheus_client::registry::Registry;
use sidecar::Failure;
use tokio::task::JoinHandle;
use tracing::info;

use self::shared::Shared;
use crate::args::Settings;
use crate::message::Id;
use crate::trouble::Trouble;

/// A list or stream, served as what we take of it.
#[derive(Debug)]
pub struct RedisSource {
    shared: Arc<Shared>,
    taker: Mutex<Option<JoinHandle<()>>>,
}

impl RedisSource {
    /// Begins to take, of a server that need not be reachable yet.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn open(settings: Settings, registry: &mut Registry) -> Self {
        info!(
            queue = settings.what(), server = settings.server.whom(), consumer = settings.consumer, lease = ?settings.lease,
            payload = ?settings.message.payload, window = settings.window.window, dead_letter_key = settings.dead_letter_key,
            "taking messages"
        );
        let shared = Arc::new(Shared::new(settings, registry));
        shared
            .window
            .settle_late(&shared, async |shared: Arc<Shared>, name, outcome| shared.settle(&name, &outcome).await);
        let taker = tokio::spawn(taker::run(Arc::clone(&shared)));
        Self { shared, taker: Mutex::new(Some(taker)) }
    }

    /// Shows what would be taken first, and takes nothing. Says of it, a line each, what there is to know.
    ///
    /// # Errors
    /// Exit 77 when credentials are refused or a right is missing, 78 when a key is of another type or the settings are wrong, 69 when the
    /// server does not answer within `deadline`.
    ///
    /// # Panics
    /// Outside a runtime.
    pub async fn look(
        settings: Settings,
        registry: &mut Registry,
        deadline: Duration,
        out: &mut (impl Write + Send),
    ) -> Result<Self, Failure> {
        let shared = Arc::new(Shared::new(settings, registry));
        let asked = tokio::time::timeout(deadline, preflight::preflight(&shared.settings, &shared.queue)).await;
        let silent = |_| Trouble::silent("look at the queue", deadline);
        let (messages, waiting, said) = asked.map_err(silent).flatten().map_err(Trouble::failure)?;
        for line in said {
            writeln!(out, "{line}")?;
        }
        let look = shared.window.look();
        let shown = messages.len() as u64;
        shared.show(&messages);
        shared.window.seen(look, waiting.saturating_sub(shown));
        Ok(Self { shared, taker: Mutex::default() })
    }
}

impl Drop for RedisSource {
    fn drop(&mut self) {
        self.shared.end.cancel();
    }
}

impl Windowed for RedisSource {
    type Token = Id;

    fn who(&self) -> About {
        let settings = &self.shared.settings;
        About {
            ambassador: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            source_id: settings.source_id.clone(),
            order: Order::Position,
            incarnation: self.shared.incarnation.clone(),
            settle: Settle::Exact,
        }
    }

    fn window(&self) -> &Window<Id> {
        &self.shared.window
    }

    async fn give_back(&self, name: &ItemName, outcome: &Outcome) -> Result<(), SourceError> {
        self.shared.settle(name, outcome).await
    }

    async fn stop(&self) {
        self.shared.end.cancel();
        let taker = self.taker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(taker) = taker {
            // Fails only where it panicked, and then nothing can be given back.
            let _ = taker.await;
        }
    }
}
