//! Many records in little memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use longshore_tests::{Ambassador, until};
use serde_json::json;

use crate::program::{command, serving};
use crate::topic::Topic;

/// A control group of either version with little memory. Removed when dropped, once its processes are gone.
struct Group(PathBuf);

impl Group {
    fn of(bytes: u64) -> Self {
        let mount = Path::new("/sys/fs/cgroup");
        let (top, limits) = if mount.join("memory").is_dir() {
            (mount.join("memory"), ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"])
        } else {
            (mount.to_owned(), ["memory.max", "memory.swap.max"])
        };
        let group = Self(top.join(format!("longshore-kafka-{:x}", fastrand::u64(..))));
        fs::create_dir(&group.0).expect("made");
        fs::write(group.0.join(limits[0]), bytes.to_string()).expect("limited");
        // Not every kernel counts swap.
        let _ = fs::write(group.0.join(limits[1]), if top == mount { "0".into() } else { bytes.to_string() });
        group
    }

    /// The same command, in here.
    fn holding(&self, command: &Command) -> Command {
        let mut held = Command::new("/bin/sh");
        held.args(["-c", "echo $$ >\"$0/cgroup.procs\" && exec \"$@\""]).arg(&self.0);
        held.arg(command.get_program()).args(command.get_args());
        held
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for _ in 0..500 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

mod needs_kafka {
    use super::*;

    mod needs_memory_cgroup {
        use super::*;

        #[tokio::test(flavor = "multi_thread")]
        async fn a_million_records_are_listed_by_one_who_may_take_64_mib() {
            const COUNT: usize = 1_000_000;
            let topic = Topic::new(2);
            for partition in 0..2 {
                topic.kcat(partition, (0..COUNT / 2).map(|n| format!("{n:0>120}")));
            }
            let group = Group::of(64 << 20);
            let mut program = Ambassador::start(group.holding(&command(&topic, &[]))).await;
            // Killed for want of memory, it is over.
            until("the end of the log", async || {
                assert!(!program.is_over(), "{}", program.log());
                let (status, page) = program.ask("/v1/items?limit=1").await?;
                let metadata = &page["metadata"];
                let all = metadata["remainingItemCount"].as_u64() == Some(COUNT as u64 - 1);
                (status == 200 && all && metadata["complete"] == true).then_some(())
            })
            .await;
            let list = reqwest::get(format!("{}/v1/items", program.url())).await.expect("an answer");
            assert_eq!(list.status(), 200);
            let list = list.bytes().await.expect("all of it");
            let names = list.windows(2).filter(|two| two == b"\",").count();
            assert!(names >= COUNT - 1, "{names}");
            assert!(!program.is_over());
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn two_hundred_thousand_records_are_listed_in_little_memory() {
        let topic = Topic::new(2);
        topic.write(&[
            json!({"partition": 0, "count": 150_000, "size": 100}),
            json!({"partition": 1, "count": 50_000, "size": 1_000}),
        ]);
        let program = serving(&topic, &[]).await;
        let names = program.holds(200_000).await;
        for n in (0..2_000).chain([199_999]) {
            // Whoever stands still for a while may have to be asked again.
            let item = format!("/v1/items/{}", names[n]);
            let answer = async || program.ask(&item).await.filter(|(status, _)| *status != 503);
            let (status, item) = until("an answer", answer).await;
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
