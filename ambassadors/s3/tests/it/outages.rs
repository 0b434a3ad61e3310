//! Stores that go away and come back, or stand still: nothing that was listed vanishes by it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ambassador_kit::source::{Health, Source};
use test_servers::{S3Server, Spoil};

use crate::program::{Program, command};
use crate::served::{Bucket, names, small_pages, until};

const COUNT: usize = 30;

/// Every list that a program gives from now on: the status, and how many names.
struct Watched {
    seen: Arc<Mutex<Vec<(u16, usize)>>>,
    over: Arc<AtomicBool>,
    watching: tokio::task::JoinHandle<()>,
}

impl Watched {
    fn start(program: &Program) -> Self {
        let (seen, over) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<AtomicBool>::default());
        let watching = tokio::spawn({
            let (seen, over, url) = (Arc::clone(&seen), Arc::clone(&over), format!("{}/v1/items", program.url));
            async move {
                while !over.load(Ordering::Relaxed) {
                    let answer = reqwest::get(&url).await.expect("the ambassador itself never goes");
                    let status = answer.status().as_u16();
                    let body = answer.text().await.expect("a body");
                    let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
                    seen.lock().expect("no panic").push((status, body["items"].as_array().map_or(0, Vec::len)));
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        });
        Self { seen, over, watching }
    }

    /// What was seen until now.
    async fn end(self) -> Vec<(u16, usize)> {
        self.over.store(true, Ordering::Relaxed);
        self.watching.await.expect("watched");
        std::mem::take(&mut *self.seen.lock().expect("no panic"))
    }
}

/// Has the store go and come back beneath a running ambassador.
async fn survives(mut server: S3Server, go: impl FnOnce(&mut S3Server), come: impl FnOnce(&mut S3Server)) {
    let bucket = Bucket::new(&server).await;
    bucket.fill(COUNT).await;
    let flags = ["--bucket", &bucket.name, "--poll", "50ms", "--reconcile", "50ms", "--stall-after", "3s"];
    let program = Program::start(command(&bucket, &flags)).await;
    let before = program.listed(COUNT).await;
    until("ready", async || (program.ready().await? == 200).then_some(())).await;
    let watched = Watched::start(&program);
    go(&mut server);
    until("readiness to go", async || (program.ready().await? == 503).then_some(())).await;
    until("no list", async || (program.ask("GET", "/v1/items").await?.0 == 503).then_some(())).await;
    let (status, _) = program.ask("GET", &format!("/v1/items/{}", before[0])).await.expect("an answer");
    assert_eq!(status, 503, "what cannot be seen is not said to be gone");
    come(&mut server);
    until("readiness to come", async || (program.ready().await? == 200).then_some(())).await;
    assert_eq!(program.listed(COUNT).await, before, "the names are what they were");
    let seen = watched.end().await;
    assert!(seen.iter().all(|seen| matches!(seen, (200, COUNT) | (503, 0))), "{seen:?}");
    assert!(seen.iter().any(|(status, _)| *status == 503), "it was seen without the store");
}

mod needs_s3_servers {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_store_that_is_killed_and_comes_back_has_lost_nothing() {
        tokio::join!(
            survives(S3Server::minio(), S3Server::kill, S3Server::restart),
            survives(S3Server::versity(), S3Server::kill, S3Server::restart),
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_store_that_stands_still_and_goes_on_has_lost_nothing() {
        tokio::join!(
            survives(S3Server::minio(), |server| server.pause(), |server| server.resume()),
            survives(S3Server::versity(), |server| server.pause(), |server| server.resume()),
        );
    }

    #[tokio::test]
    async fn a_page_that_never_comes_is_given_up_and_asked_for_again() {
        let mut bucket = Bucket::new(S3Server::shared_minio()).await;
        bucket.fill(250).await;
        let proxy = bucket.through_proxy().await;
        proxy.spoil(|seen| small_pages(seen, 100));
        let source = bucket.served(&["--stall-after", "3s", "--list-concurrency", "1"]).await;
        let before = names(&source).await;
        assert_eq!(before.len(), 250);
        let mut health = source.health();
        let (_never, held) = tokio::sync::watch::channel(false);
        let stalled = Arc::new(AtomicBool::new(false));
        proxy.spoil({
            let stalled = Arc::clone(&stalled);
            move |seen| {
                let middle = seen.query.contains("continuation-token");
                let first = middle && !stalled.swap(true, Ordering::Relaxed);
                if first { Some(Spoil::Hold(held.clone())) } else { small_pages(seen, 100) }
            }
        });
        let lost = health.wait_for(|health| matches!(health, Health::Lost { why } if why.contains("not answered")));
        lost.await.expect("the source lives");
        assert_eq!(names(&source).await, before, "what was read is kept");
        bucket.put("in/zz", "new").await;
        health.wait_for(|health| *health == Health::Live).await.expect("it is back");
        until("what is new", async || (names(&source).await.len() == 251).then_some(())).await;
        assert_eq!(names(&source).await[..250], before);
    }
}
