//! Brokers that go away and come back: what was listed stays what it was, and is never said to be nothing.

use longshore_tests::{Watched, until};
use test_servers::{Kafka, KafkaOptions};

use crate::program::serving;
use crate::topic::Topic;

const COUNT: usize = 60;

/// How a broker goes, and how it comes back.
type Way = (fn(&mut Kafka), fn(&mut Kafka));

/// Has the broker go and come back beneath a running ambassador, again and again.
async fn survives(kafka: &mut Kafka, ways: &[Way]) {
    let name = kafka.topic(2);
    let topic = Topic { kafka, name: name.clone() };
    for partition in 0..2 {
        topic.kcat(partition, (0..COUNT / 2).map(|n| format!("{partition}/{n}")));
    }
    let program = serving(&topic, &["--poll", "100ms", "--stall-after", "3s"]).await;
    let mut before = program.holds(COUNT).await;
    for (round, (go, come)) in ways.iter().enumerate() {
        program.ready(200).await;
        let watched = Watched::start(&program);
        go(kafka);
        program.ready(503).await;
        until("no list", async || (program.ask("/v1/items").await?.0 == 503).then_some(())).await;
        let (status, _) = program.ask(&format!("/v1/items/{}", before[round])).await.expect("an answer");
        assert_eq!(status, 503, "what cannot be seen is not said to be gone");
        come(kafka);
        program.ready(200).await;
        let count = before.len();
        assert_eq!(program.holds(count).await, before, "the names are what they were");
        let lists = watched.end().await;
        assert!(lists.iter().all(|list| list.names == count), "{lists:?}");
        for n in [0, count - 1] {
            let item = format!("/v1/items/{}", before[n]);
            until("the item", async || (program.ask(&item).await?.0 == 200).then_some(())).await;
        }
        Topic { kafka, name: name.clone() }.kcat(1, [format!("after {round}")]);
        before = program.holds(count + 1).await;
    }
}

mod needs_kafka {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_broker_that_is_killed_or_stopped_has_lost_nothing_when_it_is_back() {
        let mut kafka = Kafka::start(KafkaOptions::default());
        let kill: Way = (|kafka| kafka.kill([1]), |kafka| kafka.restart([1]));
        let stop: Way = (|kafka| kafka.stop([1]), |kafka| kafka.restart([1]));
        survives(&mut kafka, &[kill, stop]).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_topic_that_is_not_there_yet_is_lost_and_served_once_it_is() {
        let kafka = Kafka::shared();
        let name = format!("late-{:x}", fastrand::u64(..));
        let program = serving(&Topic { kafka, name: name.clone() }, &["--poll", "100ms", "--stall-after", "3s"]).await;
        let said = until("what is wrong", async || {
            let (status, body) = program.ask("/v1/items").await?;
            let said = body["message"].as_str()?.to_owned();
            (status == 503 && said.contains("no such topic")).then_some(said)
        })
        .await;
        assert!(said.contains(&name), "{said}");
        kafka.create_topic(&name, 1, &[]);
        Topic { kafka, name }.kcat(0, ["x".to_owned()]);
        program.holds(1).await;
        program.ready(200).await;
    }
}
