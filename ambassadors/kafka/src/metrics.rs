//! What this ambassador counts beside what every ambassador does.

use std::ops::Range;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Handles on the metrics; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    read: Counter,
    lag: Family<Partition, Gauge>,
    low: Family<Partition, Gauge>,
    high: Family<Partition, Gauge>,
    stalls: Counter,
    errors: Family<Cause, Counter>,
    gets: Family<By, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Partition {
    partition: i32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Cause {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct By {
    by: &'static str,
}

impl Metrics {
    /// Registers everything, as `kafka_…`.
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("kafka");
        let metrics = Self {
            read: Counter::default(),
            lag: Family::default(),
            low: Family::default(),
            high: Family::default(),
            stalls: Counter::default(),
            errors: Family::default(),
            gets: Family::default(),
        };
        registry.register("records_read", "Records that were read to know of them", metrics.read.clone());
        registry.register("lag", "Offsets between what was read and the end, at the last look", metrics.lag.clone());
        registry.register("low_watermark", "The first offset that there is", metrics.low.clone());
        registry.register("high_watermark", "The offset after the last", metrics.high.clone());
        registry.register("stalls", "Connections made anew, since nothing came of them", metrics.stalls.clone());
        registry.register("errors", "Looks at the topic that failed", metrics.errors.clone());
        registry.register("gets", "Items read: had ahead of the asker, or sought in the log", metrics.gets.clone());
        metrics
    }

    /// So many records were read.
    pub(crate) fn read(&self, records: usize) {
        self.read.inc_by(records as u64);
    }

    /// A partition was looked at: what there is of it, and how far it was read.
    pub(crate) fn looked(&self, partition: i32, there: &Range<i64>, read_to: i64) {
        let partition = Partition { partition };
        self.low.get_or_create(&partition).set(there.start);
        self.high.get_or_create(&partition).set(there.end);
        self.lag.get_or_create(&partition).set((there.end - read_to).max(0));
    }

    /// Another topic is read: what was said of partitions is not true any more.
    pub(crate) fn begin(&self) {
        for family in [&self.lag, &self.low, &self.high] {
            family.clear();
        }
    }

    /// Nothing came, though there was something to read.
    pub(crate) fn stalled(&self) {
        self.stalls.inc();
    }

    /// A look failed.
    pub(crate) fn failed(&self, reason: &'static str) {
        self.errors.get_or_create(&Cause { reason }).inc();
    }

    /// An item was asked for, and its record was there already, or was not.
    pub(crate) fn got(&self, ahead: bool) {
        self.gets.get_or_create(&By { by: if ahead { "ahead" } else { "seek" } }).inc();
    }
}
