//! Many messages: loaded by others and drained through ours, loaded by ours and read by others.

use std::process::Command;

use clap::Parser;
use longshore_tests::numbered;
use longshore_tests::source::gives_each_once;
use rabbitmq_ambassador::{QueueArgs, QueueSource};
use sidecar::metrics::registry::Registry;

use crate::program::command;
use crate::queue::Queue;

const ALL: usize = 100_000;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    queue: QueueArgs,
}

mod needs_rabbitmq {
    use super::*;

    /// In this process: what is measured is not HTTP.
    fn source(queue: &Queue<'_>) -> QueueSource {
        let url = queue.rabbit.url();
        // Whoever stands still for a while is not taken for dead.
        let own =
            ["p", "--url", &url, "--queue", &queue.name, "--poll", "50ms", "--window", "2000", "--heartbeat", "5m"];
        let line = Line::parse_from(own);
        QueueSource::open(line.queue.settings().expect("settings"), &mut Registry::default())
    }

    /// Loads so many lines by our program.
    fn load(mut command: Command, count: usize) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("lines");
        std::fs::write(&file, numbered(0..count).join("\n")).expect("a file");
        let output = command.arg("--load").arg(&file).output().expect("the program starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_hundred_thousand_messages_that_pika_sent_are_settled_once_each() {
        let queue = Queue::new();
        queue.pour(ALL);
        gives_each_once(source(&queue), ALL).await;
        assert_eq!(queue.depth(), 0);
    }

    #[test]
    fn a_hundred_thousand_messages_that_ours_loaded_are_read_once_each_and_in_their_order_by_pika() {
        let queue = Queue::new();
        load(command(&queue, &["--load-key", "line"]), ALL);
        assert!(queue.take(ALL) == numbered(0..ALL), "the queue is what was loaded");
    }
}
