//! A topic that is shared out among the members of a group.

mod needs_kafka {
    use std::collections::BTreeSet;

    use longshore_tests::until;

    use crate::group::workers::committed;
    use crate::program::{group, serving_in};
    use crate::topic::Topic;

    #[tokio::test(flavor = "multi_thread")]
    async fn commits_never_pass_what_is_not_settled_and_a_kill_loses_nothing() {
        let (topic, group) = (Topic::new(2), group());
        for partition in 0..2 {
            topic.kcat(partition, (0..60).map(|n| format!("item {n}")));
        }
        let member = serving_in(&topic, &group, &["--window", "50", "--instance-id", "one"]).await;
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
        let member = serving_in(&topic, &group, &["--window", "50", "--instance-id", "one"]).await;
        let mut settled = BTreeSet::new();
        until("all of it", async || {
            for name in member.names().await? {
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
    async fn a_topic_that_was_made_again_is_new_work_and_its_lack_is_told() {
        let (topic, group) = (Topic::new(1), group());
        topic.kcat(0, (0..5).map(|n| format!("item {n}")));
        let member = serving_in(&topic, &group, &[]).await;
        let before = member.holds(5).await;
        for name in &before {
            assert_eq!(member.settle(name).await, Some(204));
        }
        committed(&topic, &group, &[Some(5)]).await;
        topic.kafka.delete_topic(&topic.name);
        member.ready(503).await;
        topic.kafka.create_topic(&topic.name, 1, &[]);
        topic.kcat(0, (0..5).map(|n| format!("item {n}")));
        let after = member.holds(5).await;
        assert!(after.iter().all(|name| !before.contains(name)), "{before:?} {after:?}");
        let (status, _) = member.ask(&format!("/v1/items/{}", before[4])).await.expect("an answer");
        assert_eq!(status, 410, "it went with the topic that it was of");
        assert_eq!(member.settle(&before[4]).await, Some(204));
        assert_eq!(member.names().await, Some(after), "and says nothing of what lies there now");
    }
}
