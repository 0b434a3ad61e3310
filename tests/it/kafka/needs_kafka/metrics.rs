//! What docs/operations.md says of kafka-ambassador's metrics, held to those that it shows.

use std::process::Command;

use longshore_tests::http::ask;
use longshore_tests::programs::program;
use longshore_tests::{Daemon, wait_until};
use test_servers::free_port;

use crate::kafka::site::Site;
use crate::operations::queue_s_metrics_are_on_the_page;

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
    queue_s_metrics_are_on_the_page("longshore_kafka_", &texts);
}
