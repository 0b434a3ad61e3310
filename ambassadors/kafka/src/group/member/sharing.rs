//! What the group gives to a member, and what it takes away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use tracing::{debug, info};

use super::client::{News, give_up, take};
use super::start::{Beginning, PATIENCE, begins};
use super::{Member, Over, Part};
use crate::topic::Observer;
use crate::trouble::RETRY;

impl Member<'_> {
    /// Takes what was given, as soon as it is known where it begins.
    pub(super) fn begin(&mut self) {
        if !(self.joined || self.part == Part::Onlooker) || self.asked.elapsed() < RETRY {
            return;
        }
        if self.given.is_empty() && self.part == Part::Onlooker {
            return;
        }
        let name = self.shared.settings.topic.as_str();
        self.asked = Instant::now();
        let cluster = &self.shared.settings.cluster;
        let last = |name: &str, partition: i32| {
            Observer::last(cluster, name, partition, PATIENCE).map_err(|trouble| {
                debug!(%trouble, "where the log ends is asked again");
                KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut)
            })
        };
        let begins = match begins(&self.client, (name, &self.topic), &self.given, self.shared.settings.start, last) {
            Ok(Beginning { of, first }) => {
                self.first = self.first.min(first);
                of
            }
            Err(error) => return self.complain(&error),
        };
        let mut list = TopicPartitionList::new();
        for begin in &begins {
            let added = list.add_partition_offset(name, begin.partition, Offset::Offset(begin.from));
            added.expect("an offset that the brokers said");
            // Before it is taken: what is fetched then goes to its own queue from the first record on.
            if let Some(mut queue) = self.client.split_partition_queue(name, begin.partition) {
                let shared = Arc::downgrade(self.shared);
                queue.set_nonempty_callback(move || {
                    if let Some(shared) = shared.upgrade() {
                        shared.bell.ring();
                    }
                });
                self.queues.insert(begin.partition, queue);
            }
        }
        let mut state = self.shared.state();
        for begin in &begins {
            state.window.assign(begin.partition, begin.from, begin.committed);
            state.ends.begins(begin.partition, begin.end);
        }
        state.rebalanced();
        drop(state);
        let taken = if self.part == Part::Member { take(&self.client, &list) } else { self.client.assign(&list) };
        if let Err(error) = taken {
            self.over = Some(Over::Fatal);
            return self.complain(&error);
        }
        self.unanswered = false;
        info!(partitions = ?self.given, "partitions are ours");
        self.shared.metrics.rebalanced("given", self.given.len(), self.queues.len());
        self.given.clear();
        // Nothing else is given at once, and whoever gives calls again.
        self.asked = Instant::now() + Duration::from_secs(365 * 24 * 3_600);
        self.progress = Instant::now();
        self.shared.joined(true);
        if begins.iter().any(|begin| begin.committed.is_none()) {
            // From now on that is where the group goes on, whatever --start comes to later.
            self.commit_now();
        }
    }

    /// Gives partitions up, and commits before what was settled of them.
    pub(super) fn give_up(&mut self, partitions: &[i32]) {
        let lost = self.client.assignment_lost();
        if !lost {
            self.commit_now();
        }
        self.given.retain(|partition| !partitions.contains(partition));
        let name = self.shared.settings.topic.as_str();
        let (mut list, mut held) = (TopicPartitionList::new(), 0);
        let mut state = self.shared.state();
        for partition in partitions {
            list.add_partition(name, *partition);
            self.queues.remove(partition);
            held += state.window.revoke(*partition);
            state.ends.goes_on(*partition);
        }
        state.rebalanced();
        drop(state);
        info!(?partitions, lost, items = held, "partitions are ours no more");
        let kind = if lost { "lost" } else { "revoked" };
        self.shared.metrics.rebalanced(kind, partitions.len(), self.queues.len());
        if let Err(error) = give_up(&self.client, &list) {
            self.complain(&error);
        }
        if lost {
            self.joined = false;
            self.progress = Instant::now();
            self.shared.joined(false);
        }
        self.shared.look.ring();
    }

    /// Answers whatever the group has told and nobody has answered: librdkafka does not leave it before.
    pub(super) fn answer_all(&mut self) {
        let mut told = Vec::new();
        if std::mem::take(&mut self.unanswered) {
            told.push(News::Given(std::mem::take(&mut self.given)));
        }
        told.extend(std::iter::from_fn(|| self.client.context().next()));
        for news in told {
            let list = |partitions: &[i32]| {
                let mut list = TopicPartitionList::with_capacity(partitions.len());
                for partition in partitions {
                    list.add_partition(&self.shared.settings.topic, *partition);
                }
                list
            };
            // What fails was answered, or is lost.
            let _ = match news {
                News::Given(partitions) => take(&self.client, &list(&partitions)),
                News::Taken(partitions) => give_up(&self.client, &list(&partitions)),
                News::Committed(..) => Ok(()),
            };
        }
    }
}
