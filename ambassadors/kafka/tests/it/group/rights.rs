//! Rights that are missing, are taken away and come back: told with what is missing, and nothing is passed over meanwhile.

use std::process::Command;

use longshore_tests::{Ambassador, until};
use test_servers::{Kafka, KafkaListener, KafkaResource};

use super::workers::{committed, committed_to_the_end};
use crate::program::{command, group, serving_in};
use crate::topic::Topic;

mod needs_kafka {
    use super::*;

    const PASSWORD: &str = "its-secret";

    /// A user of the shared Kafka, who may do nothing yet.
    struct User {
        name: String,
        bootstrap: String,
        password: tempfile::NamedTempFile,
    }

    impl User {
        fn new() -> Self {
            let kafka = Kafka::shared();
            let name = format!("user-{:x}", fastrand::u64(..));
            kafka.add_user(&name, PASSWORD);
            let password = tempfile::NamedTempFile::new().expect("a file");
            std::fs::write(password.path(), PASSWORD).expect("written");
            Self { name, bootstrap: format!("bootstrap.servers={}", kafka.bootstrap(KafkaListener::Sasl)), password }
        }

        fn flags<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
            let password = self.password.path().to_str().expect("text");
            let mut flags = vec!["--sasl", "scram-sha-256", "--username", &self.name, "--password-file", password];
            // These win over --brokers.
            flags.extend(["--property", &self.bootstrap, "--stall-after", "3s"]);
            flags.extend(more);
            flags
        }

        fn topic(&self, topic: &Topic<'_>, operations: &[&str]) {
            topic.kafka.allow(&self.name, KafkaResource::Topic(&topic.name), operations);
        }

        /// Forbids to read the topic, whatever is allowed; or does so no more.
        fn may_read(&self, topic: &Topic<'_>, may: bool) {
            let plain = topic.kafka.bootstrap(KafkaListener::Plain);
            let mut tool = topic.kafka.tool("org.apache.kafka.tools.AclCommand");
            tool.args(["--bootstrap-server", &plain]).args(if may {
                vec!["--remove", "--force"]
            } else {
                vec!["--add"]
            });
            tool.args(["--deny-principal", &format!("User:{}", self.name), "--operation", "Read"]);
            let done = tool.args(["--topic", &topic.name]).output().expect("the tool runs");
            assert!(done.status.success(), "{done:?}");
        }

        fn group(&self, group: &str) {
            Kafka::shared().allow(&self.name, KafkaResource::Group(group), &["READ"]);
        }
    }

    fn topic() -> Topic<'static> {
        let topic = Topic::new(1);
        topic.kcat(0, (0..4).map(|n| format!("item {n}")));
        topic
    }

    async fn status(member: &Ambassador, path: &str) -> u16 {
        member.ask(path).await.expect("an answer").0
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn without_a_right_on_the_group_readiness_and_check_name_it() {
        let (topic, group, user) = (topic(), group(), User::new());
        user.topic(&topic, &["DESCRIBE", "READ"]);
        let member = serving_in(&topic, &group, &user.flags(&[])).await;
        let why = until("why", async || Some(member.ready(503).await).filter(|why| why.contains("on the group"))).await;
        assert!(why.contains(&group), "{why}");
        assert_eq!(status(&member, "/v1/items").await, 503);
        let check = |topic: &Topic<'_>| {
            let check: Command = command(topic, &user.flags(&["--mode", "group", "--group", &group, "--check"]));
            // Ended by force, it would have waited for as long as a request may take.
            let mut timed = Command::new("timeout");
            timed.args(["200", "env", "LONGSHORE_REQUEST_TIMEOUT=1h"]).arg(check.get_program()).args(check.get_args());
            let output = timed.output().expect("it runs");
            (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
        };
        let (code, said) = tokio::task::block_in_place(|| check(&topic));
        assert!(code == Some(77) && said.contains(&group) && said.contains("on the group"), "{code:?} {said}");
        // Who may look at a group may not be in it.
        topic.kafka.allow(&user.name, KafkaResource::Group(&group), &["DESCRIBE"]);
        until("the other right", async || {
            let why = member.ready(503).await;
            (why.contains("join the group") && why.contains("on the group")).then_some(())
        })
        .await;
        let (code, said) = tokio::task::block_in_place(|| check(&topic));
        assert!(code == Some(77) && said.contains(&format!("join the group {group:?}")), "{code:?} {said}");
        user.group(&group);
        member.ready(200).await;
        member.holds(4).await;
        let (code, said) = tokio::task::block_in_place(|| check(&topic));
        assert_eq!(code, Some(0), "{said}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_may_look_at_the_topic_and_not_read_it_is_told() {
        let (topic, group, user) = (topic(), group(), User::new());
        user.topic(&topic, &["DESCRIBE"]);
        user.group(&group);
        let member = serving_in(&topic, &group, &user.flags(&[])).await;
        until("why", async || {
            let why = member.ready(503).await;
            (why.contains(&topic.name) && why.contains("allow Describe and Read on the topic")).then_some(())
        })
        .await;
        assert_eq!(status(&member, "/v1/items").await, 503, "what may not be read is not nothing");
        user.topic(&topic, &["READ"]);
        member.ready(200).await;
        member.holds(4).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn rights_that_are_taken_away_and_given_back_lose_nothing() {
        let (topic, group, user) = (topic(), group(), User::new());
        let give = || {
            user.topic(&topic, &["DESCRIBE", "READ"]);
            user.group(&group);
        };
        give();
        let member = serving_in(&topic, &group, &user.flags(&[])).await;
        let names = member.holds(4).await;
        assert_eq!(member.settle(&names[0]).await, Some(204));
        committed(&topic, &group, &[Some(1)]).await;
        for round in 1..3 {
            // All of them; or that to read alone, and nothing comes by which one would see that it is back.
            let all = round == 1;
            if all {
                topic.kafka.revoke(&user.name)
            } else {
                user.may_read(&topic, false)
            };
            member.ready(503).await;
            assert_eq!(status(&member, "/v1/items").await, 503);
            assert_eq!(member.settle(&names[round]).await, Some(503), "nothing is settled that cannot be");
            if all {
                topic.kcat(0, ["meanwhile".to_owned()]);
                give();
            } else {
                user.may_read(&topic, true);
            }
            member.ready(200).await;
            let listed = member.holds(5 - round).await;
            assert_eq!(listed[..4 - round], names[round..], "what was not settled is there");
            assert_eq!(member.settle(&names[round]).await, Some(204));
            committed(&topic, &group, &[Some(round as u64 + 1)]).await;
        }
        for name in member.holds(2).await {
            assert_eq!(member.settle(&name).await, Some(204));
        }
        committed_to_the_end(&topic, &group).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_may_not_be_written_to_the_dead_letter_topic_is_not_settled() {
        let (topic, dead, group, user) = (topic(), Topic::new(1), group(), User::new());
        user.topic(&topic, &["DESCRIBE", "READ"]);
        user.topic(&dead, &["DESCRIBE"]);
        user.group(&group);
        let member = serving_in(&topic, &group, &user.flags(&["--dead-letter-topic", &dead.name])).await;
        let warned = async || member.log().contains("allow Write on the topic").then_some(());
        until("a warning before anything has failed", warned).await;
        let names = member.holds(4).await;
        let failed = format!("{}?outcome=failed&reason=bad", names[1]);
        assert_eq!(member.settle(&failed).await, Some(503));
        assert_eq!(member.settle(&names[0]).await, Some(204));
        assert_eq!(member.settle(&names[2]).await, Some(204));
        committed(&topic, &group, &[Some(1)]).await;
        assert_eq!(member.holds(2).await, [names[1].clone(), names[3].clone()], "it is listed still");
        assert!(member.log().contains(&dead.name), "{}", member.log());
        assert_eq!(member.settle(&failed).await, Some(503));
        assert_eq!(topic.kafka.committed(&group, &topic.name), [Some(1)]);
        user.topic(&dead, &["WRITE"]);
        until("it is written", async || (member.settle(&failed).await == Some(204)).then_some(())).await;
        assert_eq!(dead.kafka.end_offsets(&dead.name), [1]);
        committed(&topic, &group, &[Some(3)]).await;
    }
}
