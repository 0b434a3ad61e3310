//! Whoever works on what is listed, and whoever kills ambassadors, managers and workers meanwhile: nothing is lost.

use longshore_tests::{Ordeal, drained_by_three};
use serde_json::json;
use test_servers::RabbitMq;

use crate::program::command;
use crate::queue::Queue;

mod needs_rabbitmq {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn everybody_is_killed_in_random_order_and_nothing_is_lost() {
        let (queue, ordeal) = (Queue::new(), Ordeal::of(5_000));
        queue.pour(ordeal.items);
        let ambassador = || command(&queue, &["--window", "200"]);
        ordeal.survived_by(vec![ambassador(), ambassador()]).await;
        assert_eq!(queue.drain().len(), 0, "what was done is not there any more");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn three_who_are_killed_again_and_again_drain_a_classic_queue() {
        let queue = Queue::new();
        queue.pour(3_000);
        drained_by_three(|| command(&queue, &["--window", "150"]), 3_000, 400).await;
        assert_eq!(queue.drain().len(), 0, "what was settled is not there any more");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn three_who_are_killed_again_and_again_drain_a_quorum_queue() {
        // Each kill counts a delivery of what was taken, and a queue of RabbitMQ 4 gives up after twenty.
        let queue = Queue::of(RabbitMq::shared(), json!({"x-queue-type": "quorum"}));
        queue.pour(1_500);
        drained_by_three(|| command(&queue, &["--window", "100"]), 1_500, 400).await;
        assert_eq!(queue.drain().len(), 0, "what was settled is not there any more");
    }
}
