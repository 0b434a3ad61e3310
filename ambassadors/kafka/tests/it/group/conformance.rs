//! The contract's own suite, over what a group hands out.

use std::sync::Arc;
use std::time::Duration;

use ambassador_kit::conformance::{self, Outcome, Plan};
use ambassador_kit::router::{Options, router};
use kafka_ambassador::GroupSource;
use sidecar::metrics::registry::Registry;

use crate::members::group;
use crate::topic::{QUICK, Topic, listed, live, record, settings};

mod needs_kafka {
    use super::*;

    async fn kept(flags: &[&str], settle: bool, least: usize) {
        let (topic, group) = (Topic::new(3), group());
        for partition in 0..3 {
            topic.kcat(partition, (0..20).map(|n| format!("{{\"clip\":{n}}}")));
        }
        topic.write(&[record(1, Some(b"k"), None), record(2, Some(b"k"), Some(b"[]"))]);
        let flags = [&QUICK[..], &["--mode", "group", "--group", &group, "--payload", "json"], flags].concat();
        let source = GroupSource::open(settings(&topic.brokers(), &topic.name, &flags), &mut Registry::default());
        let source = source.expect("settings that librdkafka takes");
        live(&source).await;
        listed(&source, 60).await;
        let options = Options { deadline: Duration::from_secs(8), ..Options::default() };
        let verdicts = conformance::run(router(Arc::new(source), options), Plan { settle, ..Plan::default() }).await;
        conformance::assert_kept(&verdicts);
        let kept = verdicts.iter().filter(|verdict| verdict.outcome == Outcome::Kept).count();
        assert!(kept >= least, "most were put to the test, not {kept}: {verdicts:#?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_group_keeps_every_promise_of_the_contract() {
        let dead = Topic::new(1);
        let letters = ["--dead-letter-topic", &dead.name];
        tokio::join!(kept(&[], true, 30), kept(&letters, true, 30), kept(&[], false, 26));
    }
}
