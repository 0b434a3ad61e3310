//! What is found between looks at everything, and what only those may conclude.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ambassador_kit::source::{Health, Source, SourceError};
use contract::ItemName;
use longshore_tests::source::names;
use longshore_tests::until;
use s3_ambassador::S3Source;
use sidecar::metrics::registry::Registry;

use crate::served::{Bucket, small_pages};

/// A bucket that no poll may look at whole, and that is looked at whole only once.
const LARGE: [&str; 6] = ["--poll", "50ms", "--poll-requests", "2", "--reconcile", "1d"];

/// Of `x`.
const ETAG: &str = "9dd4e461268c8034f5c8564e155c67a6";

async fn open(bucket: &Bucket, flags: &[&str]) -> S3Source {
    let source = S3Source::open(bucket.settings(flags), &mut Registry::default());
    until("a first look", async || (*source.health().borrow() == Health::Live).then_some(())).await;
    source
}

/// Waits until what was written so is listed; its name.
async fn listed(source: &S3Source, bucket: &Bucket, key: &str, etag: &str) -> ItemName {
    let name = ItemName::derive(bucket.name.as_bytes(), key.as_bytes(), etag.as_bytes());
    until(key, async || names(source).await.contains(&name).then_some(())).await;
    name
}

mod needs_s3_servers {
    use test_servers::{Proxy, S3Server, Spoil};

    use super::*;

    /// Objects of which a store with pages of [`PAGE`] keys shows a third at once.
    const MANY: usize = 250;
    const PAGE: usize = 100;

    async fn large() -> (Bucket, Proxy) {
        let mut bucket = Bucket::new(S3Server::shared_minio()).await;
        bucket.fill(MANY).await;
        let proxy = bucket.through_proxy().await;
        proxy.spoil(|seen| small_pages(seen, PAGE));
        (bucket, proxy)
    }

    #[tokio::test]
    async fn a_new_key_is_found_wherever_it_turns_up_without_looking_at_everything() {
        let (bucket, proxy) = large().await;
        let source = open(&bucket, &LARGE).await;
        assert_eq!(names(&source).await.len(), MANY);
        let asked = proxy.seen().len();
        for key in ["in/99/last", "in/03/00003-first", "in/06/zzz", "zzz", "!", "in/06/00000"] {
            let etag = bucket.put(key, "new").await;
            listed(&source, &bucket, key, &etag).await;
        }
        // Each is found by a request from some key on, so nothing was begun anew from the first.
        let seen = proxy.seen();
        let whole =
            seen[asked..].iter().filter(|seen| seen.method == "GET" && seen.query.contains("continuation-token"));
        assert_eq!(whole.count(), 0, "no poll walks through all pages");
        // What is overwritten is another item; what is deleted is known once it is asked for.
        let name = |key: &str, etag: &str| ItemName::derive(bucket.name.as_bytes(), key.as_bytes(), etag.as_bytes());
        let before = name("in/00/00000", ETAG);
        let etag = bucket.put("in/00/00000", "other content").await;
        listed(&source, &bucket, "in/00/00000", &etag).await;
        assert!(matches!(source.get(&before).await, Err(SourceError::Gone(_))));
        let gone = name("in/01/00001", ETAG);
        assert!(source.get(&gone).await.is_ok());
        bucket.client.delete_object().bucket(&bucket.name).key("in/01/00001").send().await.expect("deleted");
        assert!(matches!(source.get(&gone).await, Err(SourceError::Gone(_))));
        until("it is listed no more", async || (!names(&source).await.contains(&gone)).then_some(())).await;
    }

    #[tokio::test]
    async fn who_may_list_the_whole_alone_finds_what_is_new_by_that() {
        let (bucket, proxy) = large().await;
        let within = |seen: &test_servers::Seen| seen.query.contains("prefix=in%2F");
        let denied = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>";
        proxy.spoil(move |seen| match within(seen) {
            true => Some(Spoil::Answer(403, denied.to_owned())),
            false => small_pages(seen, PAGE / 4),
        });
        let source = open(&bucket, &["--poll", "50ms", "--poll-requests", "8", "--reconcile", "1d"]).await;
        for key in ["in/03/00003-first", "in/06/zzz"] {
            let etag = bucket.put(key, "new").await;
            listed(&source, &bucket, key, &etag).await;
            assert_eq!(*source.health().borrow(), Health::Live);
        }
        assert!(proxy.seen().iter().any(within), "it was tried");
    }

    #[tokio::test]
    async fn what_was_seen_so_far_is_told_while_the_first_look_goes_on() {
        let (bucket, proxy) = large().await;
        let (go, held) = tokio::sync::watch::channel(false);
        proxy.spoil(move |seen| match seen.query.contains("continuation-token") {
            true => Some(Spoil::Hold(held.clone())),
            false => small_pages(seen, PAGE),
        });
        let flags = ["--poll", "1h", "--list-concurrency", "1", "--stall-after", "90s"];
        let source = S3Source::open(bucket.settings(&flags), &mut Registry::default());
        let mut health = source.health();
        health.wait_for(|health| matches!(health, Health::Indexing { .. })).await.expect("the source lives");
        let page = source.page(None, 1_000).await.expect("a page");
        assert_eq!((page.items.len(), page.complete), (PAGE, false), "nothing may be taken for gone by that");
        let asked = || proxy.seen().iter().any(|seen| seen.query.contains("continuation-token"));
        until("the next page asked for", async || asked().then_some(())).await;
        proxy.spoil(|seen| small_pages(seen, PAGE));
        go.send_replace(true);
        health.wait_for(|health| *health == Health::Live).await.expect("the source lives");
        assert!(source.page(None, 1).await.expect("a page").complete);
        assert_eq!(names(&source).await.len(), MANY);
    }

    #[tokio::test]
    async fn only_a_look_at_everything_makes_something_vanish() {
        let (bucket, _proxy) = large().await;
        let source = open(&bucket, &["--poll", "50ms", "--poll-requests", "2", "--reconcile", "2s"]).await;
        let all = names(&source).await;
        for key in ["in/00/00000", "in/06/00244"] {
            bucket.client.delete_object().bucket(&bucket.name).key(key).send().await.expect("deleted");
        }
        until("both vanish", async || (names(&source).await.len() == all.len() - 2).then_some(())).await;
    }

    #[tokio::test]
    async fn a_page_that_fails_makes_nothing_vanish() {
        let (bucket, proxy) = large().await;
        let flags = ["--poll", "50ms", "--reconcile", "50ms", "--max-stale", "1h", "--stall-after", "30s"];
        let source = open(&bucket, &flags).await;
        let all = names(&source).await;
        assert_eq!(all.len(), MANY);
        // All but the last page can be had: the worst that can befall a walk.
        let broken = Arc::new(AtomicBool::new(false));
        proxy.spoil({
            let broken = Arc::clone(&broken);
            move |seen| {
                let later = seen.query.contains("continuation-token") || seen.query.contains("start-after");
                let denied = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>".to_owned();
                if broken.load(Ordering::Relaxed) && later {
                    Some(Spoil::Answer(403, denied))
                } else {
                    small_pages(seen, PAGE)
                }
            }
        });
        broken.store(true, Ordering::Relaxed);
        let mut health = source.health();
        let lost = health.wait_for(|health| matches!(health, Health::Stale { why } if why.contains("AccessDenied")));
        lost.await.expect("the source lives");
        let asked = proxy.seen().len();
        until("several looks more", async || (proxy.seen().len() > asked + 3).then_some(())).await;
        assert_eq!(names(&source).await, all, "what could not be seen is not gone");
        broken.store(false, Ordering::Relaxed);
        source.health().wait_for(|health| *health == Health::Live).await.expect("it is back");
        assert_eq!(names(&source).await, all, "and has the names it had");
    }

    #[tokio::test]
    async fn a_storm_is_waited_out_within_a_look() {
        let (bucket, proxy) = large().await;
        let slow = "<Error><Code>SlowDown</Code><Message>reduce your request rate</Message></Error>";
        proxy.spoil(move |seen| match seen.n % 3 {
            0 => small_pages(seen, PAGE),
            _ => Some(Spoil::Answer(503, slow.to_owned())),
        });
        let source = open(&bucket, &["--poll", "1h", "--stall-after", "90s"]).await;
        assert_eq!(names(&source).await.len(), MANY);
    }

    #[tokio::test]
    async fn a_bucket_that_is_deleted_is_lost_and_made_anew_is_found() {
        let bucket = Bucket::new(S3Server::shared_minio()).await;
        let etag = bucket.put("a", "1").await;
        let source = open(&bucket, &["--poll", "50ms"]).await;
        let before = listed(&source, &bucket, "a", &etag).await;
        let mut health = source.health();
        bucket.client.delete_object().bucket(&bucket.name).key("a").send().await.expect("deleted");
        bucket.client.delete_bucket().bucket(&bucket.name).send().await.expect("deleted");
        let lost = health.wait_for(|health| matches!(health, Health::Lost { why } if why.contains("NoSuchBucket")));
        lost.await.expect("the source lives");
        bucket.client.create_bucket().bucket(&bucket.name).send().await.expect("made");
        bucket.put("a", "1").await;
        health.wait_for(|health| *health == Health::Live).await.expect("it is back");
        until("the same item", async || (names(&source).await == [before.clone()]).then_some(())).await;
    }
}
