//! What this ambassador counts beside what every ambassador does.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Handles on the metrics; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    taken: Family<How, Counter>,
    lost: Counter,
    settled: Family<Result, Counter>,
    dead_letters: Family<Cause, Counter>,
    trimmed: Counter,
    connections: Counter,
    errors: Family<Cause, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct How {
    how: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Result {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Cause {
    reason: &'static str,
}

impl Metrics {
    /// Registers everything, as `redis_…`.
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("redis");
        let new = Self {
            taken: Family::default(),
            lost: Counter::default(),
            settled: Family::default(),
            dead_letters: Family::default(),
            trimmed: Counter::default(),
            connections: Counter::default(),
            errors: Family::default(),
        };
        registry.register("taken", "Messages taken: new, of the dead, or our own of before", new.taken.clone());
        registry.register("lost", "Messages held that others have now, or nobody", new.lost.clone());
        registry.register("settled", "Messages settled: here, or by others before", new.settled.clone());
        registry.register(
            "dead_letters",
            "Messages written to the dead letter key, or withheld for good",
            new.dead_letters.clone(),
        );
        registry.register(
            "trimmed",
            "Entries that were cut off the stream before they were settled",
            new.trimmed.clone(),
        );
        registry.register("connections", "Connections made", new.connections.clone());
        registry.register("errors", "Connections and looks that failed", new.errors.clone());
        new
    }

    /// So many were taken: `new`, `adopted`, or `own`.
    pub(crate) fn took(&self, how: &'static str, messages: usize) {
        self.taken.get_or_create(&How { how }).inc_by(messages as u64);
    }

    /// One is ours no more.
    pub(crate) fn lost(&self) {
        self.lost.inc();
    }

    /// One is settled; `here`: somebody held it still.
    pub(crate) fn settled(&self, here: bool) {
        self.settled.get_or_create(&Result { result: if here { "here" } else { "before" } }).inc();
    }

    /// One is nobody's work any more.
    pub(crate) fn buried(&self, reason: &'static str) {
        self.dead_letters.get_or_create(&Cause { reason }).inc();
    }

    /// So many were cut off the stream.
    pub(crate) fn trimmed(&self, entries: u64) {
        self.trimmed.inc_by(entries);
    }

    /// There is a connection.
    pub(crate) fn connected(&self) {
        self.connections.inc();
    }

    /// There is none, or nothing can be seen by it.
    pub(crate) fn failed(&self, reason: &'static str) {
        self.errors.get_or_create(&Cause { reason }).inc();
    }
}
