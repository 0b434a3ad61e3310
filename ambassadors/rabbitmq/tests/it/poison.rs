//! Messages that are no work, or none that can be done.

use data_encoding::BASE64;
use longshore_tests::until;
use serde_json::{Value, json};
use test_servers::RabbitMq;

use crate::program::serving;
use crate::queue::Queue;

mod needs_rabbitmq {
    use super::*;

    /// Four of which one is an item.
    fn some(queue: &Queue<'_>) {
        queue.publish(&[
            json!({"body": "no object", "message_id": "1"}),
            json!({"body": format!("{{\"a\":\"{}\"}}", "x".repeat(5_000)), "message_id": "2"}),
            json!({"body": "{\"n\":3}", "message_id": "3"}),
            json!({"base64": BASE64.encode(&[0xff, 0xfe]), "message_id": "4"}),
        ]);
    }

    const FLAGS: [&str; 4] = ["--payload", "json", "--max-value", "4KiB"];

    fn ids(messages: &[Value]) -> Vec<&str> {
        let mut ids: Vec<_> = messages.iter().map(|message| message["message_id"].as_str().expect("an id")).collect();
        ids.sort_unstable();
        ids
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_no_item_or_failed_goes_to_the_dead_letter_exchange_as_it_was() {
        let rabbit = RabbitMq::shared();
        let dead = Queue::behind_an_exchange(rabbit);
        let queue = Queue::unmade(rabbit);
        // By which the queue keeps them until they are there.
        let safe =
            ["--queue-argument=x-dead-letter-strategy=at-least-once", "--queue-argument=x-overflow=reject-publish"];
        let made = [&["--declare", "quorum", "--dead-letter-exchange", &dead.name], &safe[..]].concat();
        let mut program = serving(&queue, &[&FLAGS[..], &made].concat()).await;
        program.ready(200).await;
        some(&queue);
        let names = program.holds(1).await;
        assert_eq!(program.settle(&format!("{}?outcome=failed&reason=no%20such%20film", names[0])).await, Some(204));
        program.is_empty().await;
        until("four letters", async || (dead.depth() == 4).then_some(())).await;
        assert!(program.log().contains("no such film"));
        for (reason, count) in [("malformed", 2.0), ("too-large", 1.0), ("failed", 1.0)] {
            until(reason, async || {
                (program.figure("longshore_rabbitmq_dead_letters_total", reason).await == count).then_some(())
            })
            .await;
        }
        program.terminate().await;
        let letters = dead.drain();
        assert_eq!(ids(&letters), ["1", "2", "3", "4"]);
        assert!(letters.iter().all(|letter| letter["headers"]["x-death"][0]["reason"] == "rejected"), "{letters:?}");
        assert_eq!(queue.depth(), 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn without_a_place_for_it_it_is_held_and_told_of_and_never_thrown_away() {
        let queue = Queue::new();
        some(&queue);
        let mut program = serving(&queue, &FLAGS).await;
        let names = program.holds(1).await;
        assert_eq!(program.settle(&format!("{}?outcome=failed&reason=no%20such%20film", names[0])).await, Some(204));
        let mut withheld = program.withholds(4).await;
        withheld.sort_by_key(|one| one["key"].to_string());
        let told: Vec<_> = withheld.iter().map(|one| one["reason"].as_str().expect("a reason")).collect();
        assert_eq!(told, ["malformed", "too-large", "dead-letter", "malformed"]);
        let says = withheld[2]["message"].as_str().expect("a text");
        assert!(says.contains("no such film") && says.contains("--dead-letter"), "{says}");
        // Whoever has looked at it settles it by the name that is told.
        let name = withheld[0]["message"].as_str().expect("a text").rsplit(' ').next().expect("a name").to_owned();
        assert_eq!(program.settle(&name).await, Some(204));
        program.withholds(3).await;
        program.terminate().await;
        assert_eq!(ids(&queue.drain()), ["2", "3", "4"], "all but what was settled as done");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_dead_letter_exchange_that_is_not_there_is_told_of_before_anything_is_lost_in_it() {
        let queue = Queue::unmade(RabbitMq::shared());
        let flags = ["--declare", "classic", "--dead-letter-exchange", "nowhere"];
        let program = serving(&queue, &flags).await;
        program.is_red("no exchange 'nowhere'").await;
    }
}
