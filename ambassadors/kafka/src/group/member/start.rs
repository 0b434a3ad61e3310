//! Where a partition that was given to us begins.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};
use tracing::warn;

use super::super::state::Topic;
use super::client::Consuming;
use crate::args::Start;
use crate::committed;

/// Longest that a question may take, which nothing else waits for.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// Where a partition begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Begin {
    pub(super) partition: i32,
    pub(super) from: i64,
    /// What the group has, if it has anything of this topic.
    pub(super) committed: Option<i64>,
    /// Where the partition ends.
    pub(super) end: i64,
}

/// Where partitions begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Beginning {
    pub(super) of: Vec<Begin>,
    /// Partitions of which one cannot say that they came after the group began.
    pub(super) first: usize,
}

/// Where these partitions begin: where the group stands, or where `start` says, but for topics and partitions that were made since the
/// group began, or since we run, of which everything is new. A log that ends before where the group stands was cut off, or is another,
/// and begins anew: `last` gives the end with what is in transactions that are not over, which others may have read and committed.
///
/// # Errors
/// Kafka's.
pub(super) fn begins(
    client: &Consuming,
    (name, topic): (&str, &Topic),
    partitions: &[i32],
    start: Start,
    last: impl Fn(&str, i32) -> Result<i64, KafkaError>,
) -> Result<Beginning, KafkaError> {
    if partitions.is_empty() {
        // Answered at once: librdkafka waits for it with whatever comes next.
        return Ok(Beginning { of: Vec::new(), first: topic.first });
    }
    // What stands beside the offsets of others says when the group began.
    let all: BTreeSet<i32> = partitions.iter().chain(&topic.partitions).copied().collect();
    let mut list = TopicPartitionList::with_capacity(all.len());
    for partition in all {
        list.add_partition(name, partition);
    }
    let list = client.committed_offsets(list, PATIENCE)?;
    let stands: Vec<_> =
        list.elements().into_iter().filter(|element| matches!(element.offset(), Offset::Offset(_))).collect();
    let notes = stands.iter().map(|element| committed::first(element.metadata(), &topic.identity));
    let first = notes.min().unwrap_or(topic.first).min(topic.first);
    let mut begins = Vec::with_capacity(partitions.len());
    for element in list.elements().iter().filter(|element| partitions.contains(&element.partition())) {
        element.error()?;
        let partition = element.partition();
        let committed = match element.offset() {
            Offset::Offset(offset) if committed::is_of(element.metadata(), &topic.identity) => Some(offset),
            _ => None,
        };
        let is_new = usize::try_from(partition).is_ok_and(|partition| partition >= first);
        let start = if is_new || matches!(element.offset(), Offset::Offset(_)) { Start::Earliest } else { start };
        let (low, high) = client.fetch_watermarks(name, partition, PATIENCE)?;
        let committed = match committed {
            Some(committed) if committed > high && committed > last(name, partition)? => {
                warn!(
                    partition,
                    committed,
                    end = high,
                    "the group stands behind the end of the log, which begins anew"
                );
                None
            }
            Some(committed) if committed < low => {
                warn!(partition, committed, first = low, "retention has taken what the group had not done");
                Some(committed)
            }
            committed => committed,
        };
        let from = match (committed, start) {
            (Some(committed), _) => committed,
            (None, Start::Latest) => high,
            (None, Start::Earliest | Start::Committed) => low,
            (None, Start::Time(time)) => since(client, name, partition, time)?.unwrap_or(high),
        };
        begins.push(Begin { partition, from, committed, end: high });
    }
    Ok(Beginning { of: begins, first })
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
