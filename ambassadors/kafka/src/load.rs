//! `--load`: publishes records, which are there once the brokers have confirmed them.

mod deliveries;

use std::time::Duration;

use ambassador_kit::load::{Entry, Publisher, Stuck};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use sidecar::Failure;

use self::deliveries::Deliveries;
use crate::args::Settings;
use crate::topic::Observer;
use crate::trouble::Trouble;

/// The most that librdkafka has room for.
const LONGEST_PATIENCE: u128 = i32::MAX as u128;

/// Publishes to a topic. librdkafka keeps what is not confirmed, and sends it again.
pub(crate) struct TopicPublisher {
    topic: String,
    identity: String,
    longest: usize,
    producer: ThreadedProducer<Deliveries>,
}

impl TopicPublisher {
    /// Looks at the topic, for so long, and sets the producer up; brokers that are away after that are waited for.
    ///
    /// # Errors
    /// Exit 69 when brokers do not answer, 77 when it may not, 78 when there is no such topic or the settings are wrong.
    pub(crate) fn open(settings: &Settings, deadline: Duration, patience: Duration) -> Result<Self, Failure> {
        let topic = Observer::connect(&settings.cluster, None)
            .and_then(|observer| observer.topic(&settings.topic, deadline))
            .map_err(Trouble::failure)?;
        let mut config = settings.cluster.config_over(
            // As Java's producer does, so that a key has one partition whoever publishes it.
            &[
                ("partitioner", "murmur2_random"),
                ("linger.ms", "20"),
                ("message.timeout.ms", &patience.as_millis().min(LONGEST_PATIENCE).to_string()),
            ],
            &[("enable.idempotence", "true"), ("acks", "all")],
        );
        if config.get("delivery.timeout.ms").is_some() {
            // The same by its other name, as the user has it.
            config.remove("message.timeout.ms");
        }
        let longest = longest(&config).map_err(|error| Failure::config(anyhow::anyhow!("{error}")))?;
        let producer = config
            .create_with_context(Deliveries::new(settings.cluster.context()))
            .map_err(|error| Trouble::of(&error, "set the producer up", &settings.cluster.context()).failure())?;
        Ok(Self { topic: settings.topic.clone(), identity: topic.identity, longest, producer })
    }

    fn meaning(&self, error: &KafkaError, size: usize) -> Failure {
        use RDKafkaErrorCode as Code;
        match error.rdkafka_error_code() {
            Some(Code::MessageSizeTooLarge | Code::InvalidMessageSize | Code::MessageBatchTooLarge) => Failure::new(
                65,
                anyhow::anyhow!(
                    "a record of {size} bytes is too large for the brokers (max.message.bytes of the topic) or for us (--property \
                     message.max.bytes=…)"
                ),
            ),
            Some(Code::UnknownPartition) => Failure::new(65, anyhow::anyhow!("the topic has no such partition")),
            Some(Code::InvalidMessage | Code::InvalidTimestamp | Code::PolicyViolation) => {
                Failure::new(65, anyhow::anyhow!("the brokers do not take it: {error}"))
            }
            // Of a batch, librdkafka may tell it of each.
            Some(Code::InvalidRecord | Code::InvalidDifferentRecord) => Failure::new(
                65,
                anyhow::anyhow!(
                    "the brokers do not take it, or one of the lines after it that were sent with it: a compacted topic takes none without a key"
                ),
            ),
            _ => {
                let doing = format!("publish to topic {:?}", self.topic);
                Trouble::of(error, &doing, self.producer.context().inner()).failure()
            }
        }
    }
}

impl Publisher for TopicPublisher {
    fn destination(&self) -> String {
        format!("topic {}", self.topic)
    }

    fn identity(&self) -> String {
        self.identity.clone()
    }

    fn longest(&self) -> (usize, &'static str) {
        (self.longest, "--property message.max.bytes=…")
    }

    fn send(&mut self, number: u64, entry: &Entry) -> Result<bool, Failure> {
        match self.producer.send(record(&self.topic, entry, number)) {
            Ok(()) => Ok(true),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => Ok(false),
            Err((error, _)) => Err(self.meaning(&error, entry.size())),
        }
    }

    fn confirmed(&mut self, wait: Duration, lines: &mut Vec<u64>) -> Result<(), Stuck> {
        let confirmed = self.producer.context().confirmed(wait, lines);
        confirmed.map_err(|failed| Stuck { number: failed.number, why: self.meaning(&failed.error, failed.size) })
    }
}

/// The record of a line, by whose number its delivery is told; a message without a value is a tombstone.
fn record<'a>(topic: &'a str, entry: &'a Entry, number: u64) -> BaseRecord<'a, [u8], [u8], usize> {
    let mut record = BaseRecord::with_opaque_to(topic, usize::try_from(number).unwrap_or(usize::MAX));
    record.key = entry.key.as_deref();
    record.payload = entry.value.as_deref();
    record.partition = entry.partition;
    if !entry.headers.is_empty() {
        let all = entry.headers.iter().map(|(key, value)| Header { key, value: value.as_deref() });
        record.headers = Some(all.fold(OwnedHeaders::new_with_capacity(entry.headers.len()), OwnedHeaders::insert));
    }
    record
}

/// No line can be longer: base64 makes four of three, and there is room for a key, headers and names.
fn longest(config: &rdkafka::ClientConfig) -> Result<usize, KafkaError> {
    let largest = config.create_native_config()?.get("message.max.bytes")?;
    Ok(largest.parse::<usize>().unwrap_or(1_000_000).saturating_mul(2).saturating_add(1 << 16))
}
