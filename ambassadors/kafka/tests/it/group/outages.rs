//! Brokers that go away under a member and come back.

use std::time::{Duration, Instant};

use longshore_tests::{Ambassador, Watched, until};
use test_servers::{Kafka, KafkaOptions};

use super::workers::{committed, committed_to_the_end};
use crate::program::{group, serving, serving_in};
use crate::topic::Topic;

mod needs_kafka {
    use super::*;

    const COUNT: u64 = 30;

    /// Settles the first `settled` again, which a manager does that was told 503, and then the rest.
    async fn goes_on(member: &Ambassador, topic: &Topic<'_>, group: &str, settled: &[String]) {
        for name in settled {
            until("a settle", async || (member.settle(name).await == Some(204)).then_some(())).await;
        }
        committed(topic, group, &[Some(settled.len() as u64)]).await;
        let rest = member.holds(COUNT as usize - settled.len()).await;
        assert!(rest.iter().all(|name| !settled.contains(name)));
        topic.kcat(0, ["after".to_owned()]);
        for name in member.holds(rest.len() + 1).await {
            assert_eq!(member.settle(&name).await, Some(204));
        }
        committed_to_the_end(topic, group).await;
        member.is_empty().await;
    }

    async fn begins<'a>(
        kafka: &'a Kafka,
        name: &str,
        group: &str,
        flags: &[&str],
    ) -> (Topic<'a>, Ambassador, Vec<String>) {
        let topic = Topic { kafka, name: name.to_owned() };
        topic.kcat(0, (0..COUNT).map(|n| format!("item {n}")));
        let member = serving_in(&topic, group, &[&["--stall-after", "3s"], flags].concat()).await;
        let names = member.holds(COUNT as usize).await;
        member.ready(200).await;
        assert_eq!(member.settle(&names[0]).await, Some(204));
        committed(&topic, group, &[Some(1)]).await;
        (topic, member, names)
    }

    /// Settles one after the other until one is refused: all before that were answered by 204, and are not committed.
    async fn settles_until_it_is_refused(member: &Ambassador, names: &[String]) -> usize {
        let mut next = 1;
        until("a settle that is refused", async || {
            match member.settle(&names[next]).await {
                Some(204) if next + 2 < names.len() => next += 1,
                Some(204) => {}
                other => {
                    assert_eq!(other, Some(503));
                    return Some(());
                }
            }
            None
        })
        .await;
        let refused = next;
        assert_eq!(member.list().await, None, "nobody knows what is there");
        refused
    }

    /// For the list of the log, and for a member of a group which has no session left with its brokers by then.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_minute_in_which_brokers_stand_still_loses_nothing_and_commits_nothing_that_is_not_done() {
        let mut kafka = Kafka::start(KafkaOptions::default());
        let (name, group) = (kafka.topic(1), group());
        // The group misses whoever is lost for as long again when it is back.
        let session = ["--property", "session.timeout.ms=12000"];
        let (topic, member, names) = begins(&kafka, &name, &group, &session).await;
        let log = serving(&topic, &["--poll", "100ms", "--stall-after", "3s"]).await;
        let listed = log.holds(COUNT as usize).await;
        let watched = Watched::start(&log);
        kafka.pause([1]);
        let paused = Instant::now();
        let refused = settles_until_it_is_refused(&member, &names).await;
        member.ready(503).await;
        log.ready(503).await;
        assert_eq!(log.list().await, None);
        let (status, _) = log.ask(&format!("/v1/items/{}", listed[0])).await.expect("an answer");
        assert_eq!(status, 503, "what cannot be seen is not said to be gone");
        // Until it has no session left with them.
        until("partitions that are lost", async || {
            (member.figure("longshore_kafka_rebalances_total", "lost").await >= 1.0).then_some(())
        })
        .await;
        assert_eq!(member.settle(&names[refused]).await, Some(503));
        tokio::time::sleep(Duration::from_secs(60).saturating_sub(paused.elapsed())).await;
        kafka.resume([1]);
        member.ready(200).await;
        log.ready(200).await;
        let topic = Topic { kafka: &kafka, name };
        // What was answered by 204 may be, and the last that was refused before.
        let at = topic.kafka.committed(&group, &topic.name)[0].expect("it had committed before");
        assert!((1..=refused as u64 + 1).contains(&at), "{at}, and nobody has settled {}", refused + 1);
        assert_eq!(log.holds(COUNT as usize).await, listed, "the names are what they were");
        let lists = watched.end().await;
        assert!(lists.iter().all(|list| list.names == COUNT as usize), "{lists:?}");
        for n in [0, COUNT as usize - 1] {
            let item = format!("/v1/items/{}", listed[n]);
            let (_, item) = until("the item", async || log.ask(&item).await.filter(|(status, _)| *status == 200)).await;
            assert_eq!(item["data"]["value"], format!("item {n}"));
        }
        goes_on(&member, &topic, &group, &names[..=refused]).await;
        assert_eq!(log.holds(COUNT as usize + 1).await[..COUNT as usize], listed);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_broker_that_is_killed_and_comes_back_with_its_data_has_the_group_go_on() {
        let mut kafka = Kafka::start(KafkaOptions::default());
        let (name, group) = (kafka.topic(1), group());
        let (_, member, names) = begins(&kafka, &name, &group, &[]).await;
        kafka.kill([1]);
        let refused = settles_until_it_is_refused(&member, &names).await;
        let why = member.ready(503).await;
        assert!(why.contains("no broker answers"), "{why}");
        kafka.restart([1]);
        member.ready(200).await;
        goes_on(&member, &Topic { kafka: &kafka, name }, &group, &names[..=refused]).await;
    }
}
