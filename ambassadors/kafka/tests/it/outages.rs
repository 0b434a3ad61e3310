//! Brokers that go away and come back: what was listed stays what it was, and is never said to be nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use test_servers::{Kafka, KafkaOptions};

use crate::program::{Program, command};
use crate::topic::{Topic, until};

const COUNT: usize = 60;

/// How a broker goes, and how it comes back.
type Way = (fn(&mut Kafka), fn(&mut Kafka));

/// Every list that a program gives from now on: the status, and how many names.
struct Watched {
    seen: Arc<Mutex<Vec<(u16, usize)>>>,
    over: Arc<AtomicBool>,
    watching: tokio::task::JoinHandle<()>,
}

impl Watched {
    fn start(program: &Program) -> Self {
        let (seen, over) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<AtomicBool>::default());
        let watching = tokio::spawn({
            let (seen, over, url) = (Arc::clone(&seen), Arc::clone(&over), format!("{}/v1/items", program.url));
            async move {
                while !over.load(Ordering::Relaxed) {
                    let answer = reqwest::get(&url).await.expect("the ambassador itself never goes");
                    let status = answer.status().as_u16();
                    let body = answer.text().await.expect("a body");
                    let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
                    seen.lock().expect("no panic").push((status, body["items"].as_array().map_or(0, Vec::len)));
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        });
        Self { seen, over, watching }
    }

    /// What was seen until now.
    async fn end(self) -> Vec<(u16, usize)> {
        self.over.store(true, Ordering::Relaxed);
        self.watching.await.expect("watched");
        std::mem::take(&mut *self.seen.lock().expect("no panic"))
    }
}

async fn ready(program: &Program, status: u16) {
    until(&format!("/readyz {status}"), async || (program.probe("/readyz").await?.0 == status).then_some(())).await;
}

/// Has the broker go and come back beneath a running ambassador, again and again.
async fn survives(kafka: &mut Kafka, ways: &[Way]) {
    let name = kafka.topic(2);
    let topic = Topic { kafka, name: name.clone() };
    for partition in 0..2 {
        topic.kcat(partition, (0..COUNT / 2).map(|n| format!("{partition}/{n}")));
    }
    let program = Program::start(command(&topic, &["--poll", "100ms", "--stall-after", "3s"])).await;
    let mut before = program.listed(COUNT).await;
    for (round, (go, come)) in ways.iter().enumerate() {
        ready(&program, 200).await;
        let watched = Watched::start(&program);
        go(kafka);
        ready(&program, 503).await;
        until("no list", async || (program.ask("/v1/items").await?.0 == 503).then_some(())).await;
        let (status, _) = program.ask(&format!("/v1/items/{}", before[round])).await.expect("an answer");
        assert_eq!(status, 503, "what cannot be seen is not said to be gone");
        come(kafka);
        ready(&program, 200).await;
        let count = before.len();
        assert_eq!(program.listed(count).await, before, "the names are what they were");
        let seen = watched.end().await;
        assert!(
            seen.iter().all(|seen| matches!(seen, (200, found) if *found == count) || *seen == (503, 0)),
            "{seen:?}"
        );
        for n in [0, count - 1] {
            let item = format!("/v1/items/{}", before[n]);
            until("the item", async || (program.ask(&item).await?.0 == 200).then_some(())).await;
        }
        Topic { kafka, name: name.clone() }.kcat(1, [format!("after {round}")]);
        before = program.listed(count + 1).await;
    }
}

mod needs_kafka {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_broker_that_is_killed_stopped_or_stands_still_has_lost_nothing_when_it_is_back() {
        let mut kafka = Kafka::start(KafkaOptions::default());
        let pause: Way = (|kafka| kafka.pause([1]), |kafka| kafka.resume([1]));
        let kill: Way = (|kafka| kafka.kill([1]), |kafka| kafka.restart([1]));
        let stop: Way = (|kafka| kafka.stop([1]), |kafka| kafka.restart([1]));
        survives(&mut kafka, &[pause, kill, stop]).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_topic_that_is_not_there_yet_is_lost_and_served_once_it_is() {
        let kafka = Kafka::shared();
        let name = format!("late-{:x}", fastrand::u64(..));
        let program =
            Program::start(command(&Topic { kafka, name: name.clone() }, &["--poll", "100ms", "--stall-after", "3s"]))
                .await;
        let said = until("what is wrong", async || {
            let (status, body) = program.ask("/v1/items").await?;
            let said = body["message"].as_str()?.to_owned();
            (status == 503 && said.contains("no such topic")).then_some(said)
        })
        .await;
        assert!(said.contains(&name), "{said}");
        kafka.create_topic(&name, 1, &[]);
        Topic { kafka, name }.kcat(0, ["x".to_owned()]);
        program.listed(1).await;
        ready(&program, 200).await;
    }
}
