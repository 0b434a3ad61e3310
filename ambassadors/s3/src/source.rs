//! The bucket as a [`Source`] that is held: lists come from the catalog, items from the store.

use std::sync::Arc;

use ambassador_kit::catalog::Known;
use ambassador_kit::source::{About, Change, Health, Order, Outcome, Page, Revision, Source, SourceError, Tally};
use ambassador_kit::{Catalog, Vitals};
use contract::ItemName;
use contract::wire::{Item, Withheld};
use futures_util::stream::BoxStream;
use sidecar::metrics::registry::Registry;
use tokio::sync::watch;
use tracing::info;

use crate::args::Settings;
use crate::item::Items;
use crate::keeper::{self, Door, Shared};
use crate::metrics::Metrics;
use crate::settle::{Settled, Settler};

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
            vitals: Vitals::start(settings.when.max_stale),
            settler: Settler::new(Arc::clone(&settings)),
            settled: Arc::default(),
            metrics: Metrics::new(registry),
            settings: Arc::clone(&settings),
        };
        // A page of a first look that is not over is no reason to take anything for gone.
        shared.catalog.set_complete(false);
        let door = keeper::start(shared.clone());
        let items = Items::new(settings, shared.settler.clone());
        let inner = Arc::new(Inner { shared, items, door });
        let settler = &inner.shared.settler;
        settler.settle_late(&inner, async |inner, name, outcome| inner.settle(&name, &outcome).await);
        Self { inner }
    }
}

impl Inner {
    async fn settle(&self, name: &ItemName, outcome: &Outcome) -> Result<(), SourceError> {
        let catalog = &self.shared.catalog;
        let settler = &self.shared.settler;
        let Some(entry) = settler.find_or_remember(name, outcome, || catalog.find(name))? else { return Ok(()) };
        let key = key_of(&entry.key)?;
        let settled = settler.settle(name, key, outcome).await;
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
