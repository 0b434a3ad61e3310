//! `kill -9` of a member of a group at every place where state changes hands. The places are read from the sources, so that one which is
//! never passed fails the test as surely as one that is not survived.

mod needs_kafka {
    use std::collections::BTreeSet;
    use std::path::Path;

    use crate::members::{Member, group};
    use crate::topic::{Topic, until};

    fn points() -> BTreeSet<String> {
        let (mut found, mut todo) = (BTreeSet::new(), vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")]);
        while let Some(dir) = todo.pop() {
            for entry in dir.read_dir().expect("sources").flatten() {
                let path = entry.path();
                if path.is_dir() {
                    todo.push(path);
                } else {
                    let text = std::fs::read_to_string(&path).expect("a source file");
                    let calls = text.split("point(\"").skip(1).filter_map(|rest| rest.split('"').next());
                    found.extend(calls.map(str::to_owned));
                }
            }
        }
        found
    }

    /// Settles all that is listed, the first as failed, until the group has all of it or the member is dead. Whether it has.
    async fn drain(member: &mut Member, topic: &Topic<'_>, group: &str) -> bool {
        let end = topic.kafka.end_offsets(&topic.name)[0];
        until("an end", async || {
            for name in member.listed().await.unwrap_or_default() {
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
        let mut first = Member::start(&topic, &group, &flags, &faults).await;
        let whole = drain(&mut first, &topic, &group).await;
        until("the kill", async || first.is_over().then_some(())).await;
        let mut second = Member::start(&topic, &group, &flags, &[]).await;
        assert!(drain(&mut second, &topic, &group).await || whole, "{point}");
        let letters = dead.kafka.end_offsets(&dead.name)[0];
        assert!((1..=2).contains(&letters), "{point}: {letters} dead letters of one record");
        std::fs::read_to_string(log.path()).expect("what was passed").lines().map(str::to_owned).collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn every_place_is_passed_and_survived() {
        let points = points();
        assert!(points.len() >= 4, "only {points:?}");
        let mut passed = BTreeSet::new();
        for point in &points {
            passed.extend(survive(point).await);
        }
        assert_eq!(passed, points);
    }
}
