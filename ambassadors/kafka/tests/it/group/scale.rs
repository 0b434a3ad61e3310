//! Many records through a group.

use std::sync::Arc;

use longshore_tests::until;
use serde_json::json;

use super::workers::{Ledger, Way, Worker, committed_to_the_end};
use crate::program::{group, serving_in};
use crate::relay::Relay;
use crate::topic::Topic;

mod needs_kafka {
    use super::*;

    const ALL: usize = 100_000;
    const PARTITIONS: u32 = 4;
    /// So many may take as long as anything that is waited for.
    const STEP: usize = 5_000;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_hundred_thousand_records_are_settled_once_each() {
        let (topic, group, ledger) = (Topic::new(PARTITIONS), group(), Arc::<Ledger>::default());
        // In between connections break off in the middle of what they give.
        let relay = Relay::start(topic.kafka);
        let through = relay.flag();
        // Whoever stands still for a while is not taken for dead, so that partitions stay where they are.
        let flags = ["--window", "2000", "--property", "session.timeout.ms=300000", &through];
        let flags = [&flags[..], &["--property=reconnect.backoff.max.ms=200"]].concat();
        let members = [serving_in(&topic, &group, &flags).await, serving_in(&topic, &group, &flags).await];
        let share = f64::from(PARTITIONS / 2);
        for member in &members {
            until("half the partitions", async || {
                (member.figure("longshore_kafka_partitions", "").await == share).then_some(())
            })
            .await;
        }
        let each = ALL / PARTITIONS as usize;
        let records: Vec<_> =
            (0..PARTITIONS).map(|partition| json!({"partition": partition, "count": each, "size": 8})).collect();
        relay.cut_every(2);
        topic.write(&records);
        let way = Way { hands: 16, leaves: 10, reads: false };
        let value = |(_, offset): (i32, i64)| format!("{offset:x<8}");
        let workers = members.each_ref().map(|member| Worker::start(member.url().to_owned(), &ledger, way, value));
        for share in (STEP..=ALL).step_by(STEP) {
            until(&format!("{share} that are settled"), async || {
                assert!(workers.iter().all(|worker| !worker.is_finished()), "all goes well");
                (ledger.settled() >= share).then_some(())
            })
            .await;
        }
        committed_to_the_end(&topic, &group).await;
        for member in &members {
            member.is_empty().await;
            assert_eq!(member.figure("longshore_kafka_partitions", "").await, share, "as at the start");
        }
        assert!(relay.cuts() > 0, "each of them was given some");
        assert_eq!(ledger.repeats(), 0, "settled again without a rebalance");
        drop(members);
        for worker in workers {
            worker.await.expect("it saw nothing wrong");
        }
    }
}
