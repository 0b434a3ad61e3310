//! Partitions that go from one member to another.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use longshore_tests::until;

use super::workers::committed_to_the_end;
use crate::program::{group, serving_in};
use crate::topic::Topic;

mod needs_kafka {
    use super::*;

    const EACH: usize = 10;

    fn filled(partitions: u32) -> Topic<'static> {
        let topic = Topic::new(partitions);
        for partition in 0..partitions {
            topic.kcat(partition, (0..EACH).map(|n| format!("item {n}")));
        }
        topic
    }

    fn set(names: Vec<String>) -> BTreeSet<String> {
        names.into_iter().collect()
    }

    /// Every list that a member gives from now on.
    struct Lists(Arc<AtomicBool>, tokio::task::JoinHandle<Vec<BTreeSet<String>>>);

    impl Lists {
        fn watch(url: String) -> Self {
            let over = Arc::<AtomicBool>::default();
            let ended = Arc::clone(&over);
            let lists = tokio::spawn(async move {
                let mut lists = Vec::new();
                while !ended.load(Ordering::Relaxed) {
                    let answer = reqwest::get(format!("{url}/v1/items")).await.expect("it serves");
                    assert_eq!(answer.status().as_u16(), 200);
                    let list: serde_json::Value =
                        serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON");
                    assert_eq!(list["metadata"]["complete"], true);
                    let names = list["items"].as_array().expect("a list").iter();
                    lists.push(names.map(|name| name.as_str().expect("a name").to_owned()).collect());
                }
                lists
            });
            Self(over, lists)
        }

        async fn end(self) -> Vec<BTreeSet<String>> {
            self.0.store(true, Ordering::Relaxed);
            self.1.await.expect("every list was one")
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn names_that_stay_are_listed_throughout_and_those_that_go_are_gone_until_they_are_back() {
        let (topic, group) = (filled(4), group());
        // Whoever stands still for a while is not taken for dead.
        let patient = ["--property", "session.timeout.ms=300000"];
        let one = serving_in(&topic, &group, &patient).await;
        let all = set(one.holds(4 * EACH).await);
        let lists = Lists::watch(one.url().to_owned());
        let mut other = serving_in(&topic, &group, &patient).await;
        let (ours, theirs) = (set(one.holds(2 * EACH).await), set(other.holds(2 * EACH).await));
        assert_eq!(&ours | &theirs, all);
        let gone = theirs.first().expect("some");
        let (status, said) = one.ask(&format!("/v1/items/{gone}")).await.expect("an answer");
        assert_eq!((status, said["reason"].as_str()), (410, Some("Gone")));
        let (status, _) = one.ask(&format!("/v1/items/{}", gone.replace("-0-", "-99-"))).await.expect("an answer");
        assert_eq!(status, 404, "never listed");
        assert_eq!(one.settle(gone).await, Some(204));
        assert!(other.names().await.expect("a list").contains(gone), "whoever has it decides");
        other.terminate().await;
        let back = set(one.holds(4 * EACH - 1).await);
        assert!(!back.contains(gone), "what was settled meanwhile is");
        let seen = lists.end().await;
        assert!(!seen.is_empty() && seen.iter().all(|list| ours.is_subset(list)), "what stays is always listed");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn whoever_is_back_in_time_has_what_it_had_and_nobody_else_notices() {
        let (topic, group) = (filled(4), group());
        let flags = |id: &'static str| ["--property", "session.timeout.ms=300000", "--instance-id", id];
        let (mut one, other) =
            (serving_in(&topic, &group, &flags("one")).await, serving_in(&topic, &group, &flags("two")).await);
        let ours = one.holds(2 * EACH).await;
        let theirs = set(other.holds(2 * EACH).await);
        let before = other.figure("longshore_kafka_rebalances_total", "").await;
        let lists = Lists::watch(other.url().to_owned());
        for orderly in [false, true, false] {
            if orderly {
                one.terminate().await;
            }
            drop(one);
            one = serving_in(&topic, &group, &flags("one")).await;
            assert_eq!(one.holds(2 * EACH).await, ours);
        }
        assert!(lists.end().await.iter().all(|list| *list == theirs));
        assert_eq!(other.figure("longshore_kafka_rebalances_total", "").await, before);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_member_without_partitions_is_ready_lists_nothing_and_takes_over_from_whoever_leaves() {
        let (topic, group) = (filled(2), group());
        let mut members = Vec::new();
        for _ in 0..3 {
            members.push(serving_in(&topic, &group, &[]).await);
        }
        let counts = until("a share of each", async || {
            let mut counts = Vec::new();
            for member in &members {
                counts.push(member.names().await?.len());
            }
            let mut sorted = counts.clone();
            sorted.sort_unstable();
            (sorted == [0, EACH, EACH]).then_some(counts)
        })
        .await;
        for member in &members {
            member.ready(200).await;
        }
        let busy = counts.iter().position(|count| *count == EACH).expect("one of them");
        let mut leaves = members.remove(busy);
        for name in leaves.names().await.expect("a list") {
            assert_eq!(leaves.settle(&name).await, Some(204));
        }
        leaves.terminate().await;
        until("the rest", async || {
            for member in &members {
                for name in member.names().await? {
                    assert_eq!(member.settle(&name).await, Some(204));
                }
            }
            let committed = topic.kafka.committed(&group, &topic.name);
            (committed == [Some(EACH as u64); 2]).then_some(())
        })
        .await;
        committed_to_the_end(&topic, &group).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn of_two_that_say_they_are_the_same_the_earlier_is_told_so_and_lets_the_other_be() {
        let (topic, group) = (filled(2), group());
        let same = ["--property", "session.timeout.ms=300000", "--instance-id", "same"];
        let first = serving_in(&topic, &group, &[&same[..], &["--stall-after", "1h"]].concat()).await;
        first.holds(2 * EACH).await;
        let second = serving_in(&topic, &group, &same).await;
        let why = first.ready(503).await;
        assert!(why.contains("--instance-id \"same\""), "{why}");
        for name in second.holds(2 * EACH).await {
            assert_eq!(second.settle(&name).await, Some(204));
        }
        committed_to_the_end(&topic, &group).await;
        assert!(!second.log().contains("be --instance-id"), "it was put out in turn");
        first.ready(503).await;
    }
}
