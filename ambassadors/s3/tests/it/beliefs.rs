//! What is believed without being asked again, and for how long: tags, a list that is stale, a page that was on its way.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ambassador_kit::source::{Change, Health, Outcome, Source};
use futures_util::{FutureExt, StreamExt};
use longshore_tests::source::{names, withheld};
use longshore_tests::until;
use test_servers::{Proxy, S3Server, Seen, Spoil};
use tokio::sync::watch;

use crate::served::{Bucket, failed, item, keys, nothing, withheld_as};

const TAG: [&str; 2] = ["--on-settle", "tag:k=done"];

fn is_list(seen: &Seen) -> bool {
    seen.method == "GET" && seen.query.contains("list-type=2")
}

fn asks_for_tags(seen: &Seen) -> bool {
    seen.method == "GET" && seen.query.contains("tagging")
}

fn count(proxy: &Proxy, what: impl Fn(&Seen) -> bool) -> usize {
    proxy.seen().iter().filter(|seen| what(seen)).count()
}

/// Waits until everything was looked at so many times more.
async fn looks(proxy: &Proxy, more: usize) {
    let before = count(proxy, is_list);
    // The first of them may have been under way.
    until("further looks", async || (count(proxy, is_list) > before + more).then_some(())).await;
}

mod needs_s3_servers {
    use super::*;

    #[tokio::test]
    async fn a_tag_is_forgotten_with_its_object() {
        let mut bucket = Bucket::new(S3Server::shared_minio()).await;
        let proxy = bucket.through_proxy().await;
        bucket.put("a", "the same").await;
        let source = bucket.served(&TAG).await;
        let name = item(&source, "a").await.name;
        source.settle(&name, &Outcome::Done).await.expect("settled");
        withheld_as(&source, "a", "settled").await;
        bucket.client.delete_object().bucket(&bucket.name).key("a").send().await.expect("deleted");
        until("it is gone", async || withheld(&source).await.is_empty().then_some(())).await;
        // A look that began before that may have met it.
        looks(&proxy, 2).await;
        bucket.put("a", "the same").await;
        assert_eq!(item(&source, "a").await.name, name, "it has no tag, and is to be worked on");
    }

    #[tokio::test]
    async fn what_is_there_is_asked_for_its_tags_once_however_often_it_is_looked_at() {
        let mut bucket = Bucket::new(S3Server::shared_minio()).await;
        let proxy = bucket.through_proxy().await;
        for key in ["done", "new"] {
            let put = bucket.client.put_object().bucket(&bucket.name).key(key).body(key.as_bytes().to_vec().into());
            let put = if key == "done" { put.tagging("k=done") } else { put };
            put.send().await.expect("written");
        }
        // Old enough for their tags to be what they stay. No further off than signatures allow.
        let date = crate::outages::http_date(600);
        proxy.spoil(move |_| Some(Spoil::SetHeader("date", date.clone())));
        let source = bucket.served(&TAG).await;
        withheld_as(&source, "done", "settled").await;
        looks(&proxy, 10).await;
        assert_eq!(keys(&source).await, ["new"]);
        assert_eq!(count(&proxy, asks_for_tags), 2, "one request each");
    }

    #[tokio::test]
    async fn a_young_objects_tags_are_asked_for_again() {
        let bucket = Bucket::new(S3Server::shared_minio()).await;
        let put = bucket.client.put_object().bucket(&bucket.name).key("a").body(b"a".to_vec().into());
        put.tagging("k=done").send().await.expect("written");
        let source = bucket.served(&TAG).await;
        withheld_as(&source, "a", "settled").await;
        // As another ambassador does that has tagged what took the place of its item.
        let untag = bucket.client.delete_object_tagging().bucket(&bucket.name).key("a");
        untag.send().await.expect("no tags");
        item(&source, "a").await;
    }

    #[tokio::test]
    async fn what_failed_and_stays_is_listed_by_no_later_look() {
        let mut bucket = Bucket::new(S3Server::shared_minio()).await;
        let proxy = bucket.through_proxy().await;
        bucket.put("a", "a").await;
        let source = bucket.served(&["--on-settle", "delete"]).await;
        let name = item(&source, "a").await.name;
        source.settle(&name, &failed()).await.expect("settled");
        nothing(&source).await;
        let revision = source.revision();
        looks(&proxy, 10).await;
        assert_eq!(source.revision(), revision, "not for a moment");
        withheld_as(&source, "a", "dead-letter").await;
    }

    /// The store refuses once, and then says nothing at all: so nobody notices how late it is but a clock.
    #[tokio::test]
    async fn a_stale_list_stands_no_longer_than_it_may_though_the_store_hangs() {
        let mut bucket = Bucket::new(S3Server::shared_minio()).await;
        let proxy = bucket.through_proxy().await;
        bucket.put("a", "a").await;
        let source = bucket.served(&["--max-stale", "5s", "--stall-after", "1h"]).await;
        let before = names(&source).await;
        let (_never, held) = watch::channel(false);
        let refused = AtomicBool::new(false);
        proxy.spoil(move |seen| {
            let denied = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>".to_owned();
            is_list(seen).then(|| match refused.swap(true, Ordering::Relaxed) {
                false => Spoil::Answer(403, denied),
                true => Spoil::Hold(held.clone()),
            })
        });
        let mut health = source.health();
        health.wait_for(|health| matches!(health, Health::Stale { .. })).await.expect("the source lives");
        assert_eq!(names(&source).await, before);
        let lost =
            tokio::time::timeout(Duration::from_secs(120), health.wait_for(|h| !matches!(h, Health::Stale { .. })));
        let lost = lost.await.expect("its time is over").expect("the source lives").clone();
        // Whoever waits for the hanging look to be given up would say that.
        assert!(matches!(&lost, Health::Lost { why } if why.contains("AccessDenied")), "{lost:?}");
    }

    #[tokio::test]
    async fn a_page_that_was_on_its_way_lists_nothing_that_was_settled_since() {
        for (flags, outcome) in [(&["--on-settle", "delete"], Outcome::Done), (&TAG, Outcome::Done)] {
            let mut bucket = Bucket::new(S3Server::shared_minio()).await;
            let proxy = bucket.through_proxy().await;
            for key in ["a", "b"] {
                bucket.put(key, key).await;
            }
            let source = bucket.served(flags).await;
            let (a, b) = (item(&source, "a").await.name, item(&source, "b").await.name);
            let (go, held) = watch::channel(false);
            proxy.spoil(move |seen| is_list(seen).then(|| Spoil::HoldReply(held.clone())));
            until("a page on its way", async || (proxy.held() > 0).then_some(())).await;
            let revision = source.revision();
            source.settle(&a, &outcome).await.expect("settled");
            assert_eq!(names(&source).await, std::slice::from_ref(&b));
            proxy.spoil(|_| None);
            go.send(true).expect("somebody waits");
            looks(&proxy, 1).await;
            let mut changes = source.changes(revision).expect("it is remembered");
            let mut seen = Vec::new();
            while let Some(Some(change)) = changes.next().now_or_never() {
                let Change { listed, name, .. } = change.expect("a change");
                seen.push((listed, name));
            }
            assert_eq!(seen, [(false, a)], "listed again, it would be worked on again ({flags:?})");
            assert_eq!(names(&source).await, [b]);
        }
    }
}
