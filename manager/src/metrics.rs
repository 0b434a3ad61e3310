//! What the manager counts, under its own names and under those that autoscalers for queues look for.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use sidecar::metrics::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use sidecar::metrics::metrics::counter::Counter;
use sidecar::metrics::metrics::family::Family;
use sidecar::metrics::metrics::gauge::Gauge;
use sidecar::metrics::metrics::histogram::Histogram;
use sidecar::metrics::registry::{Registry, Unit};

use crate::ledger::{Cause, State, Tally};
use crate::parallelism::{Bounds, Decision};

mod parallelism;
mod source;

use source::SourceMeters;
pub(crate) use source::{Event, ListOutcome, WatchEnd};

/// Upper bounds of an attempt's duration in seconds, from a script to a film.
const SECONDS: [f64; 12] = [0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 180.0, 600.0, 1_800.0, 3_600.0, 10_800.0, 43_200.0];

/// All of them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Meters {
    queue_length: Gauge,
    processed: Counter,
    failed: Counter,
    items: Family<StateLabel, Gauge>,
    attempts: Family<CauseLabel, Counter>,
    duration: Histogram,
    /// How it hears from its source.
    pub(crate) source: SourceMeters,
    source_up: Gauge,
    list_age: Gauge<f64, AtomicU64>,
    backlog: Gauge,
    breaker: Gauge,
    paused: Gauge,
    parallelism: parallelism::Meters,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: State,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabel {
    outcome: Cause,
}

impl EncodeLabelValue for State {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.as_str().encode(encoder)
    }
}

impl EncodeLabelValue for Cause {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.as_str().encode(encoder)
    }
}

impl Meters {
    /// Registers them all.
    pub fn new(registry: &mut Registry) -> Self {
        let meters = Self {
            queue_length: Gauge::default(),
            processed: Counter::default(),
            failed: Counter::default(),
            items: Family::default(),
            attempts: Family::default(),
            duration: Histogram::new(SECONDS),
            source: SourceMeters::default(),
            source_up: Gauge::default(),
            list_age: Gauge::default(),
            backlog: Gauge::default(),
            breaker: Gauge::default(),
            paused: Gauge::default(),
            parallelism: parallelism::Meters::default(),
        };
        registry.register(
            "queue_length",
            "Items to be done or being attempted, and what waits behind the source's window",
            meters.queue_length.clone(),
        );
        registry.register("messages_processed", "Items done by this process", meters.processed.clone());
        registry.register("messages_failed", "Items given up by this process", meters.failed.clone());
        let own = registry.sub_registry_with_prefix("longshore_manager");
        own.register("items", "Items in the ledger, by state", meters.items.clone());
        own.register("attempts", "Attempts that ended, by outcome", meters.attempts.clone());
        own.register_with_unit(
            "attempt_duration",
            "From an attempt's intent to its recorded end",
            Unit::Seconds,
            meters.duration.clone(),
        );
        meters.source.register(own);
        own.register("source_up", "1 when the last listing succeeded", meters.source_up.clone());
        own.register_with_unit(
            "list_age",
            "Since the last complete list; -1 before the first",
            Unit::Seconds,
            meters.list_age.clone(),
        );
        own.register("source_backlog", "What waits behind the source's window", meters.backlog.clone());
        own.register("breaker_open", "1 when the first attempts all ended alike", meters.breaker.clone());
        own.register("paused", "1 when an operator has paused the queue", meters.paused.clone());
        meters.parallelism.register(own.sub_registry_with_prefix("parallelism"));
        meters.list_age.set(-1.0);
        meters
    }

    pub(crate) fn ended(&self, outcome: Cause, took: Duration) {
        self.attempts.get_or_create(&CauseLabel { outcome }).inc();
        self.duration.observe(took.as_secs_f64());
    }

    pub(crate) fn done(&self) {
        self.processed.inc();
    }

    pub(crate) fn dead(&self) {
        self.failed.inc();
    }

    pub(crate) fn tally(&self, tally: &Tally, backlog: u64) {
        let whole = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.queue_length.set(whole(tally.todo + tally.running + backlog));
        self.backlog.set(whole(backlog));
        for state in State::ALL {
            let count = match state {
                State::Todo => tally.todo,
                State::Running => tally.running,
                State::Done => tally.done,
                State::Dead => tally.dead,
                State::Skipped => tally.skipped,
            };
            self.items.get_or_create(&StateLabel { state }).set(whole(count));
        }
    }

    pub(crate) fn source(&self, up: bool, list_age: Option<Duration>) {
        self.source_up.set(up.into());
        self.list_age.set(list_age.map_or(-1.0, |age| age.as_secs_f64()));
    }

    pub(crate) fn may_run(&self, bounds: Bounds, current: usize) {
        self.parallelism.begin(bounds, current);
    }

    pub(crate) fn decided(&self, decision: &Decision) {
        self.parallelism.decided(decision);
    }

    pub(crate) fn held(&self, breaker: bool, paused: bool) {
        self.breaker.set(breaker.into());
        self.paused.set(paused.into());
    }
}
