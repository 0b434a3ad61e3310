//! Whoever works on what members list, in no order; what they have begun to settle; and whether what the group has committed is ever ahead
//! of that.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::StreamExt;
use longshore_tests::until;
use reqwest::{Client, StatusCode};
use serde_json::Value;
use test_servers::{Kafka, queue_client};
use tokio::task::JoinHandle;

use crate::topic::Topic;

/// Partition and offset.
pub(crate) type At = (i32, i64);

/// Where the record of a name lies.
pub(crate) fn at(name: &str) -> At {
    let mut parts = name.rsplit('-').skip(1);
    let mut number = || parts.next().expect("a position").parse::<i64>().expect("a number");
    let offset = number();
    (i32::try_from(number()).expect("a partition"), offset)
}

/// What is known of a topic's records beside what Kafka knows.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    /// Somebody has asked for them to be settled: from then on they may be.
    begun: BTreeMap<i32, BTreeSet<i64>>,
    /// How often each was answered by 204.
    settled: BTreeMap<At, usize>,
    /// The first record of each partition that nobody has begun to settle.
    first: BTreeMap<i32, i64>,
}

impl Ledger {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().expect("nobody panicked")
    }

    pub(crate) fn begin(&self, (partition, offset): At) {
        let entries = &mut *self.entries();
        let begun = entries.begun.entry(partition).or_default();
        begun.insert(offset);
        let first = entries.first.entry(partition).or_default();
        while begun.remove(first) {
            *first += 1;
        }
    }

    pub(crate) fn settle(&self, at: At) {
        *self.entries().settled.entry(at).or_default() += 1;
    }

    /// How many records were settled at least once.
    pub(crate) fn settled(&self) -> usize {
        self.entries().settled.len()
    }

    /// How many settles there were beyond the first of each.
    pub(crate) fn repeats(&self) -> usize {
        self.entries().settled.values().map(|times| times - 1).sum()
    }

    /// How far nothing is left that nobody has begun to settle.
    fn first(&self, partition: usize) -> i64 {
        let partition = i32::try_from(partition).expect("a partition");
        self.entries().first.get(&partition).copied().unwrap_or_default()
    }
}

/// Looks at what a group has committed, all the time.
pub(crate) struct Watch {
    over: Arc<AtomicBool>,
    looks: JoinHandle<usize>,
}

impl Watch {
    pub(crate) fn start(kafka: &'static Kafka, group: &str, topic: &str, ledger: &Arc<Ledger>) -> Self {
        let over = Arc::<AtomicBool>::default();
        let (ended, ledger, names) = (Arc::clone(&over), Arc::clone(ledger), (group.to_owned(), topic.to_owned()));
        let looks = tokio::task::spawn_blocking(move || {
            let mut looks = 0;
            while !ended.load(Ordering::Relaxed) {
                for (partition, committed) in kafka.committed(&names.0, &names.1).into_iter().enumerate() {
                    // What was begun since then is taken for begun before: the test is too kind by that, and never too harsh.
                    let (committed, first) = (committed.unwrap_or_default(), ledger.first(partition));
                    let passed = i64::try_from(committed).expect("an offset") > first;
                    assert!(
                        !passed,
                        "{committed} is committed of partition {partition}, and nobody has settled {first}"
                    );
                }
                looks += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
            looks
        });
        Self { over, looks }
    }

    /// How often it has looked.
    ///
    /// # Panics
    /// If the group has ever committed what nobody had settled.
    pub(crate) async fn end(self) -> usize {
        self.over.store(true, Ordering::Relaxed);
        self.looks.await.unwrap_or_else(|died| std::panic::resume_unwind(died.into_panic()))
    }

    pub(crate) fn is_over(&self) -> bool {
        self.looks.is_finished()
    }
}

/// How a worker works.
#[derive(Clone, Copy)]
pub(crate) struct Way {
    /// How many items at once.
    pub(crate) hands: usize,
    /// Of how many that are listed one is left for later; there is always one that is not.
    pub(crate) leaves: usize,
    /// Whether items are read before they are settled.
    pub(crate) reads: bool,
}

/// Works on what a member lists.
pub(crate) struct Worker {
    pub(crate) url: String,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) way: Way,
    /// What the value of a record is.
    pub(crate) value: fn(At) -> String,
    http: Client,
}

impl Worker {
    /// Works until the member is gone.
    pub(crate) fn start(url: String, ledger: &Arc<Ledger>, way: Way, value: fn(At) -> String) -> JoinHandle<()> {
        let worker = Arc::new(Self { url, ledger: Arc::clone(ledger), way, value, http: Client::new() });
        tokio::spawn(async move { while worker.round().await.is_some() {} })
    }

    /// Settles what is listed, but for what it leaves. Nothing where the member is gone.
    async fn round(self: &Arc<Self>) -> Option<()> {
        let answer = self.http.get(format!("{}/v1/items", self.url)).send().await.ok()?;
        let listed = answer.status() == StatusCode::OK;
        let list = json(answer).await?;
        let names = list["items"].as_array().filter(|_| listed).map(Vec::as_slice).unwrap_or_default();
        let mut names: Vec<_> = names.iter().map(|name| name.as_str().expect("a name").to_owned()).collect();
        if names.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        fastrand::shuffle(&mut names);
        names.truncate(names.len() - names.len() / self.way.leaves);
        let settled = futures_util::stream::iter(names.into_iter().map(|name| Arc::clone(self).item(name)));
        let gone = settled.buffer_unordered(self.way.hands).any(async |settled| settled.is_none()).await;
        (!gone).then_some(())
    }

    async fn item(self: Arc<Self>, name: String) -> Option<()> {
        let (url, at) = (format!("{}/v1/items/{name}", self.url), at(&name));
        if self.way.reads {
            let answer = self.http.get(&url).send().await.ok()?;
            match answer.status() {
                StatusCode::OK => {
                    let item = json(answer).await?;
                    assert_eq!(item["data"]["value"].as_str(), Some(&*(self.value)(at)), "{name}");
                }
                // It was taken away since it was listed.
                StatusCode::GONE | StatusCode::SERVICE_UNAVAILABLE => return Some(()),
                other => panic!("{name} was listed, and is {other}"),
            }
        }
        self.ledger.begin(at);
        match self.http.delete(&url).send().await.ok()?.status() {
            StatusCode::NO_CONTENT => self.ledger.settle(at),
            StatusCode::SERVICE_UNAVAILABLE => {}
            other => panic!("a settle of {name} is {other}"),
        }
        Some(())
    }
}

async fn json(answer: reqwest::Response) -> Option<Value> {
    Some(serde_json::from_slice(&answer.bytes().await.ok()?).expect("JSON"))
}

/// Waits until a group has committed everything that there is.
pub(crate) async fn committed_to_the_end(topic: &Topic<'_>, group: &str) {
    let ends: Vec<_> = topic.kafka.end_offsets(&topic.name).into_iter().map(Some).collect();
    until("everything is committed", async || (topic.kafka.committed(group, &topic.name) == ends).then_some(())).await;
}

/// Waits until a group has committed this.
pub(crate) async fn committed(topic: &Topic<'_>, group: &str, wanted: &[Option<u64>]) {
    until(&format!("{wanted:?}"), async || (topic.kafka.committed(group, &topic.name) == wanted).then_some(())).await;
}

/// Says by a client of others that a group goes on there.
pub(crate) fn commit(topic: &Topic<'_>, group: &str, partition: i32, offset: i64) {
    let script = "import sys; from confluent_kafka import Consumer, TopicPartition; b, g, t, p, o = sys.argv[1:]; \
                  Consumer({'bootstrap.servers': b, 'group.id': g}).commit(offsets=[TopicPartition(t, int(p), int(o))], asynchronous=False)";
    let output = Command::new(queue_client("python"))
        .args(["-c", script, &topic.brokers(), group, &topic.name, &partition.to_string(), &offset.to_string()])
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
