//! A broker that stands still: its connections stay open and nobody answers.

use longshore_tests::until;
use serde_json::json;
use test_servers::{RabbitMq, Server};

use crate::program::serving;
use crate::queue::Queue;

mod needs_rabbitmq {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn it_is_told_of_costs_nothing_however_long_it_takes_and_all_is_there_again_after_it() {
        let rabbit = RabbitMq::start(&[]);
        let name = {
            let queue = Queue::of(&rabbit, json!({"x-queue-type": "quorum"}));
            queue.fill(5);
            queue.name
        };
        let program = serving(&Queue { rabbit: &rabbit, name }, &["--heartbeat", "2s"]).await;
        let names = program.holds(5).await;
        let before = program.threads();
        rabbit.pause();
        program.is_red("cannot").await;
        assert_eq!(program.ask("/v1/items").await.expect("an answer").0, 503);
        let attempts = async || program.figure("longshore_rabbitmq_errors_total", "away").await;
        let so_far = attempts().await;
        until("more attempts", async || (attempts().await >= so_far + 4.0).then_some(())).await;
        // One of each attempt would be left, if lapin waited for an answer to its close.
        until("no more threads than before", async || (program.threads() <= before + 1).then_some(())).await;
        rabbit.resume();
        program.ready(200).await;
        assert_eq!(program.holds(5).await, names);
        for name in &names {
            until("204", async || (program.settle(name).await? == 204).then_some(())).await;
        }
        program.is_empty().await;
    }

    /// Whether its process stands still. Its name is RabbitMQ's way to call it.
    fn suspend(queue: &Queue<'_>, still: bool) {
        let what = if still { "suspend" } else { "resume" };
        let told = queue.rabbit.ctl().args(["eval", &format!("sys:{what}('%2F_{}').", queue.name)]).output();
        let told = told.expect("rabbitmqctl runs");
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    }

    /// RabbitMQ does not know then how much waits, and says that it is nothing.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_queue_of_which_nobody_knows_is_not_said_to_be_empty() {
        let queue = Queue::of(RabbitMq::shared(), json!({"x-queue-type": "quorum"}));
        queue.fill(3);
        let program = serving(&queue, &["--window", "1"]).await;
        let names = program.holds(1).await;
        suspend(&queue, true);
        assert_eq!(program.settle(&names[0]).await, Some(204));
        for _ in 0..100 {
            let (status, list) = program.ask("/v1/items").await.expect("an answer");
            assert!(status == 503 || list["metadata"]["backlog"].as_u64() > Some(0), "{status} {list}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        suspend(&queue, false);
        assert_eq!(program.drained(&[410]).await, ["item 1", "item 2"]);
    }
}
