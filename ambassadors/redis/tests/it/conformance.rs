//! The contract's own suite, over what is taken of a list and of a stream.

use std::sync::Arc;
use std::time::Duration;

use ambassador_kit::conformance::{self, Outcome, Plan};
use ambassador_kit::router::{Options, router};
use ambassador_kit::source::{Health, Source};
use clap::Parser;
use redis_ambassador::{QueueArgs, RedisSource};
use sidecar::metrics::registry::Registry;

use crate::keys::{Keys, until};

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
        let mut health = source.health();
        until("it to be live", async || (*health.borrow_and_update() == Health::Live).then_some(())).await;
        until("60 items", async || (source.page(None, 1_000).await.ok()?.items.len() == 60).then_some(())).await;
        let options = Options { deadline: Duration::from_secs(8), ..Options::default() };
        let verdicts = conformance::run(router(Arc::new(source), options), Plan { settle, ..Plan::default() }).await;
        conformance::assert_kept(&verdicts);
        let kept = verdicts.iter().filter(|verdict| verdict.outcome == Outcome::Kept).count();
        assert!(kept >= least, "most were put to the test, not {kept}: {verdicts:#?}");
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
