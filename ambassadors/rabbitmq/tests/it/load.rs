//! `--load`, looked at by pika: what lines become, and that none is lost whatever happens meanwhile.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use longshore_tests::{Loader, until};
use serde_json::{Value, json};
use test_servers::{RabbitMq, Server};

use crate::program::command;
use crate::queue::Queue;
use crate::relay::Relay;

/// Exit code and what was said.
fn run(mut command: Command) -> (Option<i32>, String) {
    let output = command.args(["--log", "info"]).output().expect("the program starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

mod needs_rabbitmq {
    use super::*;

    fn file(folder: &Path, text: &str) -> PathBuf {
        let path = folder.join("lines");
        std::fs::write(&path, text).expect("a file");
        path
    }

    fn load(queue: &Queue<'_>, file: &Path, flags: &[&str]) -> Command {
        let mut command = command(queue, flags);
        command.arg("--load").arg(file);
        command
    }

    fn bodies(messages: &[Value]) -> Vec<String> {
        let body = |message: &Value| {
            let bytes = data_encoding::BASE64.decode(message["base64"].as_str().expect("text").as_bytes());
            String::from_utf8(bytes.expect("base64")).expect("text")
        };
        messages.iter().map(body).collect()
    }

    #[test]
    fn lines_are_messages_to_whoever_looks_at_them_and_a_wrong_one_is_named() {
        let (rabbit, folder) = (RabbitMq::shared(), tempfile::tempdir().expect("a folder"));
        let queue = Queue::unmade(rabbit);
        let lines = file(folder.path(), "a\tfirst\nb\tsecond\n\nc\t\n");
        let flags = ["--load-key", "tab", "--load-header", "kind=clip", "--declare", "quorum"];
        let (code, said) = run(load(&queue, &lines, &flags));
        assert!(code == Some(0) && said.contains("4 lines are loaded into queue"), "{said}");
        let messages = queue.drain();
        assert_eq!(bodies(&messages), ["first", "second", ""]);
        let ids: Vec<_> = messages.iter().map(|message| message["message_id"].clone()).collect();
        assert_eq!(ids, ["a", "b", "c"]);
        assert!(messages.iter().all(|message| message["delivery_mode"] == 2 && message["headers"]["kind"] == "clip"));
        // Again, with nothing new in it.
        let (code, said) = run(load(&queue, &lines, &flags));
        assert!(code == Some(0) && said.contains("were so before") && queue.depth() == 0, "{said}");
        let (code, said) = run(load(&queue, &lines, &[&flags[..], &["--source-id", "another"]].concat()));
        assert!(code == Some(78) && said.contains(&rabbit.address()) && said.contains("remove it"), "{said}");

        let line = json!({"value": {"n": 1}, "key": "k", "headers": {"traceparent": "00-1"}});
        for (text, code, says) in [
            (format!("{line}\n"), 0, "1 lines"),
            (format!("{line}\n{}\n", json!({"value": null})), 65, "line 2: a message has a body"),
            (format!("{line}\n{}\n", json!({"value": "a", "partition": 1})), 65, "line 2: a queue has no partitions"),
            (format!("{}\n", json!({"value": "a", "key": "k".repeat(256)})), 65, "at most 255 bytes"),
            (
                format!("{line}\n{}\n", json!({"value": "a", "headers": {"long": "h".repeat(200 << 10)}})),
                65,
                "line 2: its headers and key have 204",
            ),
        ] {
            let folder = tempfile::tempdir().expect("a folder");
            let (is, said) = run(load(&queue, &file(folder.path(), &text), &["--load-format", "json"]));
            assert!(is == Some(code) && said.contains(says), "{is:?}, not {code}: {said}");
        }
        assert_eq!(bodies(&queue.drain()), vec!["{\"n\":1}"; 4]);
    }

    #[test]
    fn what_no_queue_takes_and_where_nothing_is_are_errors() {
        let (rabbit, folder) = (RabbitMq::shared(), tempfile::tempdir().expect("a folder"));
        let (queue, none) = (Queue::behind_an_exchange(rabbit), Queue::unmade(rabbit));
        let lines = file(folder.path(), "a\nb\n");
        let state = folder.path().join("state");
        let stateless = ["--load-state", state.to_str().expect("text")];
        let to = |exchange: &str, key: &str| {
            let _ = std::fs::remove_file(&state);
            let flags = ["--load-exchange", exchange, "--load-routing-key", key];
            run(load(&queue, &lines, &[&flags[..], &stateless].concat()))
        };
        let (code, said) = to(&queue.name, "any");
        assert!(code == Some(0) && queue.depth() == 2, "{said}");
        let (code, said) = to("amq.direct", "nothing is bound by this");
        assert!(code == Some(78) && said.contains("no queue takes it") && said.contains("line 1"), "{code:?} {said}");
        let (code, said) = to("no-such-exchange", "any");
        assert!(code == Some(78) && said.contains("no exchange 'no-such-exchange'"), "{code:?} {said}");
        let (code, said) = run(load(&none, &lines, &[]));
        assert!(code == Some(78) && said.contains("no queue"), "{code:?} {said}");
        // Each second one from the tenth on goes nowhere, and none before is taken for it. Where nothing is written to a disk, many are
        // confirmed by one answer.
        let by_headers = format!("by-headers-{}", queue.name);
        let (name, from, to) =
            (format!("name={by_headers}"), format!("source={by_headers}"), format!("destination={by_headers}"));
        rabbit.ask(&["declare", "exchange", &name, "type=headers"]);
        rabbit.ask(&["declare", "queue", &name, "durable=false"]);
        rabbit.ask(&["declare", "binding", &from, &to, r#"arguments={"kind": "a", "x-match": "all"}"#]);
        let kind = |n: usize| if n >= 10 && n.is_multiple_of(2) { "b" } else { "a" };
        let line = |n| format!("{}\n", json!({"value": n, "headers": {"kind": kind(n)}}));
        let lines = file(folder.path(), &(1..=2_000).map(line).collect::<String>());
        for _ in 0..6 {
            let _ = std::fs::remove_file(&state);
            let flags = ["--load-exchange", &by_headers, "--load-format", "json"];
            let (code, said) = run(load(&queue, &lines, &[&flags[..], &stateless].concat()));
            assert!(code == Some(78) && said.contains("line 10: ") && said.contains("; 9 lines"), "{code:?} {said}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_queue_that_is_full_is_waited_for_in_order_but_not_for_ever() {
        let folder = tempfile::tempdir().expect("a folder");
        let queue = Queue::of(RabbitMq::shared(), json!({"x-max-length": 10, "x-overflow": "reject-publish"}));
        let all: Vec<_> = (0..40).map(|n| format!("line {n}")).collect();
        let lines = file(folder.path(), &all.join("\n"));
        let (code, said) = run(load(&queue, &lines, &["--load-patience", "3s"]));
        assert!(code == Some(69) && said.contains("run it again"), "{code:?} {said}");
        let mut loader = Loader::start(load(&queue, &lines, &[]));
        loader.says("the broker refuses messages").await;
        let mut taken = Vec::new();
        until("all lines", async || {
            taken.extend(bodies(&queue.drain()));
            taken.contains(&all[39]).then_some(())
        })
        .await;
        loader.ends().await;
        // Where all stood still for so long that it gave up on what was under way, some came twice.
        let mut seen = std::collections::HashSet::new();
        taken.retain(|body| seen.insert(body.clone()));
        assert_eq!(taken, all);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_limit_of_connections_passes_and_a_password_that_is_another_does_not() {
        let (queue, user) = (Queue::new(), format!("loader-{:x}", fastrand::u64(..)));
        let rabbit = queue.rabbit;
        let declare_user = |password: &str| {
            rabbit.ask(&["declare", "user", &format!("name={user}"), &format!("password={password}"), "tags="]);
        };
        declare_user("first");
        let named = format!("user={user}");
        rabbit.ask(&["declare", "permission", "vhost=/", &named, "configure=", "write=.*", "read=.*"]);
        let limit = format!("{}/api/user-limits/{user}/max-connections", rabbit.management_url());
        let http = |method: reqwest::Method| {
            let request =
                reqwest::Client::new().request(method, &limit).basic_auth("longshore", Some(rabbit.password()));
            async move {
                let request = request.header("content-type", "application/json");
                let answer = request.body(r#"{"value": 0}"#).send().await.expect("an answer");
                assert!(answer.status().is_success(), "{answer:?}");
            }
        };
        let relay = Relay::before(rabbit.address()).await;
        let mut command = command(&queue, &["--load", "-"]);
        command.env("LONGSHORE_URL", relay.url(&format!("amqp://{user}:first@{}/%2f", rabbit.address())));
        let mut loader = Loader::start(command);
        let line = |n: usize| [format!("line {n}")];
        loader.feed(line(1));
        until("the first line", async || (queue.depth() == 1).then_some(())).await;
        http(reqwest::Method::PUT).await;
        relay.cut();
        loader.feed(line(2));
        loader.says("limit (0) is reached").await;
        http(reqwest::Method::DELETE).await;
        until("the next line", async || (queue.depth() == 2).then_some(())).await;
        declare_user("second");
        relay.cut();
        loader.feed(line(3));
        let (code, said) = loader.fails().await;
        assert!(code == Some(77) && said.contains("does not take our credentials"), "{code:?} {said}");
        assert!(said.contains("line 3: ") && said.contains("; 2 lines are loaded"), "{said}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_broker_that_is_killed_or_full_is_waited_for_and_no_line_is_lost() {
        let mut rabbit = RabbitMq::start(&[]);
        let name = {
            let queue = Queue::of(&rabbit, json!({"x-queue-type": "quorum"}));
            queue.name
        };
        let lines = |numbers: std::ops::Range<usize>| numbers.map(|n| format!("line {n}"));
        fn queue<'a>(rabbit: &'a RabbitMq, name: &str) -> Queue<'a> {
            Queue { rabbit, name: name.to_owned() }
        }
        let mut loader =
            Loader::start(command(&queue(&rabbit, &name), &["--load", "-", "--load-key", "line", "--heartbeat", "5s"]));
        loader.feed(lines(0..1_000));
        until("the first lines", async || (queue(&rabbit, &name).depth() > 0).then_some(())).await;
        loader.feed(lines(1_000..2_000));
        rabbit.kill();
        loader.feed(lines(2_000..3_000));
        loader.says("is published again").await;
        rabbit.restart();
        until("those as well", async || (queue(&rabbit, &name).depth() >= 3_000).then_some(())).await;
        // It blocks whoever publishes, and says so.
        rabbit.disk_alarm(true);
        loader.feed(lines(3_000..3_010));
        loader.says("the broker takes no messages now").await;
        rabbit.disk_alarm(false);
        loader.says("the broker takes messages again").await;
        let said = loader.ends().await;
        assert!(said.contains("3010 lines are loaded"), "{said}");
        let mut times: HashMap<String, usize> = HashMap::new();
        for body in bodies(&queue(&rabbit, &name).drain()) {
            *times.entry(body).or_default() += 1;
        }
        assert!(
            (0..3_010).all(|n| times.contains_key(&format!("line {n}"))) && times.len() == 3_010,
            "{}",
            times.len()
        );
    }
}
