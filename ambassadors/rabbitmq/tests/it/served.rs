//! A queue's messages are listed, read, settled and given back.

use serde_json::json;
use test_servers::RabbitMq;

use crate::program::serving;
use crate::queue::Queue;

mod needs_rabbitmq {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn messages_are_listed_in_their_order_and_what_is_not_settled_is_given_back_in_it() {
        let rabbit = RabbitMq::shared();
        let dead = Queue::behind_an_exchange(rabbit);
        for kind in ["classic", "quorum"] {
            given_back(&Queue::of(rabbit, json!({"x-queue-type": kind, "x-dead-letter-exchange": dead.name}))).await;
        }
        assert_eq!(dead.depth(), 0, "what is given back is no dead letter");
    }

    async fn given_back(queue: &Queue<'_>) {
        queue.fill(12);
        let mut program = serving(queue, &["--window", "10", "--dead-letter"]).await;
        let names = program.holds(10).await;
        let list = program.list().await.expect("a list");
        assert_eq!((&list["metadata"]["backlog"], &list["metadata"]["hadItems"]), (&json!(2), &json!(true)));
        let expected: Vec<_> = (0..10).map(|n| format!("item {n}")).collect();
        assert_eq!(program.values(&names).await, expected);
        for name in [&names[3], &names[0], &names[7]] {
            assert_eq!(program.settle(name).await, Some(204));
            assert_eq!(program.settle(name).await, Some(204), "as often as asked");
        }
        let more = program.holds(9).await;
        assert!(more.iter().all(|name| !names.contains(name) || ![0, 3, 7].map(|n| &names[n]).contains(&name)));
        assert_eq!(program.ask(&format!("/v1/items/{}", names[0])).await.expect("an answer").0, 410);
        program.terminate().await;
        let left: Vec<_> = queue.drain().iter().map(|message| message["message_id"].clone()).collect();
        assert_eq!(left, ["1", "2", "4", "5", "6", "8", "9", "10", "11"], "nothing is lost, and all is where it was");
    }
}
