//! Kinds of queues, what the broker itself takes away of them, and those whom it gives nothing.

use std::process::{Child, Command, Stdio};

use data_encoding::BASE64;
use longshore_tests::{Ambassador, until};
use serde_json::{Value, json};
use test_servers::{RabbitMq, queue_client};

use crate::program::{command, serving};
use crate::queue::Queue;
use crate::relay::Relay;

/// Somebody who has a queue for himself, until he is dropped.
struct Holder(Child);

impl Holder {
    /// Of the queue itself, or of its messages (`consumer`).
    async fn of(queue: &Queue<'_>, what: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let said = dir.path().join("said");
        let child = Command::new(queue_client("python"))
            .args(["-c", include_str!("client.py"), "hold", &queue.rabbit.url(), &queue.name, what])
            .stdin(Stdio::piped())
            .stdout(std::fs::File::create(&said).expect("a file"))
            .spawn()
            .expect("Python starts");
        let this = Self(child);
        until("him to have it", async || std::fs::read(&said).ok().filter(|said| !said.is_empty())).await;
        this
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

mod needs_rabbitmq {
    use super::*;

    async fn through(relay: &Relay, queue: &Queue<'_>, flags: &[&str]) -> Ambassador {
        let mut command = command(queue, flags);
        command.env("LONGSHORE_URL", relay.url(&queue.rabbit.url()));
        Ambassador::start(command).await
    }

    fn items(list: &Value) -> usize {
        list["items"].as_array().map_or(0, Vec::len)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn messages_come_by_their_priority_and_say_it() {
        let queue = Queue::of(RabbitMq::shared(), json!({"x-max-priority": 9, "x-queue-mode": "lazy"}));
        let message = |priority| json!({"body": format!("of {priority}"), "priority": priority});
        queue.publish(&[1, 5, 3].map(message));
        let program = serving(&queue, &["--window", "2"]).await;
        let names = program.holds(2).await;
        assert_eq!(program.data(&names[0]).await["priority"], 5);
        assert_eq!(program.drained(&[]).await, ["of 5", "of 3", "of 1"]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn of_a_queue_with_one_active_consumer_the_next_takes_over_what_the_first_held() {
        let queue = Queue::of(RabbitMq::shared(), json!({"x-queue-type": "quorum", "x-single-active-consumer": true}));
        queue.fill(3);
        let first = serving(&queue, &[]).await;
        let names = first.holds(3).await;
        let second = serving(&queue, &[]).await;
        second.ready(200).await;
        assert_eq!(second.names().await, Some(Vec::new()), "what another holds is not ours");
        drop(first);
        assert_eq!(second.holds(3).await, names);
        second.drained(&[]).await;
        until("an empty queue", async || (queue.depth() == 0).then_some(())).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn whoever_has_a_queue_for_himself_is_told_of_and_waited_for() {
        let rabbit = RabbitMq::shared();
        let (consumed, owned) = (Queue::new(), Queue::unmade(rabbit));
        consumed.fill(1);
        let holders = [Holder::of(&consumed, "consumer").await, Holder::of(&owned, "queue").await];
        let programs = [serving(&consumed, &[]).await, serving(&owned, &[]).await];
        for program in &programs {
            program.is_red("somebody else has the queue for himself").await;
        }
        drop(holders);
        assert_eq!(programs[0].holds(1).await.len(), 1);
        programs[1].is_red("no queue").await;
    }

    /// What was delivered too often, and what comes back to a queue that is full, the broker takes away from under us.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_the_broker_takes_away_is_gone_and_its_settlement_harms_nobody() {
        let rabbit = RabbitMq::shared();
        let dead = Queue::behind_an_exchange(rabbit);
        let (limited, short) = (Queue::unmade(rabbit), Queue::of(rabbit, json!({"x-max-length": 2})));
        let declare = ["--declare", "quorum", "--dead-letter-exchange", &dead.name, "--delivery-limit", "1"];
        let relay = Relay::before(rabbit.address()).await;
        let programs = [through(&relay, &limited, &declare).await, through(&relay, &short, &["--window", "2"]).await];
        programs[0].ready(200).await;
        limited.fill(1);
        short.fill(2);
        let (named, held) = (programs[0].holds(1).await, programs[1].holds(2).await);
        // As many again as it may keep: those that come back are the oldest, and fall out.
        let behind = ["a", "b"].map(|body| json!({"body": body, "message_id": body}));
        short.publish(&behind);
        relay.cut();
        let values = until("what is behind", async || {
            let names = programs[1].names().await.filter(|names| names.len() == 2 && *names != held)?;
            Some(programs[1].values(&names).await)
        })
        .await;
        assert_eq!(values, ["a", "b"]);
        until("a second delivery", async || {
            let (_, item) = programs[0].ask(&format!("/v1/items/{}", named[0])).await?;
            (item["data"]["deliveryCount"] == 1).then_some(())
        })
        .await;
        relay.cut();
        until("the broker to give up", async || (dead.depth() == 1).then_some(())).await;
        for (program, name, left) in [(&programs[0], &named[0], 0), (&programs[1], &held[0], 2)] {
            let list = until("what is left", async || program.list().await.filter(|list| items(list) == left)).await;
            assert_eq!(list["metadata"]["backlog"], 1, "it may be on its way still, as far as anybody can know");
            assert_eq!(program.ask(&format!("/v1/items/{name}")).await.expect("an answer").0, 410);
            program.settles(name).await;
        }
        assert_eq!(dead.drain()[0]["headers"]["x-death"][0]["reason"], "delivery_limit");
    }

    /// RabbitMQ looks at no text and at no depth; lapin ends the connection by a text that is none, and has no more stack some thousand levels
    /// down. Each stands between others, which it would take with it.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_message_whose_texts_are_none_or_whose_headers_have_no_end_is_an_item_as_others_are() {
        let bare = |bytes: &[u8]| format!("base64:{}", BASE64.encode(bytes));
        let queue = Queue::behind_an_exchange(RabbitMq::shared());
        let strange = [
            json!({"body": "of one body", "message_id": bare(b"\xff\xfe \xc3\xbc")}),
            json!({"body": "of one body", "message_id": bare(b"\xff\xfd \xc3\xbc")}),
            json!({"body": "names", "headers": {bare(b"h\xff"): "v", "raw": bare(b"\xff")}, "type": bare(b"\xe9"), "correlation_id": bare(b"\x80")}),
            json!({"body": "key", "exchange": queue.name, "routing_key": bare(b"k\xff")}),
            json!({"body": "deep", "headers": {"deep": "nested:20000", "shallow": "nested:60"}}),
        ];
        let other = |n: usize| json!({"body": format!("item {n}"), "message_id": n.to_string()});
        let pairs = (0..).zip(strange).flat_map(|(n, strange)| [other(n), strange]);
        let messages: Vec<Value> = pairs.chain([other(5)]).collect();
        queue.publish(&messages);
        let mut program = serving(&queue, &[]).await;
        let names = program.holds(11).await;
        program.terminate().await;
        let program = serving(&queue, &[]).await;
        let again = program.holds(11).await;
        let with_id: Vec<usize> = (0..11).filter(|at| at % 2 == 0 || *at < 5).collect();
        assert!(with_id.iter().all(|at| names[*at] == again[*at]), "each has a name of its own, which stays");
        let mut items = Vec::new();
        for name in &again {
            items.push(program.data(name).await);
        }
        assert_eq!([1, 3].map(|at| items[at]["messageId"].clone()), ["\u{7f}~ \u{fc}", "\u{7f}} \u{fc}"]);
        assert_eq!(items[5]["headers"], json!({"h\u{7f}": "v", "rawBase64": "/w=="}));
        assert_eq!(["type", "correlationId"].map(|field| items[5][field].clone()), ["i", "\0"]);
        assert_eq!(["routingKey", "exchange"].map(|field| items[7][field].clone()), ["k\u{7f}", &*queue.name]);
        let levels = |header: &str| {
            let of = |value: &Value| value.as_array().map(|array| array.first().cloned().unwrap_or_default());
            std::iter::successors(of(&items[9]["headers"][header]), of).count()
        };
        assert_eq!((levels("shallow"), levels("deep")), (60, 63));
        let expected: Vec<_> = messages.iter().map(|message| message["body"].as_str().expect("a body")).collect();
        assert_eq!(program.drained(&[]).await, expected);
        until("an empty queue", async || (queue.depth() == 0).then_some(())).await;
        assert!(program.figure("longshore_rabbitmq_connections_total", "").await < 1.5, "{}", program.log());
    }

    /// What a queue adds to it when it comes again makes it larger than anything that may be said at once.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_message_that_cannot_be_read_takes_no_other_with_it() {
        const LARGEST: usize = 131_038;
        let queue = Queue::of(RabbitMq::shared(), json!({"x-queue-type": "quorum"}));
        queue.fill(2);
        queue.publish(&[json!({"body": "", "headers": {"h": "x".repeat(LARGEST)}})]);
        let relay = Relay::before(queue.rabbit.address()).await;
        let program = through(&relay, &queue, &[]).await;
        let names = program.holds(3).await;
        relay.cut();
        until("it to come again", async || {
            (program.figure("longshore_rabbitmq_errors_total", "unreadable").await > 0.5).then_some(())
        })
        .await;
        for name in &names[..2] {
            until("one at a time", async || (program.names().await? == [name.clone()]).then_some(())).await;
            let data = program.data(name).await;
            assert!(data["deliveryCount"].as_i64().expect("it came again") <= 2, "{data}");
            program.settles(name).await;
        }
        until("what cannot be read alone", async || (queue.depth() == 1).then_some(())).await;
    }
}
