//! What `--check` asks of the brokers before anything is listed, so that it says whose fault it is; and what it says of the topic.

use std::io::Write;
use std::ops::Range;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use sidecar::Failure;

use crate::args::Settings;
use crate::client::Context;
use crate::topic::{Observer, TopicFacts};
use crate::trouble::Trouble;

/// Whether there is such a topic, and it may be read; who asks, how far it reaches, and where the group stands.
///
/// # Errors
/// Exit 77 when credentials are refused or a right is missing, 78 when there is no such topic or the settings are wrong, 69 when no broker
/// answers within `deadline`.
pub(crate) async fn preflight(
    settings: &Settings,
    deadline: Duration,
    out: &mut (impl Write + Send),
) -> Result<(), Failure> {
    let asked = settings.clone();
    let said = tokio::task::spawn_blocking(move || ask(&asked, Instant::now() + deadline));
    let said = said.await?.map_err(Trouble::failure)?;
    said.iter()
        .try_for_each(|line| writeln!(out, "{line}"))
        .map_err(|error| Failure::unavailable(anyhow::Error::from(error)))
}

/// What there is to be said, a line each.
fn ask(settings: &Settings, until: Instant) -> Result<Vec<String>, Trouble> {
    let left = || until.saturating_duration_since(Instant::now());
    let topic = settings.topic.as_str();
    let observer = Observer::connect(&settings.cluster, None)?;
    let facts = observer.topic(topic, left())?;
    let TopicFacts { identity, partitions } = &facts;
    let mut said = vec![format!("topic {topic} ({identity}) at {}", settings.cluster.whom())];
    let reach: Vec<(i32, Range<i64>)> = partitions
        .iter()
        .map(|partition| observer.watermarks(topic, *partition, left()).map(|reach| (*partition, reach)))
        .collect::<Result<_, _>>()?;
    let offsets: i64 = reach.iter().map(|(_, reach)| reach.end - reach.start).sum();
    said.push(format!("{} partitions, {offsets} offsets, of which each is a record or a gap", partitions.len()));
    if let Some((partition, reach)) = reach.iter().find(|(_, reach)| !reach.is_empty()).or(reach.first()) {
        // Looking and reading are rights of their own, and whoever lists what nobody may read makes work that fails.
        readable(settings, *partition, reach, until)?;
    }
    if let Some(group) = &settings.group {
        let observer = Observer::connect(&settings.cluster, Some(group))?;
        let committed = observer.committed(topic, &facts, left())?;
        if settings.membership.is_some() {
            observer.joinable(topic, left())?;
        }
        let stands = committed.iter().filter(|(_, offset)| offset.is_some()).count();
        said.push(format!("group {group} has committed in {stands} of the partitions"));
    }
    if let Some(dead) = settings.membership.as_ref().and_then(|membership| membership.dead_letter_topic.as_deref()) {
        Observer::of_dead_letters(&settings.cluster)?.writable(dead, left())?;
        said.push(format!("dead letter topic {dead} is there"));
    }
    Ok(said)
}

/// Reads one record of the partition, or its end.
fn readable(settings: &Settings, partition: i32, reach: &Range<i64>, until: Instant) -> Result<(), Trouble> {
    let doing = format!("read partition {partition} of topic {:?}", settings.topic);
    let context = settings.cluster.context();
    let config = settings.cluster.config([
        ("group.id", settings.group.as_deref().unwrap_or("longshore")),
        ("enable.auto.commit", "false"),
        ("enable.partition.eof", "true"),
        ("allow.auto.create.topics", "false"),
    ]);
    let made: Result<BaseConsumer<Context>, _> = config.create_with_context(context);
    let consumer = made.map_err(|error| Trouble::of(&error, &doing, &settings.cluster.context()))?;
    let trouble = |error: &KafkaError| Trouble::of(error, &doing, consumer.context());
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(&settings.topic, partition, Offset::Offset(reach.start))
        .map_err(|error| trouble(&error))?;
    consumer.assign(&from).map_err(|error| trouble(&error))?;
    while Instant::now() < until {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => return Ok(()),
            Some(Err(error)) if is_final(&error) => return Err(trouble(&error)),
            // librdkafka tries again what may pass; and the group is only asked for, which needs no right that we use.
            Some(Err(_)) | None => {}
        }
    }
    Err(Trouble::coded(RDKafkaErrorCode::OperationTimedOut, None, &doing, consumer.context()))
}

fn is_final(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition
        )
    )
}
