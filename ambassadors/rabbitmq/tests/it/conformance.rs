//! The contract's own suite, over queues.

use clap::Parser;
use longshore_tests::source::{keeps_the_contract, listed, live};
use rabbitmq_ambassador::{QueueArgs, QueueSource};
use serde_json::json;
use sidecar::metrics::registry::Registry;
use test_servers::RabbitMq;

use crate::queue::Queue;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    queue: QueueArgs,
}

mod needs_rabbitmq {
    use super::*;

    async fn kept(queue: &Queue<'_>, flags: &[&str], settle: bool, least: usize) {
        let mut messages: Vec<_> =
            (0..60).map(|n| json!({"body": format!("{{\"clip\":{n}}}"), "message_id": n.to_string()})).collect();
        messages.push(json!({"body": "no object"}));
        queue.publish(&messages);
        let url = queue.rabbit.url();
        let own =
            ["p", "--url", &url, "--queue", &queue.name, "--poll", "100ms", "--payload", "json", "--heartbeat", "2m"];
        let line = Line::try_parse_from([&own[..], flags].concat()).unwrap_or_else(|error| panic!("{error}"));
        let settings = line.queue.settings().expect("settings");
        let source = QueueSource::open(settings, &mut Registry::default());
        live(&source).await;
        listed(&source, 60).await;
        keeps_the_contract(source, settle, least).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_queue_keeps_every_promise_of_the_contract() {
        let rabbit = RabbitMq::shared();
        let dead = Queue::behind_an_exchange(rabbit);
        let quorum = Queue::of(rabbit, json!({"x-queue-type": "quorum"}));
        let rejecting = Queue::of(rabbit, json!({"x-dead-letter-exchange": dead.name}));
        let plain = Queue::new();
        tokio::join!(
            kept(&quorum, &[], true, 30),
            kept(&rejecting, &["--dead-letter"], true, 30),
            kept(&plain, &[], false, 26)
        );
    }
}
