//! Members that are killed while others, and those who work on what they list, go on.

use std::sync::Arc;

use longshore_tests::{Ambassador, until};

use super::workers::{Ledger, Watch, Way, Worker, committed_to_the_end};
use crate::program::{group, serving_in};
use crate::topic::Topic;

mod needs_kafka {
    use super::*;

    const PARTITIONS: u32 = 7;
    const EACH: usize = 900;
    /// A member is killed whenever so many more are settled.
    const LIVES: usize = 700;

    /// A member, and who works on what it lists.
    struct Pair(Ambassador, tokio::task::JoinHandle<()>);

    impl Pair {
        async fn start(topic: &Topic<'_>, group: &str, ledger: &Arc<Ledger>) -> Self {
            // The dead are to be missed soon.
            let flags =
                ["--window", "300", "--property", "session.timeout.ms=3000", "--property", "heartbeat.interval.ms=500"];
            let member = serving_in(topic, group, &flags).await;
            let way = Way { hands: 8, leaves: 4, reads: true };
            let worker = Worker::start(member.url().to_owned(), ledger, way, |(partition, offset)| {
                format!("{partition}/{offset}")
            });
            Self(member, worker)
        }

        /// `kill -9`.
        async fn kill(self) {
            drop(self.0);
            self.1.await.expect("the worker saw nothing wrong");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn three_members_that_are_killed_again_and_again_lose_nothing_and_commit_nothing_that_is_not_done() {
        let (topic, group, ledger) = (Topic::new(PARTITIONS), group(), Arc::<Ledger>::default());
        for partition in 0..PARTITIONS {
            topic.kcat(partition, (0..EACH).map(|n| format!("{partition}/{n}")));
        }
        let all = EACH * PARTITIONS as usize;
        let watch = Watch::start(topic.kafka, &group, &topic.name, &ledger);
        let mut pairs = Vec::new();
        for _ in 0..3 {
            pairs.push(Pair::start(&topic, &group, &ledger).await);
        }
        let mut kills = 0;
        while (kills + 1) * LIVES < all {
            until("more that is settled", async || {
                assert!(pairs.iter().all(|pair| !pair.1.is_finished()) && !watch.is_over(), "all goes well");
                (ledger.settled() >= (kills + 1) * LIVES).then_some(())
            })
            .await;
            pairs.remove(0).kill().await;
            kills += 1;
            pairs.push(Pair::start(&topic, &group, &ledger).await);
        }
        committed_to_the_end(&topic, &group).await;
        assert_eq!(ledger.settled(), all, "every record was settled");
        for pair in pairs {
            pair.kill().await;
        }
        let looks = watch.end().await;
        println!(
            "{kills} kills among {all} records: {} settled again, {looks} looks at what is committed",
            ledger.repeats()
        );
        assert!(looks > kills);
    }
}
