//! What this ambassador counts beside what every ambassador does.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Handles on the metrics; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    deliveries: Family<Delivered, Counter>,
    settled: Family<How, Counter>,
    dead_letters: Family<Why, Counter>,
    connections: Counter,
    errors: Family<Why, Counter>,
    ready: Gauge,
    consumers: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Delivered {
    redelivered: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct How {
    by: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Why {
    reason: &'static str,
}

impl Metrics {
    /// Registers everything, as `rabbitmq_…`.
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("rabbitmq");
        let new = Self::default();
        registry.register("deliveries", "Messages that the broker handed to us", new.deliveries.clone());
        registry.register("settled", "Messages that are done with, by how the broker was told", new.settled.clone());
        registry.register(
            "dead_letters",
            "Messages rejected, so that they go to the dead letter exchange, or withheld for good",
            new.dead_letters.clone(),
        );
        registry.register("connections", "Connections made to the broker", new.connections.clone());
        registry.register("errors", "What ended a connection, or kept one from being made", new.errors.clone());
        registry.register("messages_ready", "Messages that wait in the queue, at the last look", new.ready.clone());
        registry.register(
            "consumers",
            "Consumers of the queue, we among them, at the last look",
            new.consumers.clone(),
        );
        new
    }

    /// A message came.
    pub(crate) fn delivered(&self, redelivered: bool) {
        let redelivered = if redelivered { "true" } else { "false" };
        self.deliveries.get_or_create(&Delivered { redelivered }).inc();
    }

    /// The broker was told of one, by an `ack` or a `reject`.
    pub(crate) fn settled(&self, by: &'static str) {
        self.settled.get_or_create(&How { by }).inc();
    }

    /// A message is nobody's work any more.
    pub(crate) fn buried(&self, reason: &'static str) {
        self.dead_letters.get_or_create(&Why { reason }).inc();
    }

    /// A connection is there.
    pub(crate) fn connected(&self) {
        self.connections.inc();
    }

    /// One is over, or was none.
    pub(crate) fn failed(&self, reason: &'static str) {
        self.errors.get_or_create(&Why { reason }).inc();
    }

    /// The queue was looked at.
    pub(crate) fn looked(&self, ready: u32, consumers: u32) {
        self.ready.set(ready.into());
        self.consumers.set(consumers.into());
    }
}
