//! The contract's own suite, over topics.

use longshore_tests::source::keeps_the_contract;

use crate::topic::{Topic, record};

mod needs_kafka {
    use super::*;

    async fn kept(flags: &[&str], least: usize) {
        let topic = Topic::new(3);
        for partition in 0..3 {
            topic.kcat(partition, (0..20).map(|n| format!("clip {n}.mp4")));
        }
        topic.write(&[record(1, Some(b"k"), None)]);
        let source = topic.served(flags).await;
        keeps_the_contract(source, false, least).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_log_keeps_every_promise_of_the_contract() {
        tokio::join!(kept(&[], 38), kept(&["--tombstones", "--max-stale", "1h"], 36));
    }
}
