//! The first shape: everything is known, and held in a catalog, as of a folder.

use std::sync::Arc;

use ambassador_kit::Catalog;
use ambassador_kit::catalog::Why;
use ambassador_kit::source::{About, Change, Health, Order, Outcome, Page, Revision, Source, SourceError, Tally};
use contract::ItemName;
use contract::wire::{Item, Settle, Withheld};
use futures_util::stream::BoxStream;
use tokio::sync::watch;

/// Keys with a version each; what is settled is forgotten.
#[derive(Debug)]
pub(crate) struct Shelf {
    pub(crate) catalog: Arc<Catalog<u64>>,
    pub(crate) health: watch::Sender<Health>,
}

impl Shelf {
    /// With so many items `file <n>.mp4`, and one that is withheld.
    pub(crate) fn with(count: u64) -> Arc<Self> {
        let shelf = Self { catalog: Arc::new(Catalog::new()), health: watch::Sender::new(Health::Live) };
        for number in 0..count {
            shelf.put(&format!("file {number}.mp4"), 1);
        }
        let why = Why { reason: "hidden", message: "its name begins with a dot".into(), pending: false };
        shelf.catalog.withhold(b".hidden", why);
        Arc::new(shelf)
    }

    /// Lists a key at a version.
    pub(crate) fn put(&self, key: &str, version: u64) -> ItemName {
        let name = ItemName::derive(b"test", key.as_bytes(), &version.to_be_bytes());
        self.catalog.list(key.as_bytes(), &name, version);
        name
    }
}

impl Source for Shelf {
    type Cursor = u64;

    fn about(&self) -> About {
        super::about(Order::Age, self.catalog.incarnation(), Settle::Exact)
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    fn tally(&self) -> Tally {
        self.catalog.tally()
    }

    fn revision(&self) -> Option<Revision> {
        Some(self.catalog.revision())
    }

    async fn page(&self, from: Option<u64>, max: usize) -> Result<Page<ItemName, u64>, SourceError> {
        Ok(self.catalog.page(from, max))
    }

    fn changes(&self, since: Option<Revision>) -> Result<BoxStream<'static, Result<Change, SourceError>>, SourceError> {
        self.catalog.changes(since)
    }

    async fn get(&self, name: &ItemName) -> Result<Item, SourceError> {
        let entry = self.catalog.find(name)?;
        Ok(super::item(name, "key", String::from_utf8_lossy(&entry.key)))
    }

    async fn settle(&self, name: &ItemName, _outcome: &Outcome) -> Result<(), SourceError> {
        if let Ok(entry) = self.catalog.find(name) {
            self.catalog.forget(&entry.key);
        }
        Ok(())
    }

    async fn withheld(&self, from: Option<u64>, max: usize) -> Result<Page<Withheld, u64>, SourceError> {
        Ok(self.catalog.withheld(from, max))
    }

    async fn drain(&self) {}
}
