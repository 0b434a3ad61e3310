//! Many records in little memory.

use serde_json::json;

use crate::program::{Program, command};
use crate::topic::Topic;

mod needs_kafka {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn two_hundred_thousand_records_are_listed_in_little_memory() {
        let topic = Topic::new(2);
        topic.write(&[
            json!({"partition": 0, "count": 150_000, "size": 100}),
            json!({"partition": 1, "count": 50_000, "size": 1_000}),
        ]);
        let program = Program::start(command(&topic, &[])).await;
        let names = program.listed(200_000).await;
        for n in (0..2_000).chain([199_999]) {
            let (status, item) = program.ask(&format!("/v1/items/{}", names[n])).await.expect("an answer");
            assert_eq!(
                (status, item["data"]["offset"].as_u64()),
                (200, Some(if n < 150_000 { n } else { n - 150_000 } as u64))
            );
        }
        let (_, metrics) = program.probe("/metrics").await.expect("metrics");
        let figure = |name: &str| {
            let lines = metrics.lines().filter(|line| line.starts_with(name));
            lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
        };
        assert_eq!(figure("longshore_kafka_records_read_total"), 200_000.0);
        assert_eq!(figure("longshore_kafka_lag"), 0.0);
        assert!(
            figure("longshore_kafka_gets_total{by=\"ahead\"}") > 1_000.0,
            "in order, records are there before they are asked for"
        );
        // Unoptimised, and with 30 kB of names in the answer of the moment; in a release it is bench's row that says how much.
        let peak = program.peak_memory();
        assert!(peak < 96 << 20, "{peak}");
    }
}
