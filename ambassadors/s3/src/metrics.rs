//! What this ambassador counts beside what every ambassador does.

use std::time::{Duration, SystemTime};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Handles on the metrics; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    scan_seconds: Histogram,
    poll_seconds: Histogram,
    /// Objects the last look at everything met.
    seen: Gauge,
    /// Withheld objects that are counted and not held one by one.
    pub(crate) not_held: Gauge,
    last_reconcile: Gauge,
    last_look: Gauge,
    requests: Family<Kind, Counter>,
    retries: Counter,
    errors: Family<Cause, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Cause {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

impl Metrics {
    /// Registers everything, as `s3_…`.
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("s3");
        let metrics = Self {
            scan_seconds: Histogram::new([0.01, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0]),
            poll_seconds: Histogram::new([0.01, 0.1, 0.5, 1.0, 5.0, 30.0]),
            seen: Gauge::default(),
            not_held: Gauge::default(),
            last_reconcile: Gauge::default(),
            last_look: Gauge::default(),
            requests: Family::default(),
            retries: Counter::default(),
            errors: Family::default(),
        };
        registry.register("scan_seconds", "Duration of looks at everything", metrics.scan_seconds.clone());
        registry.register("poll_seconds", "Duration of looks for new objects alone", metrics.poll_seconds.clone());
        registry.register("scan_objects", "Objects met by the last look at everything", metrics.seen.clone());
        registry.register("not_held", "Withheld objects counted and not held one by one", metrics.not_held.clone());
        registry.register(
            "last_reconcile_timestamp_seconds",
            "When the last look at everything ended",
            metrics.last_reconcile.clone(),
        );
        registry.register(
            "last_look_timestamp_seconds",
            "When the last look of any kind ended",
            metrics.last_look.clone(),
        );
        registry.register("requests", "Requests to the store that were answered or given up", metrics.requests.clone());
        registry.register("retries", "Requests of a look that failed and were made again", metrics.retries.clone());
        registry.register("errors", "Looks at the bucket that failed", metrics.errors.clone());
        metrics
    }

    /// Everything was seen.
    pub(crate) fn reconciled(&self, took: Duration, objects: u64) {
        self.scan_seconds.observe(took.as_secs_f64());
        self.seen.set(i64::try_from(objects).unwrap_or(i64::MAX));
        self.last_reconcile.set(now());
        self.last_look.set(now());
    }

    /// New objects were looked for.
    pub(crate) fn polled(&self, took: Duration) {
        self.poll_seconds.observe(took.as_secs_f64());
        self.last_look.set(now());
    }

    /// So many listings were asked for, of which so many failed and were asked for again.
    pub(crate) fn listed(&self, requests: u64, failed: u64) {
        self.count("list", requests);
        self.retries.inc_by(failed);
    }

    /// A single object was looked at.
    pub(crate) fn headed(&self) {
        self.count("head", 1);
    }

    /// A look failed.
    pub(crate) fn failed(&self, reason: &'static str) {
        self.errors.get_or_create(&Cause { reason }).inc();
    }

    fn count(&self, kind: &'static str, requests: u64) {
        self.requests.get_or_create(&Kind { kind }).inc_by(requests);
    }
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}
