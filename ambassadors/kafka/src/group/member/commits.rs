//! Commits, each waited for on a thread of its own: librdkafka tells what came of one to nobody but the caller, and whoever takes records
//! may not wait.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};
use sidecar::fault;
use tracing::{debug, info};

use super::super::shared::Shared;
use super::client::{Consuming, News};
use super::{Member, Part, TURN};
use crate::committed;
use crate::naming::Position;
use crate::record::Record;
use crate::thread;

/// Least time between commits.
pub(super) const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// How far the group may stand behind what may be committed before that time is over, in offsets.
const COMMIT_AFTER: u64 = 1_000;
/// How long an answer to a commit is waited for, where something waits for it.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is to be committed, as we and as Kafka have it.
type Order = (Vec<Position>, TopicPartitionList);

/// The thread.
#[derive(Debug)]
pub(super) struct Commits {
    orders: Sender<Order>,
    thread: JoinHandle<()>,
}

impl Commits {
    /// # Panics
    /// Where the system gives no thread.
    pub(super) fn start(client: &Arc<Consuming>, shared: &Arc<Shared>) -> Self {
        let (orders, receiver) = channel();
        let (client, shared) = (Arc::clone(client), Arc::clone(shared));
        let thread = thread::start("commits", move || commit(&client, &receiver, &shared));
        Self { orders, thread }
    }

    /// Begins a commit; what comes of it is news of the client.
    pub(super) fn send(&self, at: Vec<Position>, list: TopicPartitionList) {
        self.orders.send((at, list)).expect("the thread lives as long as this");
    }

    /// Ends the thread, which uses the client no more when this returns; `waits` for an answer if there is one to come.
    pub(super) fn end(self, waits: bool) {
        drop(self.orders);
        if !waits {
            // It has nothing to do, so this is at once.
            let _ = self.thread.join();
        }
    }
}

impl Member<'_> {
    pub(super) fn commit_is_due(&self) -> bool {
        !self.committing
            && (self.committed.elapsed() >= COMMIT_EVERY || self.shared.state().window.due() >= COMMIT_AFTER)
    }

    /// Commits what is settled, up to the first record that is not.
    pub(super) fn commit(&mut self) {
        let due = self.shared.state().window.committable();
        if due.is_empty() || self.part == Part::Onlooker {
            return;
        }
        self.committed = Instant::now();
        let (name, note) = (self.shared.settings.topic.as_str(), committed::note(&self.topic.identity, self.first));
        let mut list = TopicPartitionList::with_capacity(due.len());
        for at in &due {
            let mut element = list.add_partition(name, at.partition);
            element.set_metadata(&note);
            element.set_offset(Offset::Offset(at.offset)).expect("an offset of a record");
        }
        if let Err(error) = fault::point("kafka.commit.before") {
            return debug!(%error, "not committed");
        }
        self.committing = true;
        self.commits.send(due, list);
    }

    pub(super) fn answered(&mut self, due: Vec<Position>, answer: KafkaResult<()>) {
        self.committing = false;
        self.shared.metrics.committed(answer.is_ok());
        if let Err(error) = answer {
            // Where somebody else has the partitions now, he commits them.
            return info!(%error, "not committed, to be tried again");
        }
        if let Err(error) = fault::point("kafka.commit.after") {
            return debug!(%error, "not known to be committed");
        }
        let mut state = self.shared.state();
        due.into_iter().for_each(|at| state.window.committed(at));
    }

    /// Commits what is settled and waits for the answer, as far as one comes.
    pub(super) fn commit_now(&mut self) {
        let (began, mut others) = (Instant::now(), Vec::new());
        let mut sent = false;
        while began.elapsed() < PATIENCE {
            if !self.committing {
                if sent {
                    break;
                }
                self.commit();
                sent = true;
                continue;
            }
            self.shared.bell.wait(TURN);
            let client = Arc::clone(&self.client);
            match client.poll(Duration::ZERO) {
                Some(Ok(message)) => self.deliver(Record::of(&message)),
                Some(Err(error)) => self.complain(&error),
                None => {}
            }
            while let Some(news) = self.client.context().next() {
                match news {
                    News::Committed(due, answer) => self.answered(due, answer),
                    other => others.push(other),
                }
            }
        }
        for news in others {
            self.client.context().tell(news);
        }
    }
}

fn commit(client: &Consuming, orders: &Receiver<Order>, shared: &Shared) {
    for (at, list) in orders {
        let answer = client.commit(&list, CommitMode::Sync);
        client.context().tell(News::Committed(at, answer));
        shared.bell.ring();
    }
}
