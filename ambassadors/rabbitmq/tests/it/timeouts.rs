//! A broker that does not wait for as long as work takes.

use longshore_tests::until;
use serde_json::json;
use test_servers::RabbitMq;

use crate::program::serving;
use crate::queue::Queue;

mod needs_rabbitmq {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn messages_that_are_taken_back_are_told_of_come_again_and_are_settled_then() {
        let rabbit = RabbitMq::start(&[("consumer_timeout", "2000")]);
        let queue = Queue::of(&rabbit, json!({"x-queue-type": "quorum"}));
        queue.fill(4);
        let program = serving(&queue, &[]).await;
        let mut names = program.holds(4).await;
        let failed = names.remove(0);
        program.settles(&format!("{failed}?outcome=failed")).await;
        let times = async || program.figure("longshore_rabbitmq_errors_total", "held-too-long").await;
        until("the broker to take them back", async || (times().await >= 1.0).then_some(())).await;
        for says in ["--settle on-get", "/v1/withheld"] {
            assert!(program.log().contains(says), "{}", program.log());
        }
        // Whoever worked on them all the while settles them, whether they are at hand just now or not.
        for name in &names {
            until("204", async || (program.settle(name).await? == 204).then_some(())).await;
        }
        program.is_empty().await;
        // What failed for good and has nowhere to go is nobody's work again, however often it comes.
        let before = times().await;
        until("it to be taken back again", async || (times().await > before).then_some(())).await;
        let withheld = program.withholds(1).await;
        assert_eq!((&withheld[0]["reason"], program.names().await), (&json!("dead-letter"), Some(Vec::new())));
        program.settles(&failed).await;
        until("an empty queue", async || (queue.depth() == 0).then_some(())).await;

        // Who settles what is read is not waited for.
        queue.fill(3);
        drop(program);
        let program = serving(&queue, &["--settle", "on-get"]).await;
        for name in program.holds(3).await {
            // It may be taken back in between, and be read when it is here again.
            let path = format!("/v1/items/{name}");
            until("it to be read", async || [200, 410].contains(&program.ask(&path).await?.0).then_some(())).await;
        }
        program.is_empty().await;
    }
}
