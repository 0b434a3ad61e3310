//! Whoever works on what is listed, and whoever kills ambassadors, managers and workers meanwhile: nothing is lost.

#![expect(clippy::print_stdout, reason = "who was killed, and by which seed, is to be seen")]

use std::sync::Arc;

use longshore_tests::{Crew, Hands, Ledger, crew};
use serde_json::json;
use test_servers::RabbitMq;

use crate::program::{Program, command};
use crate::queue::{Queue, until};

/// So many work on what one ambassador lists.
const HANDS: usize = 4;

mod needs_rabbitmq {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn everybody_is_killed_in_random_order_and_nothing_is_lost() {
        let number = |name, default| usize::try_from(crew::said(name).unwrap_or(default)).expect("it fits");
        let (items, kills) = (number("LONGSHORE_TEST_KILL_ITEMS", 5_000), number("LONGSHORE_TEST_KILLS", 12));
        let seed = crew::said("LONGSHORE_TEST_SEED").unwrap_or_else(|| fastrand::u64(..));
        println!("LONGSHORE_TEST_SEED={seed} LONGSHORE_TEST_KILL_ITEMS={items} LONGSHORE_TEST_KILLS={kills}");
        let queue = Queue::new();
        queue.pour(items);
        let ambassadors = vec![command(&queue, &["--window", "200"]), command(&queue, &["--window", "200"])];
        let surviving = tokio::task::spawn_blocking(move || {
            let mut crew = Crew::start(ambassadors, seed);
            let killed = crew.work_through(items, kills);
            println!("{items} items, killed: {:?}, done again: {}", killed.kills, killed.repeats);
            crew.stop();
        });
        surviving.await.expect("they survive");
        assert_eq!(queue.drain().len(), 0, "what was done is not there any more");
    }

    /// Three ambassadors, and who works on what each lists. The first is killed whenever so many more are settled, and another comes.
    async fn three(queue: &Queue<'_>, flags: &[&str], all: usize, lives: usize) {
        let ledger = Arc::<Ledger>::default();
        let start = async || {
            let program = Program::of(queue, flags).await;
            let hands = Hands::start(&program.url, HANDS, &ledger);
            (program, hands)
        };
        let mut pairs = vec![start().await, start().await, start().await];
        let mut kills = 0;
        while (kills + 1) * lives < all {
            until("more that is settled", async || {
                assert!(!pairs.iter().any(|(_, hands)| hands.have_failed()), "all goes well");
                (ledger.settled() >= (kills + 1) * lives).then_some(())
            })
            .await;
            let (program, hands) = pairs.remove(0);
            drop(program);
            tokio::task::spawn_blocking(|| hands.end()).await.expect("they saw nothing wrong");
            kills += 1;
            pairs.push(start().await);
        }
        until("all that is asked for to be settled", async || {
            assert!(!pairs.iter().any(|(_, hands)| hands.have_failed()), "all goes well");
            (ledger.begun() >= all).then_some(())
        })
        .await;
        for (program, hands) in pairs {
            program.is_empty().await;
            tokio::task::spawn_blocking(|| hands.end()).await.expect("they saw nothing wrong");
        }
        assert_eq!(ledger.begun(), all, "and nothing else");
        // Of what was asked for when somebody was killed, nobody knows what became, but that it is not there any more.
        let unknown = all - ledger.settled();
        assert!(unknown <= kills * HANDS, "{unknown} are gone, and nobody has settled them");
        println!("{kills} kills among {all}: {} settled again, {unknown} perhaps", ledger.repeats());
        assert_eq!(queue.drain().len(), 0, "what was settled is not there any more");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn three_who_are_killed_again_and_again_drain_a_classic_queue() {
        let queue = Queue::new();
        queue.pour(3_000);
        three(&queue, &["--window", "150"], 3_000, 400).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn three_who_are_killed_again_and_again_drain_a_quorum_queue() {
        // Each kill counts a delivery of what was taken, and a queue of RabbitMQ 4 gives up after twenty.
        let queue = Queue::of(RabbitMq::shared(), json!({"x-queue-type": "quorum"}));
        queue.pour(1_500);
        three(&queue, &["--window", "100"], 1_500, 400).await;
    }
}
