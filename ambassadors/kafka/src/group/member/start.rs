//! Where a partition that was given to us begins.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};
use tracing::warn;

use super::super::state::Topic;
use super::client::Consuming;
use crate::args::Start;

/// Longest that a question may take, which nothing else waits for.
const PATIENCE: Duration = Duration::from_secs(5);
/// What stands beside a committed offset before the identity of the topic that it is of: offsets of a topic that was deleted mean
/// nothing in the one that was made in its place.
const OF: &str = "longshore topic ";

/// Where a partition begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Begin {
    pub(super) partition: i32,
    pub(super) from: i64,
    /// What the group has, if it has anything of this topic.
    pub(super) committed: Option<i64>,
}

/// Where these partitions begin: where the group stands, or where `start` says, but for topics and partitions that were made since we
/// run, of which everything is new. A log that ends before where the group stands was cut off, or is another, and begins anew.
///
/// # Errors
/// Kafka's.
pub(super) fn begins(
    client: &Consuming,
    (name, topic): (&str, &Topic),
    partitions: &[i32],
    start: Start,
) -> Result<Vec<Begin>, KafkaError> {
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition(name, *partition);
    }
    let list = client.committed_offsets(list, PATIENCE)?;
    let mut begins = Vec::with_capacity(partitions.len());
    for element in list.elements() {
        element.error()?;
        let partition = element.partition();
        let committed = match element.offset() {
            Offset::Offset(offset) if is_of(element.metadata(), &topic.identity) => Some(offset),
            _ => None,
        };
        let is_new = usize::try_from(partition).is_ok_and(|partition| partition >= topic.first);
        let start = if is_new || matches!(element.offset(), Offset::Offset(_)) { Start::Earliest } else { start };
        let (low, high) = client.fetch_watermarks(name, partition, PATIENCE)?;
        let committed = committed.filter(|committed| {
            let cut = *committed > high;
            if cut {
                warn!(
                    partition,
                    committed,
                    end = high,
                    "the group stands behind the end of the log, which begins anew"
                );
            }
            !cut
        });
        let from = match (committed, start) {
            (Some(committed), _) => committed,
            (None, Start::Latest) => high,
            (None, Start::Earliest | Start::Committed) => low,
            (None, Start::Time(time)) => since(client, name, partition, time)?.unwrap_or(high),
        };
        begins.push(Begin { partition, from, committed });
    }
    Ok(begins)
}

/// Whether an offset that somebody has committed is of this topic; of those that were not committed by us it is taken for granted.
fn is_of(metadata: &str, identity: &str) -> bool {
    metadata.strip_prefix(OF).is_none_or(|of| of == identity)
}

/// What stands beside an offset that we commit.
pub(super) fn metadata(topic: &Topic) -> String {
    format!("{OF}{}", topic.identity)
}

/// The first record that is not older, if there is one.
fn since(client: &Consuming, name: &str, partition: i32, time: SystemTime) -> Result<Option<i64>, KafkaError> {
    let millis = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(name, partition, Offset::Offset(i64::try_from(millis).unwrap_or(i64::MAX)))?;
    let list = client.offsets_for_times(list, PATIENCE)?;
    let Some(element) = list.elements().into_iter().next() else { return Ok(None) };
    element.error()?;
    Ok(match element.offset() {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_of_a_topic_that_was_deleted_means_nothing() {
        assert!(is_of("longshore topic abc", "abc"));
        assert!(!is_of("longshore topic abc", "abd"));
        assert!(is_of("", "abc") && is_of("set by hand", "abc"));
    }
}
