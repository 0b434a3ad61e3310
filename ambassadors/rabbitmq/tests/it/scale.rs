//! Many messages: loaded by others and drained through ours, loaded by ours and read by others.

use std::collections::{HashMap, HashSet};
use std::process::Command;
use std::sync::Arc;

use ambassador_kit::source::{Outcome, Source};
use clap::Parser;
use contract::ItemName;
use futures_util::StreamExt;
use rabbitmq_ambassador::{QueueArgs, QueueSource};
use sidecar::metrics::registry::Registry;

use crate::program::command;
use crate::queue::{Queue, until};

const ALL: usize = 100_000;
/// So many may take as long as anything that is waited for.
const STEP: usize = 5_000;
/// Names of a page, and items worked on at once.
const MOST: usize = 2_000;
const HANDS: usize = 32;

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

    /// Works on all that comes, many at once: how often each value was settled.
    async fn drained(source: QueueSource, count: usize) -> HashMap<String, usize> {
        let source = Arc::new(source);
        let mut done = HashMap::new();
        for share in (STEP..=count).step_by(STEP) {
            until(&format!("{share} that are settled"), async || {
                let page = source.page(None, MOST).await.expect("a page");
                let items =
                    futures_util::stream::iter(page.items.into_iter().map(|name| one(Arc::clone(&source), name)));
                for value in items.buffer_unordered(HANDS).collect::<Vec<_>>().await {
                    *done.entry(value).or_default() += 1;
                }
                (done.len() >= share).then_some(())
            })
            .await;
        }
        until("nothing that is left", async || {
            let page = source.page(None, MOST).await.expect("a page");
            (page.items.is_empty() && page.complete && page.backlog == Some(0)).then_some(())
        })
        .await;
        source.drain().await;
        done
    }

    async fn one(source: Arc<QueueSource>, name: ItemName) -> String {
        let item = source.get(&name).await.expect("what is listed is there");
        source.settle(&name, &Outcome::Done).await.expect("nothing is in the way");
        item.data["value"].as_str().expect("text").to_owned()
    }

    fn each_once(done: &HashMap<String, usize>, count: usize) {
        assert!(done.values().all(|times| *times == 1), "some were settled twice");
        assert_eq!(done.keys().cloned().collect::<HashSet<_>>(), in_order(count).into_iter().collect());
    }

    fn in_order(count: usize) -> Vec<String> {
        (0..count).map(|n| format!("item-{n}")).collect()
    }

    /// Loads so many lines by our program.
    fn load(mut command: Command, count: usize) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("lines");
        std::fs::write(&file, in_order(count).join("\n")).expect("a file");
        let output = command.arg("--load").arg(&file).output().expect("the program starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_hundred_thousand_messages_that_pika_sent_are_settled_once_each() {
        let queue = Queue::new();
        queue.pour(ALL);
        each_once(&drained(source(&queue), ALL).await, ALL);
        assert_eq!(queue.depth(), 0);
    }

    #[test]
    fn a_hundred_thousand_messages_that_ours_loaded_are_read_once_each_and_in_their_order_by_pika() {
        let queue = Queue::new();
        load(command(&queue, &["--load-key", "line"]), ALL);
        assert!(queue.take(ALL) == in_order(ALL), "the queue is what was loaded");
    }
}
