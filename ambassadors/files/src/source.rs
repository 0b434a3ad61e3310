//! The folder as a [`Source`]: lists come from the catalog, and what touches the file system runs off the runtime, with a
//! deadline.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ambassador_kit::catalog::{Entry, Known, Why};
use ambassador_kit::source::{About, Change, Health, Order, Outcome, Page, Revision, Source, SourceError, Tally};
use ambassador_kit::{Catalog, Remembered, Turns};
use contract::item::encode_path;
use contract::wire::{Item, Settle, Withheld};
use contract::{ItemName, Key, ObjectData, Timestamp};
use futures_util::stream::BoxStream;
use rustix::io::Errno;
use sidecar::metrics::registry::Registry;
use sidecar::{Failure, FailureExt};
use tokio::sync::{Semaphore, watch};
use tracing::{info, warn};

use crate::args::{Identity, OnSettle, Settings};
use crate::jail::{Jail, Kind, Root, RootError, Sight};
use crate::keeper::{self, Door, Shared};
use crate::lanes::Lanes;
use crate::metrics::Metrics;
use crate::reason::Reason;
use crate::settle::{self, Action, Settled};
use crate::stamp::Stamp;
use crate::vitals::Vitals;

/// How long the file system may take to answer for one item.
const PATIENCE: Duration = Duration::from_secs(10);
/// Requests that may wait for the file system at once: a dead server must not use up the runtime's threads.
const AT_ONCE: usize = 32;
/// When to ask again for what could not be seen.
const RETRY: Duration = Duration::from_secs(2);

/// A folder, served.
#[derive(Debug)]
pub struct FilesSource {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Shared,
    door: Door,
    asking: Arc<Semaphore>,
    lanes: Lanes,
    turns: Turns,
}

impl FilesSource {
    /// Starts to read the folder, which need not be there yet, and its watchdog, on the runtime this is called on.
    ///
    /// # Errors
    /// Exit 71 when the system has no thread or descriptor left.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn open(settings: Settings, registry: &mut Registry) -> Result<Self, Failure> {
        let when = settings.when.clone();
        info!(
            root = %settings.root.display(), item_base = settings.item_base, identity = ?settings.identity, names = ?settings.names,
            globs = settings.filter.globs(), on_settle = ?settings.on_settle, stable_for = ?when.stable_for,
            rescan = ?when.rescan, "reading the folder"
        );
        let shared = Shared {
            root: Arc::new(Root::new(settings.root.clone())),
            settings: Arc::new(settings),
            catalog: Arc::new(Catalog::new()),
            vitals: Arc::new(Vitals::new(when.max_stale)),
            remembered: Remembered::default(),
            metrics: Metrics::new(registry),
        };
        tokio::spawn(Arc::clone(&shared.vitals).watch_for_stalls(when.stall_after));
        let door = keeper::start(shared.clone()).or_exit(71, "start the thread that reads the folder")?;
        let inner = Arc::new(Inner {
            shared,
            door,
            asking: Arc::new(Semaphore::new(AT_ONCE)),
            lanes: Lanes::default(),
            turns: Turns::default(),
        });
        let remembered = &inner.shared.remembered;
        remembered.settle_late(&inner, async |inner, name, outcome| inner.settle(&name, &outcome).await);
        Ok(Self { inner })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.door.stop();
    }
}

impl Inner {
    /// Runs `ask`, which is about this item, where it may block.
    async fn ask<R: Send + 'static>(
        self: &Arc<Self>,
        name: &ItemName,
        ask: impl FnOnce(&Self, &Jail) -> Result<R, SourceError> + Send + 'static,
    ) -> Result<R, SourceError> {
        let slow = || SourceError::Unavailable {
            why: "the folder's file system does not answer in time".into(),
            retry: RETRY,
        };
        let work = async {
            let lane = self.lanes.enter(name).await?;
            let permit = Arc::clone(&self.asking).acquire_owned().await.map_err(|e| SourceError::Internal(e.into()))?;
            let inner = Arc::clone(self);
            let asked = tokio::task::spawn_blocking(move || {
                // Held until the file system answers, however long nobody waits for it any more.
                let _held = (permit, lane);
                let jail = inner.shared.root.open(inner.had_items()).map_err(|error| inner.lost(&error))?;
                ask(&inner, &jail)
            });
            asked.await.map_err(|e| SourceError::Internal(e.into()))?
        };
        tokio::time::timeout(PATIENCE, work).await.map_err(|_| {
            // Is it this file alone, or all of them?
            self.door.scan();
            slow()
        })?
    }

    fn had_items(&self) -> bool {
        self.shared.catalog.tally().listed.is_some_and(|listed| listed > 0)
    }

    fn lost(&self, error: &RootError) -> SourceError {
        self.door.scan();
        SourceError::Unavailable { why: error.to_string(), retry: RETRY }
    }

    /// The data of an item, if its file is still what the name stands for.
    fn read(&self, jail: &Jail, entry: &Entry<Stamp>) -> Result<Item, SourceError> {
        let key = &*entry.key;
        let seen = jail.open_file(key).and_then(Sight::of);
        let sight = match seen {
            Ok(sight) if sight.kind == Kind::File && Stamp::from(sight.version) == entry.payload => sight,
            Ok(sight) if sight.kind == Kind::File && self.shared.settings.identity == Identity::Key => {
                self.door.look(key);
                let why = "the item's file was written again and is not known to be whole yet".into();
                return Err(SourceError::Unavailable { why, retry: RETRY });
            }
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => {
                self.door.look(key);
                return Err(SourceError::Gone(entry.name.clone()));
            }
            Err(error) => {
                self.door.look(key);
                return Err(cannot("read", error.into()));
            }
        };
        let data = ObjectData {
            uri: Some(format!("{}{}", self.shared.settings.item_base, encode_path(key))),
            key: Some(Key::new(key)),
            size: Some(sight.version.size),
            // A worker would take another version for another item; where the path alone is the item, there is none.
            etag: (self.shared.settings.identity == Identity::Version).then(|| sight.version.to_string()),
            last_modified: Some(Timestamp::from_unix_nanos(sight.version.mtime_nanos)),
            other: serde_json::Map::new(),
        };
        match serde_json::to_value(data) {
            Ok(serde_json::Value::Object(data)) => Ok(Item::new(entry.name.clone(), data)),
            Ok(_) => Err(SourceError::Internal("an item's data is no object".into())),
            Err(error) => Err(SourceError::Internal(error.into())),
        }
    }

    async fn settle(self: &Arc<Self>, name: &ItemName, outcome: &Outcome) -> Result<(), SourceError> {
        let (remembered, catalog) = (&self.shared.remembered, &self.shared.catalog);
        let Some(entry) = remembered.find_or_remember(name, outcome, || catalog.find(name))? else { return Ok(()) };
        let settings = &self.shared.settings;
        let action = match (outcome, &settings.on_settle, &settings.dead_letter) {
            (Outcome::Done, OnSettle::Delete, _) => Action::Delete,
            (Outcome::Done, OnSettle::Move(dir), _) | (Outcome::Failed { .. }, _, Some(dir)) => {
                Action::Move(dir.clone())
            }
            (Outcome::Failed { .. }, OnSettle::Delete | OnSettle::Move(_), None) => {
                self.keep(&entry);
                return Ok(());
            }
            (_, OnSettle::None, _) => return Err(NOT_OFFERED),
        };
        let turn = self.turns.take(name)?;
        self.ask(name, move |inner, jail| {
            // Ends with the work, not with the request.
            let _turn = turn;
            inner.settle_now(jail, &entry, &action)
        })
        .await
    }

    fn settle_now(&self, jail: &Jail, entry: &Entry<Stamp>, action: &Action) -> Result<(), SourceError> {
        let key = String::from_utf8_lossy(&entry.key);
        let settled = settle::settle(jail, &entry.key, entry.payload, action);
        match settled {
            Ok(Settled::Acted | Settled::Absent) => {
                self.shared.metrics.settled.inc();
                info!(name = %entry.name, %key, ?action, "settled");
                if matches!(self.shared.catalog.look(&entry.key), Some(Known::Listed(now)) if now.name == entry.name) {
                    self.shared.catalog.forget(&entry.key);
                }
            }
            Ok(Settled::Superseded) => {
                self.shared.metrics.superseded.inc();
                info!(name = %entry.name, %key, "settled a version that is no more: the new one is left alone");
            }
            Err(error) => {
                warn!(name = %entry.name, %key, ?action, %error, "cannot settle");
                self.door.look(&entry.key);
                return Err(cannot("settle", error));
            }
        }
        self.door.look(&entry.key);
        Ok(())
    }

    /// Leaves a file that failed for good where it is, and lists it no more.
    fn keep(&self, entry: &Entry<Stamp>) {
        info!(name = %entry.name, key = %String::from_utf8_lossy(&entry.key), "failed for good: withheld");
        self.shared.remembered.stay(&entry.key, entry.payload);
        let reason = Reason::DeadLetter;
        let message = "it failed for good and stays where it is; give --dead-letter DIR to move such files".into();
        self.shared.catalog.withhold(&entry.key, Why { reason: reason.label(), message, pending: false });
    }
}

const NOT_OFFERED: SourceError =
    SourceError::Unsupported("this folder is read only: start with --on-settle delete or move:DIR to settle items");

fn cannot(act: &str, error: io::Error) -> SourceError {
    // The kind, not the error: it may name paths.
    SourceError::Unavailable { why: format!("cannot {act} the item's file now: {}", error.kind()), retry: RETRY }
}

impl Source for FilesSource {
    type Cursor = u64;

    fn about(&self) -> About {
        let shared = &self.inner.shared;
        About {
            ambassador: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            source_id: shared.settings.source_id.clone(),
            order: Order::Age,
            incarnation: shared.catalog.incarnation().to_owned(),
            settle: match shared.settings.on_settle {
                OnSettle::None => Settle::None,
                OnSettle::Delete | OnSettle::Move(_) => Settle::Exact,
            },
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
        self.inner.ask(name, move |inner, jail| inner.read(jail, &entry)).await
    }

    async fn settle(&self, name: &ItemName, outcome: &Outcome) -> Result<(), SourceError> {
        if self.inner.shared.settings.on_settle == OnSettle::None {
            return Err(NOT_OFFERED);
        }
        self.inner.settle(name, outcome).await
    }

    async fn withheld(&self, from: Option<u64>, max: usize) -> Result<Page<Withheld, u64>, SourceError> {
        Ok(self.inner.shared.catalog.withheld(from, max))
    }

    async fn drain(&self) {
        self.inner.door.stop();
    }
}

/// Looks whether the folder is there at all, for a check that should say whose fault it is.
///
/// # Errors
/// Exit 78 when there is no such folder or it may not be read, 69 when its file system fails or does not answer.
pub(crate) async fn preflight(settings: &Settings) -> Result<(), Failure> {
    let checked = settings.clone();
    let looked = tokio::task::spawn_blocking(move || match Root::new(checked.root.clone()).open(false) {
        Ok(_) => settle::preflight(&checked).map_err(Failure::config),
        Err(error) if error.is_configuration() => Err(Failure::config(error)),
        Err(error) => Err(Failure::unavailable(error)),
    });
    match tokio::time::timeout(settings.when.stall_after, looked).await {
        Ok(Ok(checked)) => checked,
        Ok(Err(panicked)) => Err(panicked.into()),
        Err(_) => Err(Failure::unavailable(anyhow::anyhow!("{} does not answer", settings.root.display()))),
    }
}
