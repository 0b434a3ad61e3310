//! What docs/operations.md says of kafka-ambassador's metrics, held to those that it shows.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use longshore_tests::http::ask;
use longshore_tests::programs::{program, root};
use longshore_tests::{Daemon, wait_until};
use test_servers::free_port;

use crate::kafka::site::Site;
use crate::operations::{families, is_of_a_topic, named};

#[test]
fn operations_md_names_every_metric_of_a_topic_and_no_other() {
    // Looks fail where no broker answers.
    let port = format!("127.0.0.1:{}", free_port());
    let site = Site::new(1);
    let mut lost = Command::new(program("kafka-ambassador"));
    lost.args(["--brokers", "127.0.0.1:1", "--topic", "none", "--listen", "127.0.0.1:0", "--probe-listen", &port]);
    let _lost = Daemon::start(&mut lost, &site.path().join("lost.log"));

    site.kcat(0, &[], (0..3).map(|n| n.to_string()));
    let mut log = site.prepare("log", &[], &[], &[]);
    log.start_ambassador();
    let names = wait_until("the log to be read", || log.names().filter(|names| names.len() == 3));
    assert_eq!(ask(&log.address, "GET", &format!("/v1/items/{}", names[0])).0, 200);
    let group = site.alone(&[]);
    let name = wait_until("items", || group.names().filter(|names| names.len() == 3)).remove(0);
    assert_eq!(ask(&group.address, "DELETE", &format!("/v1/items/{name}?outcome=failed")).0, 204);

    let shows = |probes: &str, last: &str| {
        wait_until(last, || Some(ask(probes, "GET", "/metrics").1).filter(|text| text.contains(last)))
    };
    let texts = [
        shows(&port, "longshore_kafka_errors_total{"),
        shows(&log.probes, "longshore_kafka_lag{"),
        shows(&group.probes, "longshore_kafka_commits_total{"),
    ];
    let shown = families(texts.iter().map(String::as_str));
    let page = fs::read_to_string(root().join("docs/operations.md")).expect("a page");
    let mut documented = BTreeSet::new();
    for (metric, labels) in named(&page).into_iter().filter(|(metric, _)| is_of_a_topic(metric)) {
        let has = shown.get(&metric).unwrap_or_else(|| panic!("the page names {metric}, which is not shown"));
        assert!(labels.iter().all(|label| has.contains(label)), "the page has {metric} of {labels:?}; it has {has:?}");
        documented.insert(metric);
    }
    let missing: Vec<_> = shown.keys().filter(|name| is_of_a_topic(name) && !documented.contains(*name)).collect();
    assert!(missing.is_empty(), "the page says nothing of {missing:?}");
}
