//! Every term of the decision how many attempts to run at a time.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use sidecar::metrics::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use sidecar::metrics::metrics::counter::Counter;
use sidecar::metrics::metrics::family::Family;
use sidecar::metrics::metrics::gauge::Gauge;
use sidecar::metrics::registry::{Registry, Unit};

use crate::parallelism::{Bounds, Decision, Why};

#[derive(Clone, Debug, Default)]
pub(super) struct Meters {
    current: Gauge,
    least: Gauge,
    most: Gauge,
    backlog: Gauge,
    drain_floor: Gauge,
    interarrival: Gauge<f64, AtomicU64>,
    processing: Gauge<f64, AtomicU64>,
    utilization: Gauge<f64, AtomicU64>,
    saturated: Gauge,
    decisions: Family<WhyLabel, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WhyLabel {
    reason: Why,
}

impl EncodeLabelValue for Why {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.as_str().encode(encoder)
    }
}

impl Meters {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("current", "Attempts at a time, as last decided", self.current.clone());
        registry.register("min", "The fewest attempts at a time that are allowed", self.least.clone());
        registry.register("max", "The most attempts at a time that are allowed", self.most.clone());
        registry.register(
            "backlog",
            "Items to be done or being attempted by this run, and what waits behind the source's window",
            self.backlog.clone(),
        );
        registry.register(
            "drain_floor",
            "How many attempts at a time it takes to do the backlog within the drain target",
            self.drain_floor.clone(),
        );
        registry.register_with_unit(
            "interarrival",
            "Mean time between arrivals of work, retries counted; +Inf while nothing arrives",
            Unit::Seconds,
            self.interarrival.clone(),
        );
        registry.register_with_unit(
            "processing",
            "Mean time of an attempt, running ones counted; -1 while it is not known",
            Unit::Seconds,
            self.processing.clone(),
        );
        // Prometheus' base unit is written in the singular.
        registry.register(
            "utilization_ratio",
            "Which part of the attempts at a time is busy with what arrives: processing / interarrival / current",
            self.utilization.clone(),
        );
        registry.register(
            "saturated",
            "1 while more attempts at a time are not tried, since they made each slower in proportion",
            self.saturated.clone(),
        );
        registry.register("decisions", "Decisions, by reason", self.decisions.clone());
        self.interarrival.set(f64::INFINITY);
        self.processing.set(-1.0);
        for reason in Why::ALL {
            drop(self.decisions.get_or_create(&WhyLabel { reason }));
        }
    }

    pub(super) fn begin(&self, bounds: Bounds, current: usize) {
        self.least.set(whole(bounds.least()));
        self.most.set(whole(bounds.most()));
        self.current.set(whole(current));
    }

    pub(super) fn decided(&self, decision: &Decision) {
        let Decision { to, why, terms, hold, .. } = decision;
        let seconds = |time: Option<Duration>, none| time.map_or(none, |time| time.as_secs_f64());
        self.current.set(whole(*to));
        self.backlog.set(i64::try_from(terms.backlog).unwrap_or(i64::MAX));
        self.drain_floor.set(whole(terms.drain_floor()));
        self.interarrival.set(seconds(terms.interarrival, f64::INFINITY));
        self.processing.set(seconds(terms.processing, -1.0));
        self.utilization.set(terms.utilization(*to));
        self.saturated.set(hold.is_some().into());
        self.decisions.get_or_create(&WhyLabel { reason: *why }).inc();
    }
}

fn whole(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
