//! The contract's own suite, over what a group hands out.

use kafka_ambassador::GroupSource;
use longshore_tests::source::{keeps_the_contract, listed, live};
use sidecar::metrics::registry::Registry;

use crate::program::group;
use crate::topic::{QUICK, Topic, record, settings};

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
        keeps_the_contract(source, settle, least).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_group_keeps_every_promise_of_the_contract() {
        let dead = Topic::new(1);
        let letters = ["--dead-letter-topic", &dead.name];
        tokio::join!(kept(&[], true, 30), kept(&letters, true, 30), kept(&[], false, 26));
    }
}
