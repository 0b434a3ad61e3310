//! What this ambassador counts beside what every ambassador does.

use std::time::{Duration, SystemTime};

use sidecar::metrics::metrics::counter::Counter;
use sidecar::metrics::metrics::gauge::Gauge;
use sidecar::metrics::metrics::histogram::Histogram;
use sidecar::metrics::registry::Registry;

/// Handles on the metrics; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    /// Whole scans, by how long they took.
    scan_seconds: Histogram,
    /// Entries the last scan met.
    pub(crate) seen: Gauge,
    /// Withheld entries that are counted and not held one by one.
    pub(crate) not_held: Gauge,
    /// When the last scan that saw everything ended, in seconds since 1970.
    last_complete: Gauge,
    /// Directories and files that could not be read.
    pub(crate) errors: Counter,
    /// Scans that could not begin or had to be given up.
    pub(crate) lost: Counter,
    /// inotify events.
    pub(crate) events: Counter,
    /// Times that inotify lost events.
    pub(crate) overflows: Counter,
    /// Directories watched.
    pub(crate) watches: Gauge,
    /// Directories of the last whole scan that should be watched and cannot be.
    pub(crate) unwatched: Gauge,
    /// Settled, whatever the way.
    pub(crate) settled: Counter,
    /// Settles that found another version in the item's place and left it alone.
    pub(crate) superseded: Counter,
    /// Files put back that a killed settle had left aside.
    pub(crate) recovered: Counter,
}

impl Metrics {
    /// Registers everything, as `files_…`.
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("files");
        let metrics = Self {
            scan_seconds: Histogram::new([0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0]),
            seen: Gauge::default(),
            not_held: Gauge::default(),
            last_complete: Gauge::default(),
            errors: Counter::default(),
            lost: Counter::default(),
            events: Counter::default(),
            overflows: Counter::default(),
            watches: Gauge::default(),
            unwatched: Gauge::default(),
            settled: Counter::default(),
            superseded: Counter::default(),
            recovered: Counter::default(),
        };
        registry.register("scan_seconds", "Duration of whole scans", metrics.scan_seconds.clone());
        registry.register("scan_entries", "Directory entries met by the last whole scan", metrics.seen.clone());
        registry.register("not_held", "Withheld entries counted and not held one by one", metrics.not_held.clone());
        registry.register(
            "last_complete_scan_timestamp_seconds",
            "When the last scan ended that saw everything",
            metrics.last_complete.clone(),
        );
        registry.register("scan_errors", "Directories and files that could not be read", metrics.errors.clone());
        registry.register("scans_lost", "Scans given up because the root was not there", metrics.lost.clone());
        registry.register("inotify_events", "inotify events", metrics.events.clone());
        registry.register("inotify_overflows", "Times inotify lost events", metrics.overflows.clone());
        registry.register("inotify_watches", "Directories watched", metrics.watches.clone());
        registry.register(
            "inotify_unwatched",
            "Directories found by scans alone because the kernel allows no more watches",
            metrics.unwatched.clone(),
        );
        registry.register("settled", "Files deleted, moved or kept as settled", metrics.settled.clone());
        registry.register("settle_superseded", "Settles that found another version", metrics.superseded.clone());
        registry.register("settle_recovered", "Files put back after a killed settle", metrics.recovered.clone());
        metrics
    }

    pub(crate) fn scanned(&self, took: Duration, complete: bool) {
        self.scan_seconds.observe(took.as_secs_f64());
        if complete {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            self.last_complete.set(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        }
    }
}
