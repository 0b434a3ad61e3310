//! Records that go: by retention, by compaction, with their topic. And partitions that come.

use std::process::Command;

use ambassador_kit::source::{Health, Source, SourceError};
use futures_util::StreamExt;
use longshore_tests::source::{listed, names};
use longshore_tests::until;
use test_servers::{Kafka, queue_client};

use crate::topic::{Topic, data, record, values};

mod needs_kafka {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn what_retention_takes_leaves_the_list_and_is_gone() {
        let topic = Topic::new(2);
        topic.kcat(0, (0..100).map(|n| n.to_string()));
        topic.kcat(1, ["stays".to_owned()]);
        let source = topic.served(&[]).await;
        let before = names(&source).await;
        let mut changes = source.changes(None).expect("it can be watched");
        topic.kafka.trim(&topic.name, 0, 60);
        assert_eq!(listed(&source, 41).await, before[60..]);
        for name in &before[..60] {
            let change = changes.next().await.expect("it goes on").expect("a change");
            assert_eq!((&change.name, change.listed), (name, false));
        }
        assert!(matches!(source.get(&before[59]).await, Err(SourceError::Gone(_))));
        assert_eq!(data(&source, &before[60]).await["value"], "60");
        assert_eq!(names(&topic.served(&[]).await).await, before[60..]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_retention_takes_before_the_next_look_is_gone_when_it_is_asked_for() {
        let topic = Topic::new(1);
        topic.kcat(0, (0..10).map(|n| n.to_string()));
        let source = topic.served_slowly(&["--poll", "1h"]).await;
        let before = names(&source).await;
        topic.kafka.trim(&topic.name, 0, 10);
        for name in &before {
            assert!(matches!(source.get(name).await, Err(SourceError::Gone(_))), "{name}");
        }
        assert_eq!(names(&source).await, []);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn gaps_that_compaction_left_are_not_listed_and_those_it_leaves_later_are_gone() {
        let compacted = [
            ("cleanup.policy", "compact"),
            ("segment.ms", "100"),
            ("min.cleanable.dirty.ratio", "0.001"),
            ("min.compaction.lag.ms", "0"),
        ];
        let topic = Topic::named(Kafka::shared(), &format!("compacted-{:x}", fastrand::u64(..)), &compacted);
        let versions = |of: &str| {
            (0..5).map(|n| record(0, Some(of.as_bytes()), Some(format!("{of}{n}").as_bytes()))).collect::<Vec<_>>()
        };
        topic.write(&versions("a"));
        let source = topic.served_slowly(&["--poll", "1h"]).await;
        let before = names(&source).await;
        assert_eq!(before.len(), 5);
        // A segment is compacted once another was begun behind it.
        until("a compaction", async || {
            topic.write(&[record(0, Some(b"z"), Some(b"z"))]);
            let read = Command::new(queue_client("kcat"))
                .args(["-C", "-q", "-e", "-b", &topic.brokers(), "-t", &topic.name])
                .output()
                .expect("kcat runs");
            let text = String::from_utf8_lossy(&read.stdout).into_owned();
            let whole = read.status.success() && text.contains("a4") && text.contains('z');
            (whole && !text.contains("a0") && !text.contains("a3")).then_some(())
        })
        .await;
        assert!(matches!(source.get(&before[0]).await, Err(SourceError::Gone(_))));
        assert!(matches!(source.get(&before[3]).await, Err(SourceError::Gone(_))));
        assert_eq!(data(&source, &before[4]).await["value"], "a4");
        let after = names(&source).await;
        assert!(!after.contains(&before[0]) && after.contains(&before[1]) && after.contains(&before[4]));
        let again = topic.served(&[]).await;
        let values = values(&again).await;
        assert!(values.contains(&"a4".to_owned()) && !values.contains(&"a3".to_owned()), "{values:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_topic_that_was_made_again_is_all_new_work() {
        let kafka = Kafka::shared();
        let topic = Topic::new(1);
        topic.kcat(0, (0..5).map(|n| format!("first {n}")));
        let source = topic.served(&[]).await;
        let before = names(&source).await;
        let incarnation = source.about().incarnation;
        assert_eq!(data(&source, &before[0]).await["value"], "first 0");
        let mut changes = source.changes(None).expect("it can be watched");
        kafka.delete_topic(&topic.name);
        let mut health = source.health();
        health
            .wait_for(|health| matches!(health, Health::Lost { why } if why.contains("no such topic")))
            .await
            .expect("it lives");
        kafka.create_topic(&topic.name, 1, &[]);
        topic.kcat(0, (0..5).map(|n| format!("second {n}")));
        until("the new one", async || (source.about().incarnation != incarnation).then_some(())).await;
        let after = listed(&source, 5).await;
        assert!(after.iter().all(|name| !before.contains(name)));
        assert_eq!(values(&source).await, ["second 0", "second 1", "second 2", "second 3", "second 4"]);
        assert!(matches!(source.get(&before[0]).await, Err(SourceError::Gone(_))));
        assert!(matches!(changes.next().await, Some(Err(SourceError::Expired(_)))), "who watches lists again");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_topic_that_was_made_again_between_two_looks_answers_no_old_name_with_a_new_record() {
        let kafka = Kafka::shared();
        let topic = Topic::new(1);
        topic.kcat(0, (0..2_000).map(|n| format!("first {n}")));
        // So little that most of it is read when the topic is another: what was read before is answered still, and nobody would find out.
        let source = topic.served_slowly(&["--poll", "1h", "--read-ahead", "64KiB"]).await;
        let before = names(&source).await;
        let incarnation = source.about().incarnation;
        // Some of it is read ahead, by a client that goes on with whatever has the name.
        for (n, name) in before.iter().take(20).enumerate() {
            assert_eq!(data(&source, name).await["value"], format!("first {n}"));
        }
        kafka.delete_topic(&topic.name);
        kafka.create_topic(&topic.name, 1, &[]);
        topic.kcat(0, (0..3_000).map(|n| format!("second {n}")));
        for (n, name) in before.iter().enumerate() {
            match source.get(name).await {
                Ok(item) => assert_eq!(item.data["value"], format!("first {n}"), "{name}"),
                Err(SourceError::Gone(_) | SourceError::Unavailable { .. }) => {}
                Err(other) => panic!("{name}: {other:?}"),
            }
        }
        // Whoever asked has found it out, an hour before the next look.
        until("the new one", async || (source.about().incarnation != incarnation).then_some(())).await;
        let after = listed(&source, 3_000).await;
        assert!(after.iter().all(|name| !before.contains(name)));
        assert_eq!(data(&source, &after[2_999]).await["value"], "second 2999");
        for name in [&before[0], &before[1_999]] {
            assert!(matches!(source.get(name).await, Err(SourceError::Gone(_))), "{name}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn partitions_that_come_later_are_read_from_their_beginning() {
        let topic = Topic::new(1);
        topic.kcat(0, ["old".to_owned()]);
        let source = topic.served(&["--start", "latest"]).await;
        topic.extend(3);
        topic.kcat(2, ["new".to_owned()]);
        listed(&source, 1).await;
        assert_eq!(values(&source).await, ["new"]);
    }
}
