//! Records that failed for good: written to another topic, with headers that say what they were and why they are there.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use ambassador_kit::source::SourceError;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use sidecar::fault;
use tracing::warn;

use crate::args::Settings;
use crate::client::Context;
use crate::record::{Record, with_header};
use crate::trouble::{RETRY, Trouble};

/// Longest that a record may take to be written by all that hold the topic; less than a request may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The dead letter topic.
pub(super) struct DeadLetters {
    config: ClientConfig,
    /// Made anew where librdkafka says that it can do no more: a right that is missing ends an idempotent producer for good.
    producer: Mutex<FutureProducer<Context>>,
    /// The producer's, with which errors are read.
    context: Context,
    topic: String,
    /// Where its records come from.
    from: String,
}

impl std::fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeadLetters").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl DeadLetters {
    /// Connects by itself, when there is something to write.
    ///
    /// # Errors
    /// [`Trouble`] where librdkafka takes the settings for wrong.
    pub(super) fn connect(settings: &Settings, topic: &str) -> Result<Self, Trouble> {
        let patience = PATIENCE.as_millis().to_string();
        let mut config = settings.cluster.config([
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("delivery.timeout.ms", patience.as_str()),
            // The topic says how large a record may be.
            ("message.max.bytes", "100000000"),
            ("linger.ms", "0"),
            ("allow.auto.create.topics", "false"),
        ]);
        config.remove("group.id").remove("group.instance.id");
        let context = settings.cluster.context().of_dead_letters();
        let producer = config.create_with_context(context.clone());
        let producer = producer.map_err(|error| Trouble::of(&error, &doing(topic), &context))?;
        let producer = Mutex::new(producer);
        Ok(Self { config, producer, context, topic: topic.to_owned(), from: settings.topic.clone() })
    }

    /// One that can do something.
    fn producer(&self) -> Result<FutureProducer<Context>, KafkaError> {
        let mut producer = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        if producer.client().fatal_error().is_some() {
            *producer = self.config.create_with_context(self.context.clone())?;
        }
        Ok(producer.clone())
    }

    /// Writes a record there. It may be there twice, if we are killed before its offset is committed.
    ///
    /// # Errors
    /// [`SourceError::Unavailable`]: it may or may not be there, and is to be written again.
    pub(super) async fn bury(&self, record: &Record, reason: &str) -> Result<(), SourceError> {
        fault::point("kafka.dead-letter.before").map_err(|error| SourceError::Internal(error.into()))?;
        let mut letter = FutureRecord::<[u8], [u8]>::to(&self.topic).headers(self.headers(record, reason));
        letter.key = record.key.as_deref();
        letter.payload = record.value.as_deref();
        let producer = self.producer().map_err(|error| self.unavailable(&error))?;
        let written = match producer.send_result(letter) {
            Ok(written) => match written.await {
                Ok(written) => written.map(drop).map_err(|(error, _)| error),
                Err(_cancelled) => Err(KafkaError::Canceled),
            },
            Err((error, _)) => Err(error),
        };
        let Err(error) = written else {
            self.context.content();
            return fault::point("kafka.dead-letter.after").map_err(|error| SourceError::Internal(error.into()));
        };
        let fatal = producer.client().fatal_error().map(|(code, _)| KafkaError::MessageProduction(code));
        Err(self.unavailable(&fatal.unwrap_or(error)))
    }

    fn headers(&self, record: &Record, reason: &str) -> OwnedHeaders {
        let own = record.headers.iter().map(|(name, value)| (&**name, value.as_deref()));
        let at = record.at;
        let (partition, offset) = (at.partition.to_string(), at.offset.to_string());
        let millis = record.time.and_then(|time| time.0.duration_since(UNIX_EPOCH).ok());
        let millis = millis.map(|millis| millis.as_millis().to_string());
        let ours = [
            ("longshore-reason", Some(reason)),
            ("longshore-topic", Some(self.from.as_str())),
            ("longshore-partition", Some(partition.as_str())),
            ("longshore-offset", Some(offset.as_str())),
            ("longshore-timestamp", millis.as_deref()),
        ];
        let ours = ours.into_iter().filter_map(|(name, value)| Some((name.as_bytes(), Some(value?.as_bytes()))));
        own.chain(ours).fold(OwnedHeaders::new(), |headers, (name, value)| with_header(headers, name, value))
    }

    fn unavailable(&self, error: &KafkaError) -> SourceError {
        let doing = doing(&self.topic);
        let why = match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                format!("cannot {doing}: the record is too large for it; give that topic a larger max.message.bytes")
            }
            _ => Trouble::of(error, &doing, &self.context).to_string(),
        };
        warn!(error = why, "a dead letter was not written");
        SourceError::Unavailable { why, retry: RETRY }
    }
}

fn doing(topic: &str) -> String {
    format!("write to the dead letter topic {topic:?}")
}
