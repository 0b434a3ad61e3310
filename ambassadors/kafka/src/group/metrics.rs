//! What group mode counts beside what every ambassador does.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Handles on the metrics; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Metrics {
    lag: Family<Partition, Gauge>,
    pub(super) window_records: Gauge,
    pub(super) window_bytes: Gauge,
    /// Settled, and not committed: what comes again after a kill.
    pub(super) uncommitted: Gauge,
    partitions: Gauge,
    commits: Family<Result, Counter>,
    rebalances: Family<Kind, Counter>,
    dead_letters: Family<Why, Counter>,
    pub(super) passed: Counter,
    pub(super) stalls: Counter,
    errors: Family<Why, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Partition {
    partition: i32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Result {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Why {
    reason: &'static str,
}

impl Metrics {
    /// Registers everything, as `kafka_…`.
    pub(super) fn new(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("kafka");
        let new = Self::default();
        registry.register(
            "lag",
            "Offsets between what the group has committed and the end, at the last look",
            new.lag.clone(),
        );
        registry.register("window_records", "Records taken and not settled", new.window_records.clone());
        registry.register("window_bytes", "Bytes of records taken and not settled", new.window_bytes.clone());
        registry.register("uncommitted_records", "Records settled and not committed", new.uncommitted.clone());
        registry.register("partitions", "Partitions that are ours", new.partitions.clone());
        registry.register("commits", "Commits of offsets, by what came of them", new.commits.clone());
        registry.register("rebalances", "Partitions given to us, revoked or lost", new.rebalances.clone());
        registry.register(
            "dead_letters",
            "Records written to the dead letter topic, or withheld for good",
            new.dead_letters.clone(),
        );
        registry.register("tombstones", "Records without a value that were passed over", new.passed.clone());
        registry.register("stalls", "Connections made anew, since nothing came of them", new.stalls.clone());
        registry.register("errors", "Looks at topic and group that failed", new.errors.clone());
        new
    }

    /// So far behind is the group in a partition.
    pub(super) fn lag(&self, partition: i32, lag: i64) {
        self.lag.get_or_create(&Partition { partition }).set(lag);
    }

    /// So many partitions were given or taken.
    pub(super) fn rebalanced(&self, kind: &'static str, count: usize, ours: usize) {
        self.rebalances.get_or_create(&Kind { kind }).inc_by(count as u64);
        self.partitions.set(i64::try_from(ours).unwrap_or(i64::MAX));
    }

    /// Nothing is ours.
    pub(super) fn left(&self) {
        self.partitions.set(0);
    }

    /// Another topic has the name: what is known of its predecessor's partitions is of no use.
    pub(super) fn anew(&self) {
        self.lag.clear();
    }

    /// A commit was answered, or not.
    pub(super) fn committed(&self, done: bool) {
        self.commits.get_or_create(&Result { result: if done { "done" } else { "failed" } }).inc();
    }

    /// A record is nobody's work any more.
    pub(super) fn buried(&self, reason: &'static str) {
        self.dead_letters.get_or_create(&Why { reason }).inc();
    }

    /// A look failed.
    pub(super) fn failed(&self, reason: &'static str) {
        self.errors.get_or_create(&Why { reason }).inc();
    }
}
