//! What an ambassador counts: requests as they are answered, and its source as it is when the metrics are read.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use contract::wire::WatchEvent;
use http::{Method, StatusCode};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::source::{Health, Source};

/// Upper bounds of the duration histograms, in seconds: from a list out of memory to the slowest disk.
const SECONDS: [f64; 10] = [0.0005, 0.002, 0.01, 0.05, 0.2, 0.5, 1.0, 5.0, 15.0, 60.0];

/// Counts of requests. Cheap to clone; one that was never registered counts for nobody.
#[derive(Clone, Debug)]
pub struct Metrics {
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabel, Histogram>,
    pages: Family<ListLabel, Histogram>,
    aborted: Family<ListLabel, Counter>,
    watchers: Gauge,
    watch_events: Family<EventLabel, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: &'static str,
    method: &'static str,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabel {
    route: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListLabel {
    list: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabel {
    r#type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            pages: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            aborted: Family::default(),
            watchers: Gauge::default(),
            watch_events: Family::default(),
        }
    }
}

impl Metrics {
    /// New ones, in `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let new = Self::default();
        registry.register("requests", "Requests answered", new.requests.clone());
        registry.register_with_unit(
            "request_duration",
            "Time from a request to the head of its answer",
            Unit::Seconds,
            new.durations.clone(),
        );
        registry.register_with_unit(
            "page_duration",
            "Time the source took for a page of a list",
            Unit::Seconds,
            new.pages.clone(),
        );
        // What is there from the start can be compared with later: an increase from nothing is none.
        for list in ["items", "withheld"] {
            new.aborted.get_or_create(&ListLabel { list }).inc_by(0);
        }
        registry.register(
            "lists_aborted",
            "Lists cut off half-way, since they could not be whole",
            new.aborted.clone(),
        );
        registry.register("watchers", "Watches under way", new.watchers.clone());
        registry.register("watch_events", "Lines sent to whoever watches, by type", new.watch_events.clone());
        new
    }

    pub(crate) fn answered(&self, route: &'static str, method: &Method, code: StatusCode, took: Duration) {
        let method = match *method {
            Method::GET => "GET",
            Method::HEAD => "HEAD",
            Method::DELETE => "DELETE",
            _ => "other",
        };
        self.requests.get_or_create(&RequestLabels { route, method, code: code.as_u16() }).inc();
        self.durations.get_or_create(&RouteLabel { route }).observe(took.as_secs_f64());
    }

    pub(crate) fn page(&self, list: &'static str, took: Duration) {
        self.pages.get_or_create(&ListLabel { list }).observe(took.as_secs_f64());
    }

    pub(crate) fn aborted(&self, list: &'static str) {
        self.aborted.get_or_create(&ListLabel { list }).inc();
    }

    /// A watch is under way for as long as this is kept.
    pub(crate) fn watching(&self) -> Watching {
        self.watchers.inc();
        Watching(self.watchers.clone())
    }

    pub(crate) fn told(&self, event: &WatchEvent) {
        let r#type = match event {
            WatchEvent::Added { .. } => "ADDED",
            WatchEvent::Removed { .. } => "REMOVED",
            WatchEvent::Bookmark { .. } => "BOOKMARK",
            WatchEvent::Error { .. } => "ERROR",
            WatchEvent::Other => "other",
        };
        self.watch_events.get_or_create(&EventLabel { r#type }).inc();
    }
}

/// A watch under way, as it is counted.
#[derive(Debug)]
pub(crate) struct Watching(Gauge);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A source's own figures, asked for at each scrape: what is no more is not shown any longer.
pub(crate) struct SourceMetrics<S>(pub(crate) Arc<S>);

impl<S> fmt::Debug for SourceMetrics<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SourceMetrics")
    }
}

impl<S: Source> Collector for SourceMetrics<S> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let tally = self.0.tally();
        let up = i64::from(matches!(&*self.0.health().borrow(), Health::Live | Health::Indexing { .. }));
        gauge(&mut encoder, "source_up", "Whether the source can be seen", Some(up))?;
        gauge(&mut encoder, "items_visible", "Items listed", tally.listed.map(signed))?;
        gauge(&mut encoder, "items_backlog", "Items waiting behind the window of a queue", tally.backlog.map(signed))?;
        if let Some(age) = tally.oldest {
            let oldest = ConstGauge::new(age.as_secs_f64());
            let help = "How long the item listed longest has been listed";
            let unit = Some(&Unit::Seconds);
            oldest.encode(encoder.encode_descriptor("oldest_item_age", help, unit, oldest.metric_type())?)?;
        }
        let withheld = Family::<ReasonLabel, Gauge>::default();
        for (reason, count) in tally.withheld {
            withheld.get_or_create(&ReasonLabel { reason }).set(signed(count));
        }
        let help = "Native items that are not listed, by reason";
        withheld.encode(encoder.encode_descriptor("items_withheld", help, None, withheld.metric_type())?)
    }
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: Option<i64>) -> fmt::Result {
    let Some(value) = value else { return Ok(()) };
    let gauge = ConstGauge::new(value);
    gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
