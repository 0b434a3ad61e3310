//! How much is taken at once, and where that begins.

use std::time::{Duration, SystemTime};

use longshore_tests::{Ambassador, until};
use serde_json::json;

use super::workers::{commit, committed, committed_to_the_end};
use crate::program::{group, serving_in};
use crate::topic::{Topic, record};

mod needs_kafka {
    use super::*;

    /// Settles all that is listed, which must never be more than `most`, until all of the topic is committed.
    async fn drain(member: &Ambassador, topic: &Topic<'_>, group: &str, most: usize) {
        let ends: Vec<_> = topic.kafka.end_offsets(&topic.name).into_iter().map(Some).collect();
        until("all of it", async || {
            let names = member.names().await?;
            assert!(names.len() <= most, "{names:?}");
            for name in names {
                assert_eq!(member.settle(&name).await, Some(204));
            }
            (topic.kafka.committed(group, &topic.name) == ends).then_some(())
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_window_holds_so_many_records_and_so_many_bytes_and_one_that_is_larger_than_all_of_it() {
        let (topic, few, small) = (Topic::new(2), group(), group());
        // Each takes its value and 128 bytes more, so that the fourth is the one that does not fit.
        topic.write(&[
            json!({"partition": 0, "count": 20, "size": 1_024}),
            json!({"partition": 1, "count": 20, "size": 1_024}),
        ]);
        topic.kcat(0, ["x".repeat(100_000)]);
        topic.write(&[json!({"partition": 0, "count": 20, "size": 1_024})]);
        let member = serving_in(&topic, &small, &["--window-bytes", "4KiB"]).await;
        member.holds(4).await;
        assert_eq!(member.figure("longshore_kafka_window_bytes", "").await, 4.0 * 1_152.0);
        // Known from the next look at where partitions end.
        until("57 behind the window", async || {
            let list = member.list().await?;
            (list["metadata"]["complete"] == true && list["metadata"]["backlog"] == 57).then_some(())
        })
        .await;
        drain(&member, &topic, &small, 4).await;
        let member = serving_in(&topic, &few, &["--window", "7"]).await;
        member.holds(7).await;
        drain(&member, &topic, &few, 7).await;
        member.is_empty().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_group_that_never_began_begins_where_it_is_told_to_and_one_that_did_goes_on() {
        let (topic, latest, since) = (Topic::new(2), group(), group());
        topic.kcat(0, ["old", "older"].map(str::to_owned));
        let mut member = serving_in(&topic, &latest, &["--start", "latest"]).await;
        committed(&topic, &latest, &[Some(2), Some(0)]).await;
        let between = SystemTime::now() + Duration::from_millis(50);
        until("a later time", async || (SystemTime::now() > between).then_some(())).await;
        topic.kcat(0, ["new".to_owned()]);
        topic.kcat(1, ["new".to_owned()]);
        let names = member.holds(2).await;
        assert!(names[0].contains("-0-2-") && names[1].contains("-1-0-"), "{names:?}");
        assert_eq!(member.settle(&names[1]).await, Some(204));
        member.terminate().await;
        assert_eq!(topic.kafka.committed(&latest, &topic.name), [Some(2), Some(1)]);
        let member = serving_in(&topic, &latest, &["--start", "earliest"]).await;
        assert_eq!(member.holds(1).await, names[..1], "where the group stands, and not where --start says");
        let time = humantime::format_rfc3339_millis(between).to_string();
        let member = serving_in(&topic, &since, &["--start", &time]).await;
        assert_eq!(member.holds(2).await, names);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn partitions_that_come_after_the_group_are_new_from_their_first_record_on() {
        let (topic, group) = (Topic::new(1), group());
        topic.kcat(0, ["old".to_owned()]);
        let mut member = serving_in(&topic, &group, &["--start", "latest"]).await;
        committed(&topic, &group, &[Some(1)]).await;
        member.terminate().await;
        topic.extend(2);
        topic.kcat(1, ["while nobody ran".to_owned()]);
        let member = serving_in(&topic, &group, &["--start", "latest"]).await;
        let names = member.holds(1).await;
        assert_eq!(member.values(&names).await, ["while nobody ran"]);
        topic.extend(3);
        topic.kcat(2, ["while it ran".to_owned()]);
        let names = member.holds(2).await;
        assert_eq!(member.values(&names).await, ["while nobody ran", "while it ran"]);
        for name in names {
            assert_eq!(member.settle(&name).await, Some(204));
        }
        committed_to_the_end(&topic, &group).await;
    }

    /// By gaps, by what is in no transaction that was committed, and by what is in one that is not over.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_group_comes_past_what_is_no_record_and_no_further_than_transactions_that_are_over() {
        let (topic, ours, theirs) = (Topic::new(1), group(), group());
        let one = |text: &str| record(0, None, Some(text.as_bytes()));
        let (begin, commits, abort) = (json!({"begin": 1}), json!({"commit": 1}), json!({"abort": 1}));
        let lost = [begin.clone(), one("lost"), abort];
        topic.write(&[&lost[..], &[begin.clone(), one("a"), one("b"), commits], &lost[..]].concat());
        let member = serving_in(&topic, &ours, &[]).await;
        let names = member.holds(2).await;
        assert_eq!(member.values(&names).await, ["a", "b"]);
        for name in &names {
            assert_eq!(member.settle(name).await, Some(204));
        }
        member.is_empty().await;
        committed_to_the_end(&topic, &ours).await;
        let end = topic.kafka.end_offsets(&topic.name)[0];
        // It stays open: who began it is gone.
        topic.write(&[begin, one("open"), one("open")]);
        // As those who read what is in open transactions have it.
        commit(&topic, &theirs, 0, i64::try_from(end).expect("an offset") + 2);
        let other = serving_in(&topic, &theirs, &[]).await;
        let list =
            until("a list", async || other.list().await.filter(|list| list["metadata"]["complete"] == true)).await;
        assert_eq!(list["items"], json!([]), "it has had all of it");
        assert_eq!(topic.kafka.committed(&theirs, &topic.name), [Some(end + 2)], "and is not set back");
        assert_eq!(member.names().await, Some(Vec::new()));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_group_that_stands_behind_the_end_of_a_log_that_was_cut_off_begins_it_anew() {
        let (topic, group) = (Topic::new(1), group());
        topic.kcat(0, (0..3).map(|n| n.to_string()));
        commit(&topic, &group, 0, 10);
        let mut member = serving_in(&topic, &group, &[]).await;
        let names = member.holds(3).await;
        assert_eq!(member.settle(&names[0]).await, Some(204));
        member.terminate().await;
        assert_eq!(topic.kafka.committed(&group, &topic.name), [Some(1)]);
        // And one that stands before its beginning is told of, for that is lost.
        topic.kafka.trim(&topic.name, 0, 2);
        let member = serving_in(&topic, &group, &[]).await;
        assert_eq!(member.holds(1).await, names[2..]);
        assert!(member.log().contains("retention has taken what the group had not done"));
        assert_eq!(member.settle(&names[2]).await, Some(204));
        committed_to_the_end(&topic, &group).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_connection_of_which_nothing_comes_is_made_anew_and_one_that_is_not_asked_is_not() {
        let (topic, idle, stuck) = (Topic::new(1), group(), group());
        topic.kcat(0, (0..3).map(|n| n.to_string()));
        let full = serving_in(&topic, &idle, &["--window", "1", "--stall-after", "1s"]).await;
        full.holds(1).await;
        // Its first record may have been long in coming.
        let before = full.figure("longshore_kafka_stalls_total", "").await;
        // Brokers wait for more than there is, or for longer than anybody has patience.
        let wait = ["--property", "fetch.min.bytes=1000000", "--property", "fetch.wait.max.ms=50000"];
        let member = serving_in(&topic, &stuck, &[&wait[..], &["--stall-after", "1s"]].concat()).await;
        until("a stall", async || (member.figure("longshore_kafka_stalls_total", "").await >= 2.0).then_some(())).await;
        topic.kcat(0, (0..40).map(|_| "x".repeat(100_000)));
        until("what came", async || member.names().await.filter(|names| names.len() >= 3)).await;
        assert_eq!(full.figure("longshore_kafka_stalls_total", "").await, before);
    }
}
