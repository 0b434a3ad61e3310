//! The contract's own suite, over topics.

use std::sync::Arc;
use std::time::Duration;

use ambassador_kit::conformance::{self, Outcome, Plan};
use ambassador_kit::router::{Options, router};

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
        // A silent watch says something after half of it.
        let options = Options { deadline: Duration::from_secs(8), ..Options::default() };
        let verdicts = conformance::run(router(Arc::new(source), options), Plan::default()).await;
        conformance::assert_kept(&verdicts);
        let kept = verdicts.iter().filter(|verdict| verdict.outcome == Outcome::Kept).count();
        assert!(kept >= least, "most were put to the test, not {kept}: {verdicts:#?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_log_keeps_every_promise_of_the_contract() {
        tokio::join!(kept(&[], 38), kept(&["--tombstones", "--max-stale", "1h"], 36));
    }
}
