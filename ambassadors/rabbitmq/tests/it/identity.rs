//! A message that comes again is the item that it was.

use std::collections::BTreeSet;

use longshore_tests::{Ambassador, until};
use serde_json::{Value, json};
use test_servers::RabbitMq;

use crate::program::{command, serving};
use crate::queue::Queue;
use crate::relay::Relay;

mod needs_rabbitmq {
    use super::*;

    async fn through(relay: &Relay, queue: &Queue<'_>, flags: &[&str]) -> Ambassador {
        let mut command = command(queue, flags);
        command.env("LONGSHORE_URL", relay.url(&queue.rabbit.url()));
        Ambassador::start(command).await
    }

    /// Cuts it off, and lets it come back.
    async fn cut(relay: &Relay, program: &Ambassador) {
        let before = program.figure("longshore_rabbitmq_connections_total", "").await;
        relay.cut();
        until("another connection", async || {
            (program.figure("longshore_rabbitmq_connections_total", "").await > before).then_some(())
        })
        .await;
    }

    /// Messages with ids, without, and two of them alike.
    fn some(queue: &Queue<'_>) {
        let known = (0..5).map(|n| json!({"body": format!("known {n}"), "message_id": format!("id-{n}")}));
        let bare = (0..5).map(|n| json!({"body": format!("bare {n}"), "headers": {"n": n}}));
        let alike = (0..2).map(|_| json!({"body": "alike"}));
        queue.publish(&known.chain(bare).chain(alike).collect::<Vec<Value>>());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn over_connections_that_are_cut_names_stay_and_what_is_settled_does_not_come_back() {
        for kind in ["classic", "quorum"] {
            let queue = Queue::of(RabbitMq::shared(), json!({"x-queue-type": kind}));
            some(&queue);
            let relay = Relay::before(queue.rabbit.address()).await;
            let mut program = through(&relay, &queue, &[]).await;
            let names: BTreeSet<String> = program.holds(12).await.into_iter().collect();
            cut(&relay, &program).await;
            let again: BTreeSet<String> = program.holds(12).await.into_iter().collect();
            assert_eq!(again, names, "{kind}");
            // Settled while nobody can tell the broker: applied when they come again.
            relay.shut();
            program.ready(503).await;
            let (early, late): (Vec<_>, Vec<_>) = names.iter().partition(|name| name.as_bytes().last() < Some(&b'k'));
            for name in &early {
                let settled = until("an answer", async || program.settle(name).await).await;
                assert!(matches!(settled, 204 | 503), "{settled}");
            }
            relay.open();
            program.ready(200).await;
            for name in &early {
                until("204", async || (program.settle(name).await? == 204).then_some(())).await;
            }
            let left: BTreeSet<_> = program.holds(late.len()).await.into_iter().collect();
            assert_eq!(left, late.into_iter().cloned().collect(), "{kind}");
            for name in &left {
                assert_eq!(program.settle(name).await, Some(204));
            }
            program.is_empty().await;
            program.terminate().await;
            assert_eq!(queue.drain(), Vec::<Value>::new(), "{kind}: what is settled is gone");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_settled_as_its_connection_ended_is_told_again_and_not_listed() {
        let rabbit = RabbitMq::shared();
        let dead = Queue::behind_an_exchange(rabbit);
        let queue = Queue::of(rabbit, json!({"x-dead-letter-exchange": dead.name}));
        queue.fill(3);
        let relay = Relay::before(rabbit.address()).await;
        let mut program = through(&relay, &queue, &["--dead-letter"]).await;
        let names = program.holds(3).await;
        relay.deafen();
        // Written, as far as anybody can know, and never heard.
        assert_eq!(program.settle(&names[0]).await, Some(204));
        assert_eq!(program.settle(&format!("{}?outcome=failed", names[1])).await, Some(204));
        assert_eq!(program.holds(1).await, names[2..]);
        relay.cut_unheard().await;
        until("all to come again", async || {
            (program.figure("longshore_rabbitmq_deliveries_total", "true").await >= 3.0).then_some(())
        })
        .await;
        assert_eq!(program.holds(1).await, names[2..], "the others are done");
        until("the rejected one", async || (dead.depth() == 1).then_some(())).await;
        assert_eq!(program.settle(&names[2]).await, Some(204));
        program.is_empty().await;
        program.terminate().await;
        assert_eq!((queue.depth(), dead.depth()), (0, 1));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn over_restarts_names_stay_by_what_a_message_is_known_by() {
        let queue = Queue::new();
        queue.publish(&[
            json!({"body": "a", "message_id": "1", "headers": {"order": "o-1"}}),
            json!({"body": "b", "headers": {"order": "o-2"}}),
            json!({"body": "c"}),
        ]);
        let mut seen = Vec::new();
        for _ in 0..2 {
            let mut program = serving(&queue, &["--identity", "header:order"]).await;
            seen.push(program.holds(3).await);
            program.terminate().await;
        }
        assert_eq!(seen[0][..2], seen[1][..2]);
        assert_ne!(seen[0][2], seen[1][2], "what is known by nothing is another for another process");
        let mut program = serving(&queue, &[]).await;
        let by_id = program.holds(3).await;
        program.terminate().await;
        let mut program = serving(&queue, &[]).await;
        assert_eq!(program.holds(3).await[0], by_id[0]);
        program.terminate().await;
        let program = serving(&queue, &["--source-id", "elsewhere"]).await;
        assert_ne!(program.holds(3).await[0], by_id[0]);
    }

    /// The broker thinks that we have it, and we know that we have it not.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_broker_has_not_noticed_to_be_lost_is_not_gone() {
        let queue = Queue::new();
        queue.fill(1);
        let relay = Relay::before(queue.rabbit.address()).await;
        let program = through(&relay, &queue, &[]).await;
        let names = program.holds(1).await;
        let links = async || program.figure("longshore_rabbitmq_connections_total", "").await;
        let before = links().await;
        relay.cut_unnoticed();
        until("another connection", async || (links().await > before).then_some(())).await;
        let list = until("a list", async || program.list().await).await;
        assert_eq!(
            (&list["items"], &list["metadata"]["backlog"]),
            (&json!([]), &json!(1)),
            "nothing says that it is done"
        );
        assert_eq!(program.settle(&names[0]).await, Some(204));
        relay.cut();
        program.is_empty().await;
        until("an empty queue", async || (queue.depth() == 0).then_some(())).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_message_of_an_id_that_is_settled_is_new_work_also_when_others_had_it_before() {
        let queue = Queue::new();
        let nightly = [json!({"body": "{}", "message_id": "nightly"})];
        queue.publish(&nightly);
        let program = serving(&queue, &["--window", "1"]).await;
        let names = program.holds(1).await;
        assert_eq!(program.settle(&names[0]).await, Some(204));
        program.is_empty().await;
        queue.fill(1);
        let other = program.holds(1).await;
        queue.publish(&nightly);
        queue.touch();
        assert_eq!(program.settle(&other[0]).await, Some(204));
        let list =
            until("it to come", async || program.names().await.filter(|now| !now.is_empty() && *now != other)).await;
        assert_eq!((&list, &program.data(&names[0]).await["redelivered"]), (&names, &json!(true)));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn two_messages_of_one_identity_are_one_item_and_are_settled_as_one() {
        let queue = Queue::new();
        queue.publish(&[json!({"body": "a", "message_id": "1"}), json!({"body": "a", "message_id": "1"})]);
        let mut program = serving(&queue, &[]).await;
        until("both", async || (program.figure("longshore_rabbitmq_deliveries_total", "").await >= 2.0).then_some(()))
            .await;
        let names = program.holds(1).await;
        assert_eq!(program.settle(&names[0]).await, Some(204));
        program.is_empty().await;
        program.terminate().await;
        assert_eq!(queue.depth(), 0);
    }
}
