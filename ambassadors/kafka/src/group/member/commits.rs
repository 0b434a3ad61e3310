//! Commits, each waited for on a thread of its own: librdkafka tells what came of one to nobody but the caller, and whoever takes records
//! may not wait.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{CommitMode, Consumer};

use super::super::state::Shared;
use super::client::{Consuming, News};
use crate::naming::Position;

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
        let run = move || commit(&client, &receiver, &shared);
        let thread = std::thread::Builder::new().name("commits".to_owned()).spawn(run);
        Self { orders, thread: thread.expect("the system gives a thread") }
    }

    /// Begins a commit; what comes of it is news of the client.
    pub(super) fn send(&self, at: Vec<Position>, list: TopicPartitionList) {
        self.orders.send((at, list)).expect("the thread lives as long as this");
    }

    /// Ends the thread, which uses the client no more when this returns; `waits` for an answer if there is one to come.
    pub(super) fn end(self, waits: bool) {
        drop(self.orders);
        if !waits {
            // It has nothing to do, so this is at once; a panic there was told already.
            let _ = self.thread.join();
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
