//! The metrics of queues' ambassadors, which are shown where there is a broker.

use std::process::{Command, Stdio};

use longshore_tests::http::ask;
use longshore_tests::programs::program;
use longshore_tests::{Daemon, wait_until};
use serde_json::Value;
use tempfile::TempDir;

use super::queue_s_metrics_are_on_the_page;

/// An ambassador on ports of its own.
struct Ambassador {
    address: String,
    probes: String,
    _daemon: Daemon,
    _folder: TempDir,
}

impl Ambassador {
    fn start(name: &str, flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let [address, probes] = [0, 1].map(|_| format!("127.0.0.1:{}", test_servers::free_port()));
        let mut command = Command::new(program(name));
        command.args(flags).args(["--listen", &address, "--probe-listen", &probes]).stdout(Stdio::null());
        let daemon = Daemon::start(&mut command, &folder.path().join("log"));
        Self { address, probes, _daemon: daemon, _folder: folder }
    }

    /// The names of its list, once there are so many.
    fn names(&self, how_many: usize) -> Vec<String> {
        wait_until("items", || {
            let (status, body) = ask(&self.address, "GET", "/v1/items");
            let list: Option<Value> = (status == 200).then(|| serde_json::from_str(&body).expect("JSON"));
            let names: Vec<_> =
                list?.get("items")?.as_array()?.iter().filter_map(Value::as_str).map(str::to_owned).collect();
            (names.len() == how_many).then_some(names)
        })
    }

    /// Settles one, which failed or is done.
    fn settle(&self, name: &str, query: &str) {
        assert_eq!(ask(&self.address, "DELETE", &format!("/v1/items/{name}{query}")).0, 204);
    }

    /// Its metrics, once each of these is among them.
    fn shows(&self, metrics: &[&str]) -> String {
        wait_until(&format!("{metrics:?}"), || {
            let text = ask(&self.probes, "GET", "/metrics").1;
            metrics.iter().all(|metric| text.contains(metric)).then_some(text)
        })
    }
}

mod needs_rabbitmq {
    use test_servers::RabbitMq;

    use super::*;

    #[test]
    fn operations_md_names_every_metric_of_a_queue_and_no_other() {
        let lost = Ambassador::start("rabbitmq-ambassador", &["--url", "amqp://127.0.0.1:1", "--queue", "none"]);
        let rabbitmq = RabbitMq::shared();
        rabbitmq.ask(&["declare", "queue", "name=operations", "durable=true"]);
        for payload in ["payload=a", "payload=b"] {
            rabbitmq.ask(&["publish", "exchange=amq.default", "routing_key=operations", payload]);
        }
        let queue = Ambassador::start("rabbitmq-ambassador", &["--url", &rabbitmq.url(), "--queue", "operations"]);
        let names = queue.names(2);
        queue.settle(&names[0], "");
        queue.settle(&names[1], "?outcome=failed");
        let texts = [
            lost.shows(&["longshore_rabbitmq_errors_total{"]),
            queue.shows(&["longshore_rabbitmq_settled_total{", "longshore_rabbitmq_dead_letters_total{"]),
        ];
        queue_s_metrics_are_on_the_page("longshore_rabbitmq_", &texts);
    }
}

mod needs_redis {
    use test_servers::Redis;

    use super::*;

    #[test]
    fn operations_md_names_every_metric_of_a_list_or_stream_and_no_other() {
        let lost = Ambassador::start("redis-ambassador", &["--url", "redis://127.0.0.1:1", "--list", "none"]);
        let redis = Redis::shared();
        redis.ask(&["RPUSH", "operations", "a", "b"]);
        let flags = ["--url", &redis.url(), "--list", "operations", "--dead-letter-key", "operations:dead"];
        let list = Ambassador::start("redis-ambassador", &flags);
        let names = list.names(2);
        list.settle(&names[0], "");
        list.settle(&names[1], "?outcome=failed");
        let texts = [
            lost.shows(&["longshore_redis_errors_total{"]),
            list.shows(&["longshore_redis_settled_total{", "longshore_redis_dead_letters_total{"]),
        ];
        queue_s_metrics_are_on_the_page("longshore_redis_", &texts);
    }
}
