//! Many messages: loaded by others and drained through ours, loaded by ours and read by others.

use std::process::Command;

use clap::Parser;
use longshore_tests::numbered;
use longshore_tests::source::gives_each_once;
use redis_ambassador::{QueueArgs, RedisSource};
use sidecar::metrics::registry::Registry;

use crate::keys::Keys;
use crate::program::command;

const ALL: usize = 100_000;
/// Entries of a stream cost the server more.
const ENTRIES: usize = 20_000;

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

    /// Loads so many lines by our program.
    fn load(mut command: Command, count: usize) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("lines");
        std::fs::write(&file, numbered(0..count).join("\n")).expect("a file");
        let output = command.arg("--load").arg(&file).output().expect("the program starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_hundred_thousand_elements_that_redis_cli_pushed_are_settled_once_each() {
        let keys = Keys::new();
        keys.pipe((0..ALL).map(|n| format!("RPUSH {} item-{n}", keys.name)));
        gives_each_once(source(&keys, &["--list", &keys.name]), ALL).await;
        keys.is_nowhere().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn twenty_thousand_entries_that_redis_cli_added_are_settled_once_each() {
        let keys = Keys::new();
        keys.pipe((0..ENTRIES).map(|n| format!("XADD {} * value item-{n}", keys.name)));
        gives_each_once(source(&keys, &["--stream", &keys.name, "--group", "media"]), ENTRIES).await;
        assert!(keys.redis.ask(&["XPENDING", &keys.name, "media"]).starts_with('0'), "all is acknowledged");
    }

    #[test]
    fn a_hundred_thousand_that_ours_loaded_are_read_once_each_and_in_their_order_by_redis_cli() {
        let (list, stream) = (Keys::new(), Keys::new());
        load(command(&list, &["--list", &list.name]), ALL);
        assert!(list.elements(&list.name) == numbered(0..ALL), "the list is what was loaded");
        load(command(&stream, &["--stream", &stream.name, "--group", "media"]), ALL);
        let entries = stream.redis.ask(&["XRANGE", &stream.name, "-", "+"]);
        // Id, field and value, a line each.
        let values: Vec<_> = entries.lines().skip(2).step_by(3).collect();
        assert!(values == numbered(0..ALL), "the stream is what was loaded");
    }
}
