//! The contract's own suite, over what is taken of a list and of a stream.

use clap::Parser;
use longshore_tests::source::{keeps_the_contract, listed, live};
use redis_ambassador::{QueueArgs, RedisSource};
use sidecar::metrics::registry::Registry;

use crate::keys::Keys;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    queue: QueueArgs,
}

mod needs_redis {
    use super::*;

    async fn kept(keys: &Keys<'_>, flags: &[&str], settle: bool, least: usize) {
        let url = keys.redis.url();
        let line = Line::parse_from([&["test", "--url", &url, "--poll", "50ms", "--payload", "json"], flags].concat());
        let settings = line.queue.settings().expect("settings");
        let source = RedisSource::open(settings, &mut Registry::default());
        live(&source).await;
        listed(&source, 60).await;
        keeps_the_contract(source, settle, least).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_list_keeps_every_promise_of_the_contract() {
        for (settle, least) in [(true, 30), (false, 26)] {
            let keys = Keys::new();
            keys.push((0..60).map(|n| format!("{{\"clip\":{n}}}")).chain(["[]".to_owned()]));
            kept(&keys, &["--list", &keys.name], settle, least).await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_stream_keeps_every_promise_of_the_contract() {
        for (settle, least) in [(true, 30), (false, 26)] {
            let keys = Keys::new();
            for n in 0..60 {
                keys.add(&["value", &format!("{{\"clip\":{n}}}")]);
            }
            keys.add(&["value", "[]"]);
            kept(&keys, &["--stream", &keys.name, "--group", "g"], settle, least).await;
        }
    }
}
