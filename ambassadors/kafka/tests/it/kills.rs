//! `kill -9` of a member of a group at every place where state changes hands. The places are read from the sources, so that one which is
//! never passed fails the test as surely as one that is not survived.

mod needs_kafka {
    use std::collections::BTreeSet;

    use longshore_tests::sources::fault_points_below;
    use longshore_tests::{Ambassador, until};

    use crate::program::{group, in_group, serving_in};
    use crate::topic::Topic;

    /// Settles all that is listed, the first as failed, until the group has all of it or the member is dead. Whether it has.
    async fn drain(member: &mut Ambassador, topic: &Topic<'_>, group: &str) -> bool {
        let end = topic.kafka.end_offsets(&topic.name)[0];
        until("an end", async || {
            for name in member.names().await.unwrap_or_default() {
                let query = if name.contains("-0-0-") { "?outcome=failed&reason=poison" } else { "" };
                member.settle(&format!("{name}{query}")).await;
            }
            let whole = topic.kafka.committed(group, &topic.name) == [Some(end)];
            (whole || member.is_over()).then_some(whole)
        })
        .await
    }

    async fn survive(point: &str) -> BTreeSet<String> {
        let (topic, dead, group) = (Topic::new(1), Topic::new(1), group());
        topic.kcat(0, (0..6).map(|n| format!("item {n}")));
        let log = tempfile::NamedTempFile::new().expect("a file");
        let flags = ["--instance-id", "one", "--dead-letter-topic", &dead.name];
        // The first commit is that of the start, before anything is listed.
        let nth = if point.starts_with("kafka.commit") { "#2" } else { "" };
        let fault = format!("{point}{nth}=kill");
        let faults =
            [("LONGSHORE_FAULT", fault.as_str()), ("LONGSHORE_FAULT_LOG", log.path().to_str().expect("a path"))];
        let mut first = in_group(&topic, &group, &flags);
        first.envs(faults);
        let mut first = Ambassador::start(first).await;
        let whole = drain(&mut first, &topic, &group).await;
        until("the kill", async || first.is_over().then_some(())).await;
        let mut second = serving_in(&topic, &group, &flags).await;
        assert!(drain(&mut second, &topic, &group).await || whole, "{point}");
        let letters = dead.kafka.end_offsets(&dead.name)[0];
        assert!((1..=2).contains(&letters), "{point}: {letters} dead letters of one record");
        std::fs::read_to_string(log.path()).expect("what was passed").lines().map(str::to_owned).collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn every_place_is_passed_and_survived() {
        let points = fault_points_below("ambassadors/kafka/src");
        assert!(points.len() >= 4, "only {points:?}");
        let mut passed = BTreeSet::new();
        for point in &points {
            passed.extend(survive(point).await);
        }
        assert_eq!(passed, points);
    }
}
