//! The bucket as a [`Source`] that is held nowhere: each page is asked of the store, and a name says its key itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ambassador_kit::Vitals;
use ambassador_kit::source::{About, Change, Health, Order, Outcome, Page, Revision, Source, SourceError, Tally};
use contract::wire::{Item, Withheld};
use contract::{ItemName, Key};
use futures_util::stream::BoxStream;
use sidecar::metrics::registry::Registry;
use storage_s3::{ListQuery, Listed};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::args::Settings;
use crate::filter::Verdict;
use crate::item::Items;
use crate::metrics::Metrics;
use crate::narrowed;
use crate::settle::Settler;
use crate::trouble::{self, unavailable};

/// How long to go on looking for something to show, where most of what is there is not shown.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of the longest key there can be.
const LONGEST_KEY: usize = 1_024;

/// A bucket, asked anew for each page.
#[derive(Debug)]
pub struct PagedSource {
    settings: Arc<Settings>,
    items: Items,
    settler: Settler,
    vitals: Arc<Vitals>,
    incarnation: String,
}

impl PagedSource {
    /// Starts to look from time to time whether the bucket can be listed, on the runtime this is called on.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn open(settings: Settings, registry: &mut Registry) -> Self {
        let settings = Arc::new(settings);
        info!(
            bucket = settings.bucket.name(), prefix = settings.prefix, naming = ?settings.naming,
            on_settle = ?settings.settle.on_settle, presign = ?settings.presign, "serving pages of the bucket; nothing is held"
        );
        let vitals = Vitals::start(Duration::ZERO);
        tokio::spawn(probe(Arc::clone(&settings), Arc::downgrade(&vitals), Metrics::new(registry)));
        // Positions are keys, and mean the same to every replica and after a restart.
        let parts = [settings.bucket.name().as_bytes(), settings.prefix.as_bytes()];
        let settler = Settler::new(Arc::clone(&settings));
        Self {
            items: Items::new(Arc::clone(&settings), settler.clone()),
            settler,
            vitals,
            incarnation: contract::name::hash(&parts),
            settings,
        }
    }

    /// At most `max` of what `pick` takes of the keys after `from`. The store is asked for whole pages, however few are wanted:
    /// most of what is there may be nothing to show.
    async fn walk<T>(
        &self,
        from: Option<String>,
        max: usize,
        mut pick: impl FnMut(Listed, Verdict) -> Option<T>,
    ) -> Result<Page<T, String>, SourceError> {
        if from.as_ref().is_some_and(|key| key.len() > LONGEST_KEY) {
            return Err(SourceError::Expired("the position is longer than any key"));
        }
        let until = Instant::now() + PATIENCE;
        let (mut items, mut next) = (Vec::new(), from);
        loop {
            let query = ListQuery {
                prefix: self.settings.filter.listed_prefix(),
                start_after: next.clone(),
                ..ListQuery::default()
            };
            let page = self.settings.bucket.list(&query).await.map_err(|error| unavailable(&error))?;
            let now = self.settings.bucket.s3().now();
            let mut objects = page.objects.into_iter();
            while items.len() < max
                && let Some(object) = objects.next()
            {
                next = Some(object.key.clone());
                let verdict = match self.settings.filter.judge(&object, now) {
                    Verdict::Item => self.settler.withheld(&object).map_or(Verdict::Item, Verdict::Withheld),
                    other => other,
                };
                items.extend(pick(object, verdict));
            }
            if objects.len() == 0 && page.next.is_none() {
                next = None;
                break;
            }
            if items.len() >= max || Instant::now() >= until {
                break;
            }
        }
        Ok(Page { items, next, complete: true, remaining: None, backlog: None })
    }

    fn key_of<'a>(&self, name: &'a ItemName) -> Result<&'a str, SourceError> {
        let key = self.settings.naming.key_of(name).filter(|key| key.starts_with(&self.settings.prefix));
        key.filter(|key| key.len() <= LONGEST_KEY).ok_or_else(|| SourceError::NotFound(name.clone()))
    }
}

/// Asks for one key now and then, for as long as the source lives.
async fn probe(settings: Arc<Settings>, vitals: std::sync::Weak<Vitals>, metrics: Metrics) {
    let query = ListQuery { prefix: settings.prefix.clone(), max: Some(1), ..ListQuery::default() };
    let mut first = true;
    while let Some(vitals) = vitals.upgrade() {
        let error = trouble::within(&settings, settings.bucket.list(&query)).await.and_then(|answer| answer).err();
        if error.is_none() && std::mem::take(&mut first) {
            narrowed::warn(&settings).await;
        }
        match error {
            None if vitals.live() => info!(bucket = settings.bucket.name(), "the bucket is back"),
            None => {}
            Some(error) => {
                metrics.failed(trouble::reason(&error));
                let why = sidecar::chain(&error);
                if vitals.lost(why.clone()) {
                    warn!(error = why, "the bucket cannot be seen");
                }
            }
        }
        let healthy = *vitals.subscribe().borrow() == Health::Live;
        drop(vitals);
        tokio::time::sleep(if healthy { settings.when.poll } else { trouble::RETRY }).await;
    }
}

impl Source for PagedSource {
    /// The key after which the page begins.
    type Cursor = String;

    fn about(&self) -> About {
        About {
            ambassador: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            source_id: self.settings.naming.source_id.clone(),
            order: Order::Key,
            incarnation: self.incarnation.clone(),
            settle: self.settler.policy(),
        }
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.vitals.subscribe()
    }

    fn tally(&self) -> Tally {
        Tally::default()
    }

    fn revision(&self) -> Option<Revision> {
        None
    }

    async fn page(&self, from: Option<String>, max: usize) -> Result<Page<ItemName, String>, SourceError> {
        let naming = &self.settings.naming;
        self.walk(from, max, |object, verdict| match verdict {
            Verdict::Item => naming.name(&object.key, &object.etag, object.version_id.as_deref()).ok(),
            Verdict::Withheld(_) | Verdict::Later(..) => None,
        })
        .await
    }

    fn changes(&self, _: Option<Revision>) -> Result<BoxStream<'static, Result<Change, SourceError>>, SourceError> {
        Err(SourceError::Unsupported("nothing is held here of which changes could be told: poll, or give --order age"))
    }

    async fn get(&self, name: &ItemName) -> Result<Item, SourceError> {
        let key = self.key_of(name)?;
        match self.items.get(name, key).await {
            // What was listed before is not remembered.
            Err(SourceError::Gone(name)) => Err(SourceError::NotFound(name)),
            got => got,
        }
    }

    async fn settle(&self, name: &ItemName, outcome: &Outcome) -> Result<(), SourceError> {
        match self.key_of(name) {
            Ok(key) => self.settler.settle(name, key, outcome).await.map(drop),
            Err(_) => Ok(()),
        }
    }

    async fn withheld(&self, from: Option<String>, max: usize) -> Result<Page<Withheld, String>, SourceError> {
        let naming = &self.settings.naming;
        self.walk(from, max, |object, verdict| {
            let (reason, message, pending) = match verdict {
                Verdict::Withheld(why) | Verdict::Later(why, _) => (why.reason, why.message.to_string(), why.pending),
                Verdict::Item => {
                    let error = naming.name(&object.key, &object.etag, object.version_id.as_deref()).err()?;
                    ("unnameable", format!("it can have no raw name: {error}; give --names label"), false)
                }
            };
            let key = Key::new(object.key.as_bytes());
            Some(Withheld { key, reason: reason.to_owned(), message, pending, since: None })
        })
        .await
    }

    async fn drain(&self) {}
}
