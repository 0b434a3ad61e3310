//! Connections that are cut where it hurts, that stand still, and leaders that move: whoever asks is told late, and never what is not so.

use ambassador_kit::source::{Source, SourceError};
use contract::ItemName;
use kafka_ambassador::LogSource;
use longshore_tests::source::{listed, live, names};
use longshore_tests::{Ambassador, until};
use serde_json::json;
use test_servers::{Kafka, KafkaOptions};

use crate::program::{command, group, serving, serving_in};
use crate::relay::Relay;
use crate::topic::Topic;

/// The value of an item that is there, however often brokers have to be asked for it.
async fn value(source: &LogSource, name: &ItemName) -> String {
    until(&format!("{name}"), async || match source.get(name).await {
        Ok(item) => Some(item.data["value"].as_str().expect("text").to_owned()),
        Err(SourceError::Unavailable { .. }) => None,
        Err(other) => panic!("{name} is there, and is said to be {other:?}"),
    })
    .await
}

/// Records of each partition and round.
const EACH: usize = 300;

fn write(kafka: &Kafka, topic: &str, round: usize) {
    let topic = Topic { kafka, name: topic.to_owned() };
    for partition in 0..3 {
        topic.kcat(partition, (0..EACH).map(|n| format!("{round}/{partition}/{n}")));
    }
}

mod needs_kafka {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn connections_that_are_cut_in_the_middle_of_an_answer_lose_nothing() {
        let topic = Topic::new(2);
        // A batch travels in one answer, whatever its size: so there are many.
        let batches = |partition| {
            (0..40).flat_map(move |_| [json!({"partition": partition, "count": 250, "size": 200}), json!({"flush": 1})])
        };
        topic.write(&(0..2).flat_map(batches).collect::<Vec<_>>());
        let relay = Relay::start(topic.kafka);
        relay.cut_every(3);
        // What breaks off is begun again at once, so that the test is about what comes then.
        let flags = [
            &relay.flag(),
            "--property=fetch.message.max.bytes=65536",
            "--property=reconnect.backoff.ms=10",
            "--property=reconnect.backoff.max.ms=100",
        ];
        let source = topic.served(&flags).await;
        let found = names(&source).await;
        assert_eq!(found.len(), 20_000, "each once");
        assert!(relay.cuts() > 10, "{} cuts", relay.cuts());
        let before = relay.cuts();
        for (n, name) in found.iter().enumerate().step_by(10) {
            assert_eq!(value(&source, name).await.trim_end_matches('x'), (n % 250).to_string());
        }
        assert!(relay.cuts() > before + 3, "{before}, then {} cuts", relay.cuts());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_connection_that_stands_still_is_made_anew() {
        let topic = Topic::new(1);
        topic.kcat(0, (0..100).map(|n| n.to_string()));
        let relay = Relay::start(topic.kafka);
        // librdkafka itself would wait five minutes.
        let flags = [&relay.flag(), "--property=socket.timeout.ms=300000", "--poll=100ms", "--stall-after=1s"];
        let program = serving(&topic, &flags).await;
        let before = program.holds(100).await;
        relay.freeze_readers();
        topic.kcat(0, (100..150).map(|n| n.to_string()));
        let after = program.holds(150).await;
        assert_eq!(after[..100], before);
        let (_, metrics) = program.probe("/metrics").await.expect("metrics");
        let stalls = metrics.lines().find_map(|line| line.strip_prefix("longshore_kafka_stalls_total "));
        assert!(stalls.expect("a figure").parse::<u64>().expect("a number") > 0);
        relay.freeze_readers();
        let item = format!("/v1/items/{}", after[149]);
        until("the item", async || (program.ask(&item).await?.0 == 200).then_some(())).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_last_list_stands_for_as_long_as_max_stale_says() {
        let topic = Topic::new(1);
        topic.kcat(0, (0..100).map(|n| n.to_string()));
        let relay = Relay::start(topic.kafka);
        let start = async |stale: &str| {
            let flags = [&relay.flag(), "--poll=100ms", "--stall-after=1s", "--max-stale", stale];
            serving(&topic, &flags).await
        };
        let (long, short) = (start("1h").await, start("1s").await);
        let before = long.holds(100).await;
        assert_eq!(short.holds(100).await, before);
        relay.shut();
        until("no list", async || (short.ask("/v1/items").await?.0 == 503).then_some(())).await;
        long.ready(503).await;
        assert_eq!(long.holds(100).await, before, "what was seen stands");
        let item = format!("/v1/items/{}", before[70]);
        assert_eq!(long.ask(&item).await.expect("an answer").0, 503, "and cannot be read");
        relay.open();
        topic.kcat(0, ["new".to_owned()]);
        for program in [&long, &short] {
            assert_eq!(program.holds(101).await[..100], before);
            program.ready(200).await;
            until("the item", async || (program.ask(&item).await?.0 == 200).then_some(())).await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn leaders_that_die_and_come_back_lose_nothing_and_nothing_is_said_to_be_gone() {
        let mut kafka = Kafka::start(KafkaOptions {
            brokers: 3,
            // How soon a leader that is gone is given up.
            properties: vec![("broker.session.timeout.ms".to_owned(), "3000".to_owned())],
        });
        let name = kafka.topic(3);
        write(&kafka, &name, 0);
        let source = Topic { kafka: &kafka, name: name.clone() }.served(&["--stall-after", "3s"]).await;
        let before = names(&source).await;
        let failing = tokio::task::spawn_blocking(move || {
            let leader = kafka.leader(&name, 0);
            kafka.kill([leader]);
            write(&kafka, &name, 1);
            kafka.restart([leader]);
            kafka
        });
        let mut asked = 0;
        // Again and again, for as long as it lasts.
        while asked < before.len() || !failing.is_finished() {
            let n = asked % before.len();
            assert_eq!(value(&source, &before[n]).await, format!("0/{}/{}", n / EACH, n % EACH));
            asked += 1;
        }
        // Until now, or it would be gone with all its brokers.
        let kafka = failing.await.expect("it failed as it was told to");
        live(&source).await;
        let after = listed(&source, 2 * before.len()).await;
        assert!(before.iter().all(|name| after.contains(name)));
        assert_eq!(value(&source, &after[2 * EACH - 1]).await, format!("1/0/{}", EACH - 1));
        drop(source);
        an_old_name_is_no_new_record_though_most_brokers_are_late(&kafka).await;
        one_partition_that_stands_still_is_noticed_beside_another_that_moves(&kafka).await;
    }

    /// The id of the topic, as its bytes.
    fn id(topic: &Topic<'_>) -> [u8; 16] {
        let checked = command(topic, &["--check"]).output().expect("it runs");
        let said = String::from_utf8_lossy(&checked.stdout).into_owned();
        let id = said.split(['(', ')']).nth(1).unwrap_or_else(|| panic!("{checked:?}"));
        let id = data_encoding::BASE64URL_NOPAD.decode(id.as_bytes()).expect("an id");
        id.try_into().expect("of 16 bytes")
    }

    async fn an_old_name_is_no_new_record_though_most_brokers_are_late(kafka: &Kafka) {
        let topic = Topic::of(kafka, 1);
        topic.kcat(0, (0..50).map(|n| format!("first {n}")));
        let relay = Relay::start(kafka);
        let source = topic.served_slowly(&[&relay.flag(), "--poll=1h", "--stall-after=2s"]).await;
        let (found, incarnation, before) = (names(&source).await, source.about().incarnation, id(&topic));
        kafka.delete_topic(&topic.name);
        kafka.create_topic(&topic.name, 1, &[]);
        relay.has_all_but(kafka.leader(&topic.name, 0), id(&topic), before);
        topic.kcat(0, (0..80).map(|n| format!("second {n}")));
        for (n, name) in found.iter().enumerate() {
            match source.get(name).await {
                Ok(item) => panic!("{name} was \"first {n}\", and is {}", item.data["value"]),
                Err(SourceError::Unavailable { .. }) => {}
                Err(SourceError::Gone(_)) if source.about().incarnation == incarnation => {}
                // It is known everywhere in here.
                Err(SourceError::Gone(_)) => break,
                Err(other) => panic!("{name}: {other:?}"),
            }
        }
        relay.has_none_late();
        // Whoever has asked has found it out, an hour before the next look.
        until("the new one", async || (source.about().incarnation != incarnation).then_some(())).await;
        let after = listed(&source, 80).await;
        assert!(after.iter().all(|name| !found.contains(name)));
        assert_eq!(value(&source, &after[79]).await, "second 79");
    }

    async fn one_partition_that_stands_still_is_noticed_beside_another_that_moves(kafka: &Kafka) {
        let (topic, group) = (Topic::of(kafka, 3), group());
        for partition in 0..3 {
            topic.kcat(partition, ["there".to_owned()]);
        }
        let still = kafka.leader(&topic.name, 0);
        let moves = (1..3).find(|partition| kafka.leader(&topic.name, *partition) != still).expect("of another");
        let relay = Relay::start(kafka);
        // librdkafka itself would wait five minutes.
        let patient = ["--property=socket.timeout.ms=300000", "--property=session.timeout.ms=300000"];
        let through = relay.flag();
        let flags = [&[through.as_str(), "--stall-after=2s"], &patient[..]].concat();
        let log = serving(&topic, &[&["--poll=100ms"], &flags[..]].concat()).await;
        let member = serving_in(&topic, &group, &flags).await;
        log.holds(3).await;
        member.holds(3).await;
        relay.freeze_readers_of(still);
        topic.kcat(0, ["late".to_owned()]);
        until("what came where nothing moved", async || {
            topic.kcat(moves, ["more".to_owned()]);
            let sees = async |of: &Ambassador| Some(of.names().await?.iter().any(|name| name.contains("-0-1-")));
            (sees(&log).await? && sees(&member).await?).then_some(())
        })
        .await;
        for one in [&log, &member] {
            assert!(one.figure("longshore_kafka_stalls_total", "").await >= 1.0);
        }
    }
}
