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
    /// Objects the last look at everything met.
    pub(crate) seen: Gauge,
    /// Withheld objects that are counted and not held one by one.
    pub(crate) not_held: Gauge,
    last_reconcile: Gauge,
    errors: Family<Cause, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Cause {
    reason: &'static str,
}

impl Metrics {
    /// Registers everything, as `s3_…`.
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("s3");
        let metrics = Self {
            scan_seconds: Histogram::new([0.01, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0]),
            seen: Gauge::default(),
            not_held: Gauge::default(),
            last_reconcile: Gauge::default(),
            errors: Family::default(),
        };
        registry.register("scan_seconds", "Duration of looks at everything", metrics.scan_seconds.clone());
        registry.register("scan_objects", "Objects met by the last look at everything", metrics.seen.clone());
        registry.register("not_held", "Withheld objects counted and not held one by one", metrics.not_held.clone());
        registry.register(
            "last_reconcile_timestamp_seconds",
            "When everything was last seen",
            metrics.last_reconcile.clone(),
        );
        registry.register("errors", "Looks at the bucket that failed", metrics.errors.clone());
        metrics
    }

    /// Everything was seen.
    pub(crate) fn reconciled(&self, took: Duration, objects: u64) {
        self.scan_seconds.observe(took.as_secs_f64());
        self.seen.set(i64::try_from(objects).unwrap_or(i64::MAX));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.last_reconcile.set(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    }

    /// A look failed.
    pub(crate) fn failed(&self, reason: &'static str) {
        self.errors.get_or_create(&Cause { reason }).inc();
    }
}
