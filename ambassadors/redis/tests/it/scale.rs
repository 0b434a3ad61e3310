//! Many messages: loaded by others and drained through ours, loaded by ours and read by others.

use std::collections::{HashMap, HashSet};
use std::process::Command;
use std::sync::Arc;

use ambassador_kit::source::{Outcome, Source};
use clap::Parser;
use contract::ItemName;
use futures_util::StreamExt;
use redis_ambassador::{QueueArgs, RedisSource};
use sidecar::metrics::registry::Registry;

use crate::keys::{Keys, until};
use crate::program::command;

const ALL: usize = 100_000;
/// Entries of a stream cost the server more.
const ENTRIES: usize = 20_000;
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

mod needs_redis {
    use super::*;

    /// In this process: what is measured is not HTTP.
    fn source(keys: &Keys<'_>, flags: &[&str]) -> RedisSource {
        let url = keys.redis.url();
        // Whoever stands still for a while is not taken for dead.
        let own = ["test", "--url", &url, "--poll", "50ms", "--window", "2000", "--lease", "1h", "--stall-after", "2m"];
        let line = Line::parse_from([&own[..], flags].concat());
        RedisSource::open(line.queue.settings().expect("settings"), &mut Registry::default())
    }

    /// Works on all that comes, many at once: how often each value was settled.
    async fn drained(source: RedisSource, count: usize) -> HashMap<String, usize> {
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

    async fn one(source: Arc<RedisSource>, name: ItemName) -> String {
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
    async fn a_hundred_thousand_elements_that_redis_cli_pushed_are_settled_once_each() {
        let keys = Keys::new();
        keys.pipe((0..ALL).map(|n| format!("RPUSH {} item-{n}", keys.name)));
        each_once(&drained(source(&keys, &["--list", &keys.name]), ALL).await, ALL);
        keys.is_nowhere().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn twenty_thousand_entries_that_redis_cli_added_are_settled_once_each() {
        let keys = Keys::new();
        keys.pipe((0..ENTRIES).map(|n| format!("XADD {} * value item-{n}", keys.name)));
        each_once(&drained(source(&keys, &["--stream", &keys.name, "--group", "media"]), ENTRIES).await, ENTRIES);
        assert!(keys.redis.ask(&["XPENDING", &keys.name, "media"]).starts_with('0'), "all is acknowledged");
    }

    #[test]
    fn a_hundred_thousand_that_ours_loaded_are_read_once_each_and_in_their_order_by_redis_cli() {
        let (list, stream) = (Keys::new(), Keys::new());
        load(command(&list, &["--list", &list.name]), ALL);
        assert!(list.elements(&list.name) == in_order(ALL), "the list is what was loaded");
        load(command(&stream, &["--stream", &stream.name, "--group", "media"]), ALL);
        let entries = stream.redis.ask(&["XRANGE", &stream.name, "-", "+"]);
        // Id, field and value, a line each.
        let values: Vec<_> = entries.lines().skip(2).step_by(3).collect();
        assert!(values == in_order(ALL), "the stream is what was loaded");
    }
}
