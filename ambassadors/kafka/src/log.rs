//! The topic as a [`Source`] that is only read: every record is an item, for as long as the topic keeps it.
//!
//! One thread reads the log once, from end to end, and keeps a bit for each record; others read single records for those who ask.

mod changes;
mod fetch;
mod index;
mod list;
mod reader;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ambassador_kit::Vitals;
use ambassador_kit::queue::Payload;
use ambassador_kit::source::{About, Change, Health, Order, Outcome, Page, Revision, Source, SourceError, Tally};
use contract::ItemName;
use contract::wire::{Item, Settle, Withheld};
use futures_util::stream::BoxStream;
use prometheus_client::registry::Registry;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;
use tokio::sync::watch;
use tracing::info;

use self::fetch::{Fetched, Fetcher};
use self::index::{Reason, Sort};
use self::list::List;
use crate::args::Settings;
use crate::client::Context;
use crate::metrics::Metrics;
use crate::naming::{Naming, Position};
use crate::record::Record;

/// A topic, served as a list of all its records.
#[derive(Debug)]
pub struct LogSource {
    shared: Arc<Shared>,
    fetcher: Fetcher,
}

/// What those who read share with those who answer.
#[derive(Debug)]
struct Shared {
    settings: Settings,
    list: Arc<List>,
    vitals: Arc<Vitals>,
    metrics: Metrics,
    /// Whoever reads records has seen that the topic is not what it was.
    look_now: AtomicBool,
    /// Of which topic those that gave records say that it has the name now.
    told: Mutex<Option<String>>,
    /// Nobody asks any more.
    over: AtomicBool,
}

impl Shared {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// A broker that gave a record has said that the topic is another now.
    fn tell(&self, identity: String) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Some(identity);
        self.look_now.store(true, Ordering::Relaxed);
    }

    /// Whether one has said so, and those that are looked at have not heard of it.
    fn is_told_of_another(&self, identity: &str) -> bool {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.as_ref().is_some_and(|told| told != identity && !self.list.is_former(told))
    }

    /// A client that reads where it is told to, and has a part in no group. It holds as much as `bounds` say, unless the user says otherwise;
    /// `missing` says where it goes on if an offset is not there (`auto.offset.reset`).
    fn consumer(&self, bounds: &[(&str, &str)], missing: &str) -> Result<BaseConsumer<Context>, KafkaError> {
        let cluster = &self.settings.cluster;
        let ours = [
            ("group.id", self.settings.group.as_deref().unwrap_or(env!("CARGO_PKG_NAME"))),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("enable.partition.eof", "true"),
            ("isolation.level", "read_committed"),
            ("auto.offset.reset", missing),
            ("allow.auto.create.topics", "false"),
            // Of producers; librdkafka wants fetch.max.bytes to be no less, whoever the client is.
            ("message.max.bytes", "1000000"),
        ];
        cluster.config_over(bounds, &ours).create_with_context(cluster.context())
    }

    /// Whether a record is listed: one of so many bytes, which may have no value.
    fn sort(&self, has_value: bool, weight: usize, record: impl FnOnce() -> (Record, Option<Naming>)) -> Sort {
        let settings = &self.settings;
        if !has_value && !settings.tombstones {
            return Sort::Withheld(Reason::Tombstone);
        }
        if weight > settings.message.most() {
            return Sort::Withheld(Reason::TooLarge);
        }
        if settings.message.payload == Payload::Text {
            return Sort::Listed;
        }
        let (record, naming) = record();
        let readable = naming.is_some_and(|naming| record.item(&naming, settings).is_ok());
        if readable { Sort::Listed } else { Sort::Withheld(Reason::Malformed) }
    }

    /// What a reason means here, for people.
    fn explain(&self, reason: Reason) -> String {
        match reason {
            Reason::Tombstone => {
                "it has no value: it deletes its key; give --tombstones to list such records".to_owned()
            }
            Reason::TooLarge => format!(
                "its value, key and headers are larger than {} bytes; give --max-value more, where the workers' input takes it",
                self.settings.message.most()
            ),
            Reason::Malformed => {
                let what = if self.settings.message.payload == Payload::Uri { "a URI" } else { "a JSON object" };
                format!("its value is not {what}, as --payload says")
            }
        }
    }
}

impl LogSource {
    /// Starts to read the topic, which need not be reachable yet, on threads of its own.
    ///
    /// # Panics
    /// Outside a runtime, or where the system gives no thread.
    pub fn open(settings: Settings, registry: &mut Registry) -> Self {
        info!(
            topic = settings.topic, cluster = ?settings.cluster, start = ?settings.start, payload = ?settings.message.payload,
            poll = ?settings.when.poll, "reading the topic"
        );
        let shared = Arc::new(Shared {
            list: Arc::new(List::new(&settings.topic, &settings.source_id)),
            vitals: Vitals::start(settings.when.max_stale),
            metrics: Metrics::new(registry),
            look_now: AtomicBool::new(false),
            told: Mutex::default(),
            over: AtomicBool::new(false),
            settings,
        });
        reader::start(Arc::clone(&shared));
        Self { fetcher: Fetcher::start(&shared), shared }
    }
}

impl Drop for LogSource {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
    }
}

impl Source for LogSource {
    type Cursor = Position;

    fn about(&self) -> About {
        About {
            ambassador: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            source_id: self.shared.settings.source_id.clone(),
            order: Order::Position,
            incarnation: self.shared.list.incarnation(),
            settle: Settle::None,
        }
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.shared.vitals.subscribe()
    }

    fn tally(&self) -> Tally {
        self.shared.list.tally()
    }

    fn revision(&self) -> Option<Revision> {
        Some(self.shared.list.revision())
    }

    async fn page(&self, from: Option<Position>, max: usize) -> Result<Page<ItemName, Position>, SourceError> {
        Ok(self.shared.list.page(from, max))
    }

    fn changes(&self, since: Option<Revision>) -> Result<BoxStream<'static, Result<Change, SourceError>>, SourceError> {
        self.shared.list.changes(since)
    }

    async fn get(&self, name: &ItemName) -> Result<Item, SourceError> {
        let list = &self.shared.list;
        let (at, incarnation) = list.find(name)?;
        match self.fetcher.fetch(at, &incarnation).await? {
            Fetched::Record(record) => {
                // Of the name's own topic still, whatever came in its place meanwhile.
                let naming = list.naming().filter(|naming| naming.position(name) == Some(at));
                let naming = naming.ok_or_else(|| SourceError::Gone(name.clone()))?;
                record.item(&naming, &self.shared.settings).map_err(|error| SourceError::Internal(Box::new(error)))
            }
            Fetched::Gone => {
                list.forget(&incarnation, at);
                Err(SourceError::Gone(name.clone()))
            }
        }
    }

    async fn settle(&self, _: &ItemName, _: &Outcome) -> Result<(), SourceError> {
        Err(SourceError::Unsupported(
            "a log is only read: records go when the topic's retention or compaction takes them",
        ))
    }

    async fn withheld(&self, from: Option<Position>, max: usize) -> Result<Page<Withheld, Position>, SourceError> {
        Ok(self.shared.list.withheld(from, max, |reason| self.shared.explain(reason)))
    }

    async fn drain(&self) {}
}
