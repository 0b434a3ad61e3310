//! Members of the group that are none of ours.

use std::process::{Command, Stdio};

use longshore_tests::until;
use test_servers::queue_client;

use crate::program::{group, serving_in};
use crate::topic::Topic;

/// A member that shares partitions out as Java's consumers do by default, until its input ends; it says when it is one.
const RANGE: &str = "\
import select, sys
from confluent_kafka import Consumer
brokers, group, topic = sys.argv[1:]
member = Consumer({'bootstrap.servers': brokers, 'group.id': group, 'partition.assignment.strategy': 'range', 'enable.auto.commit': False})
member.subscribe([topic], on_assign=lambda *_: print('in', flush=True))
while not select.select([sys.stdin], [], [], 0)[0]:
    member.poll(0.1)
member.close()
";

mod needs_kafka {
    use std::io::{BufRead, BufReader};

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn who_cannot_join_those_that_are_there_is_told_why_and_joins_when_they_are_gone() {
        let (topic, group) = (Topic::new(1), group());
        topic.kcat(0, ["one".to_owned()]);
        let mut python = Command::new(queue_client("python"));
        python.args(["-c", RANGE, &topic.brokers(), &group, &topic.name]);
        let mut stranger = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut said = String::new();
        BufReader::new(stranger.stdout.take().expect("piped")).read_line(&mut said).expect("it says so");
        assert_eq!(said, "in\n");
        let member = serving_in(&topic, &group, &[]).await;
        let why = until("why", async || Some(member.ready(503).await).filter(|why| why.contains("cannot join"))).await;
        assert!(why.contains(&group) && why.contains("cooperative-sticky"), "{why}");
        drop(stranger.stdin.take());
        assert!(stranger.wait().expect("it ends").success());
        member.ready(200).await;
        member.holds(1).await;
    }
}
