//! A topic that is shared out among the members of a group.

mod needs_kafka {
    use std::collections::BTreeSet;

    use crate::members::{Member, group};
    use crate::topic::{Topic, until};

    async fn committed(topic: &Topic<'_>, group: &str, wanted: &[Option<u64>]) {
        until(&format!("{wanted:?}"), async || (topic.kafka.committed(group, &topic.name) == wanted).then_some(()))
            .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn commits_never_pass_what_is_not_settled_and_a_kill_loses_nothing() {
        let (topic, group) = (Topic::new(2), group());
        for partition in 0..2 {
            topic.kcat(partition, (0..60).map(|n| format!("item {n}")));
        }
        let member = Member::start(&topic, &group, &["--window", "50", "--instance-id", "one"], &[]).await;
        let names = member.holds(50).await;
        let item = member.ask(&format!("/v1/items/{}", names[0])).await.expect("an answer");
        assert_eq!((item.0, item.1["data"]["value"].as_str()), (200, Some("item 0")));
        let first = |partition: &str| names.iter().find(|name| name.contains(&format!("-{partition}-0-"))).cloned();
        let firsts: BTreeSet<String> = ["0", "1"].into_iter().filter_map(first).collect();
        for name in names.iter().rev().filter(|name| !firsts.contains(*name)) {
            assert_eq!(member.settle(name).await, Some(204));
        }
        let more = member.holds(50).await;
        assert!(more.iter().all(|name| !names.contains(name) || firsts.contains(name)), "the window moves on");
        drop(member);
        let held = topic.kafka.committed(&group, &topic.name);
        assert!(firsts.iter().all(|name| held[usize::from(name.contains("-1-0-"))].unwrap_or(0) == 0), "{held:?}");
        let member = Member::start(&topic, &group, &["--window", "50", "--instance-id", "one"], &[]).await;
        let mut settled = BTreeSet::new();
        until("all of it", async || {
            for name in member.listed().await? {
                if member.settle(&name).await == Some(204) {
                    settled.insert(name);
                }
            }
            (topic.kafka.committed(&group, &topic.name) == [Some(60), Some(60)]).then_some(())
        })
        .await;
        assert!(firsts.iter().all(|name| settled.contains(name)));
        member.is_empty().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn names_go_with_their_partitions_and_come_back() {
        let (topic, group) = (Topic::new(4), group());
        for partition in 0..4 {
            topic.kcat(partition, (0..10).map(|n| format!("item {n}")));
        }
        let one = Member::start(&topic, &group, &[], &[]).await;
        let all: BTreeSet<String> = one.holds(40).await.into_iter().collect();
        let mut other = Member::start(&topic, &group, &[], &[]).await;
        let (ours, theirs) = (one.holds(20).await, other.holds(20).await);
        assert_eq!(ours.iter().chain(&theirs).cloned().collect::<BTreeSet<_>>(), all);
        assert_eq!(one.ask(&format!("/v1/items/{}", theirs[0])).await.map(|(status, _)| status), Some(404));
        // Of what is at hand no more a settle is remembered, and whoever has it lists it still; the first of the other partition is
        // committed where it is.
        assert_eq!(one.settle(&theirs[0]).await, Some(204));
        assert_eq!(other.settle(&theirs[10]).await, Some(204));
        assert!(other.listed().await.expect("a list").contains(&theirs[0]));
        other.terminate().await;
        let back: BTreeSet<String> = one.holds(38).await.into_iter().collect();
        assert!(!back.contains(&theirs[0]) && back.contains(&ours[0]), "what was settled is not listed again");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_no_item_goes_to_the_dead_letter_topic_or_waits() {
        let (topic, dead, letters, none) = (Topic::new(1), Topic::new(1), group(), group());
        topic.kcat(0, ["{\"n\":1}", "no object", "{\"n\":2}"].map(str::to_owned));
        let member =
            Member::start(&topic, &letters, &["--payload", "json", "--dead-letter-topic", &dead.name], &[]).await;
        let names = member.holds(2).await;
        assert_eq!(member.settle(&format!("{}?outcome=failed&reason=bad%20luck", names[0])).await, Some(204));
        assert_eq!(member.settle(&names[1]).await, Some(204));
        committed(&topic, &letters, &[Some(3)]).await;
        assert_eq!(dead.kafka.end_offsets(&dead.name), [2]);
        let member = Member::start(&topic, &none, &["--payload", "json"], &[]).await;
        for name in member.holds(2).await {
            assert_eq!(member.settle(&name).await, Some(204));
        }
        committed(&topic, &none, &[Some(1)]).await;
        let (_, withheld) = member.ask("/v1/withheld").await.expect("an answer");
        assert_eq!(withheld["items"][0]["reason"], "malformed", "{withheld}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_topic_that_was_made_again_is_new_work_and_its_lack_is_told() {
        let (topic, group) = (Topic::new(1), group());
        topic.kcat(0, (0..5).map(|n| format!("item {n}")));
        let member = Member::start(&topic, &group, &[], &[]).await;
        let before = member.holds(5).await;
        for name in &before {
            assert_eq!(member.settle(name).await, Some(204));
        }
        committed(&topic, &group, &[Some(5)]).await;
        topic.kafka.delete_topic(&topic.name);
        until("readiness to turn red", async || (member.probe("/readyz").await?.0 == 503).then_some(())).await;
        topic.kafka.create_topic(&topic.name, 1, &[]);
        topic.kcat(0, (0..5).map(|n| format!("item {n}")));
        let after = member.holds(5).await;
        assert!(after.iter().all(|name| !before.contains(name)), "{before:?} {after:?}");
    }
}
