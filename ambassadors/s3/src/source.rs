//! The bucket as a [`Source`] that is held: lists come from the catalog, items from the store.

use std::sync::Arc;

use ambassador_kit::Catalog;
use ambassador_kit::catalog::Known;
use ambassador_kit::source::{About, Change, Health, Order, Outcome, Page, Revision, Source, SourceError, Tally};
use contract::ItemName;
use contract::wire::{Item, Withheld};
use futures_util::stream::BoxStream;
use sidecar::metrics::registry::Registry;
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use crate::args::Settings;
use crate::item::Items;
use crate::keeper::{self, Door, Shared};
use crate::metrics::Metrics;
use crate::settle::{Settled, Settler};
use crate::vitals::Vitals;

/// A bucket, served from memory.
#[derive(Debug)]
pub struct S3Source {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Shared,
    items: Items,
    door: Door,
}

impl S3Source {
    /// Starts to read the bucket, which need not be reachable yet, on the runtime this is called on.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn open(settings: Settings, registry: &mut Registry) -> Self {
        let settings = Arc::new(settings);
        info!(
            bucket = settings.bucket.name(), prefix = settings.prefix, naming = ?settings.naming,
            on_settle = ?settings.settle.on_settle, presign = ?settings.presign, poll = ?settings.when.poll,
            reconcile = ?settings.when.reconcile, "reading the bucket"
        );
        let shared = Shared {
            catalog: Arc::new(Catalog::new()),
            stamps: Arc::default(),
            vitals: Arc::new(Vitals::new(settings.when.max_stale)),
            settler: Settler::new(Arc::clone(&settings)),
            settled: Arc::default(),
            metrics: Metrics::new(registry),
            settings: Arc::clone(&settings),
        };
        // A page of a first look that is not over is no reason to take anything for gone.
        shared.catalog.set_complete(false);
        let (late, mut lates) = mpsc::unbounded_channel();
        let door = keeper::start(shared.clone(), late);
        let items = Items::new(settings, shared.settler.clone());
        let inner = Arc::new(Inner { shared, items, door });
        let weak = Arc::downgrade(&inner);
        tokio::spawn(async move {
            while let Some(name) = lates.recv().await {
                let Some(inner) = weak.upgrade() else { return };
                if let Some(outcome) = inner.shared.settler.take_remembered(&name)
                    && let Err(error) = inner.settle(&name, &outcome).await
                {
                    warn!(%name, %error, "an item that was settled before it turned up could not be settled");
                }
            }
        });
        Self { inner }
    }
}

impl Inner {
    async fn settle(&self, name: &ItemName, outcome: &Outcome) -> Result<(), SourceError> {
        let catalog = &self.shared.catalog;
        let entry = match catalog.find(name) {
            Ok(entry) => entry,
            Err(error) if keeper::is_absent(&error) => {
                self.shared.settler.remember(name, outcome);
                // It may have been listed just before that was remembered.
                match catalog.find(name) {
                    Ok(entry) if self.shared.settler.take_remembered(name).is_some() => entry,
                    _ => return Ok(()),
                }
            }
            Err(error) => return Err(error),
        };
        let key = key_of(&entry.key)?;
        let settled = self.shared.settler.settle(name, key, outcome).await;
        match &settled {
            Ok(Settled::Over) => {
                self.shared.settled.add(&entry.key, entry.payload);
                if matches!(catalog.look(&entry.key), Some(Known::Listed(now)) if now.name == *name) {
                    catalog.forget(&entry.key);
                }
            }
            Ok(Settled::Kept(why)) => catalog.withhold(&entry.key, why.clone()),
            Ok(Settled::Superseded) | Err(_) => self.door.look(key),
        }
        settled.map(drop)
    }
}

/// Every key came from the store as text.
fn key_of(key: &[u8]) -> Result<&str, SourceError> {
    std::str::from_utf8(key).map_err(|error| SourceError::Internal(error.into()))
}

impl Source for S3Source {
    type Cursor = u64;

    fn about(&self) -> About {
        let shared = &self.inner.shared;
        About {
            ambassador: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            source_id: shared.settings.naming.source_id.clone(),
            order: Order::Age,
            incarnation: shared.catalog.incarnation().to_owned(),
            settle: shared.settler.policy(),
        }
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.inner.shared.vitals.subscribe()
    }

    fn tally(&self) -> Tally {
        self.inner.shared.catalog.tally()
    }

    fn revision(&self) -> Option<Revision> {
        Some(self.inner.shared.catalog.revision())
    }

    async fn page(&self, from: Option<u64>, max: usize) -> Result<Page<ItemName, u64>, SourceError> {
        Ok(self.inner.shared.catalog.page(from, max))
    }

    fn changes(&self, since: Option<Revision>) -> Result<BoxStream<'static, Result<Change, SourceError>>, SourceError> {
        self.inner.shared.catalog.changes(since)
    }

    async fn get(&self, name: &ItemName) -> Result<Item, SourceError> {
        let entry = self.inner.shared.catalog.find(name)?;
        let key = key_of(&entry.key)?;
        let got = self.inner.items.get(name, key).await;
        if matches!(got, Err(SourceError::Gone(_))) {
            self.inner.door.look(key);
        }
        got
    }

    async fn settle(&self, name: &ItemName, outcome: &Outcome) -> Result<(), SourceError> {
        self.inner.settle(name, outcome).await
    }

    async fn withheld(&self, from: Option<u64>, max: usize) -> Result<Page<Withheld, u64>, SourceError> {
        Ok(self.inner.shared.catalog.withheld(from, max))
    }

    async fn drain(&self) {}
}
