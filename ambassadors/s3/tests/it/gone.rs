//! Objects that are gone, buckets that are, and what takes the place of the former.

use ambassador_kit::source::{Outcome, Source, SourceError};

use longshore_tests::source::names;
use longshore_tests::until;

use crate::program::{run, text};
use crate::served::{Bucket, failed, item, keys, nothing};

mod needs_s3_servers {
    use test_servers::{S3Server, Seen, Spoil};

    use super::*;

    #[tokio::test]
    async fn of_a_bucket_that_is_gone_no_item_is_gone_or_settled() {
        for server in [S3Server::shared_minio(), S3Server::shared_versity()] {
            let bucket = Bucket::new(server).await;
            bucket.put("a", "a").await;
            let source = bucket.served_slowly(&["--on-settle", "delete", "--poll", "1h"]).await;
            let paged = bucket.paged(&["--on-settle", "delete"]).await;
            let (a, raw) = (item(&source, "a").await.name, item(&paged, "a").await.name);
            bucket.client.delete_object().bucket(&bucket.name).key("a").send().await.expect("deleted");
            // What a probe has put, and takes away again, keeps a store from it.
            until("the bucket to be deleted", async || {
                bucket.client.delete_bucket().bucket(&bucket.name).send().await.ok()
            })
            .await;
            for _ in 0..2 {
                let got = source.get(&a).await;
                assert!(matches!(got, Err(SourceError::Unavailable { .. })), "{got:?}");
                let settled = source.settle(&a, &Outcome::Done).await;
                assert!(matches!(settled, Err(SourceError::Unavailable { .. })), "{settled:?}");
                assert_eq!(names(&source).await, std::slice::from_ref(&a), "what cannot be seen is not forgotten");
            }
            let got = paged.get(&raw).await;
            assert!(matches!(got, Err(SourceError::Unavailable { .. })), "{got:?}");
            let settled = paged.settle(&raw, &Outcome::Done).await;
            assert!(matches!(settled, Err(SourceError::Unavailable { .. })), "{settled:?}");
        }
    }

    /// As AWS does it for whoever may list one prefix only.
    #[tokio::test]
    async fn what_is_gone_is_gone_where_a_store_says_that_it_may_not_be_looked_at() {
        let mut bucket = Bucket::new(S3Server::shared_minio()).await;
        for key in ["a", "b", "c", "cc"] {
            bucket.put(key, key).await;
        }
        let proxy = bucket.through_proxy().await;
        let source = bucket.served_slowly(&["--on-settle", "move:done/", "--poll", "1h"]).await;
        let (a, b, c) = (item(&source, "a").await.name, item(&source, "b").await.name, item(&source, "c").await.name);
        for key in ["a", "c"] {
            bucket.client.delete_object().bucket(&bucket.name).key(key).send().await.expect("deleted");
        }
        // What is not there is told by no request for it.
        let absent = ["/a", "/c", "/done/b"].map(|key| format!("/{}{key}", bucket.name));
        let refuse = move |seen: &Seen| {
            let denied = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>".to_owned();
            let asks = matches!(seen.method.as_str(), "HEAD" | "GET") && absent.contains(&seen.path);
            asks.then_some(Spoil::Answer(403, denied))
        };
        proxy.spoil(refuse.clone());
        let got = source.get(&a).await;
        assert!(matches!(got, Err(SourceError::Gone(_))), "{got:?}");
        source.settle(&c, &Outcome::Done).await.expect("there is nothing left to settle");
        source.settle(&b, &Outcome::Done).await.expect("nothing lies where it goes");
        assert_eq!(bucket.keys().await, ["cc", "done/b"]);
        until("one left", async || (keys(&source).await == ["cc"]).then_some(())).await;
        // What is listed, and may not be looked at, is there.
        bucket.put("a", "a").await;
        let source = bucket.served_slowly(&["--poll", "1h"]).await;
        let got = source.get(&a).await;
        assert!(matches!(&got, Err(SourceError::Unavailable { why, .. }) if why.contains("s3:GetObject")), "{got:?}");
        // So is, as far as is known, what may not even be listed.
        proxy.spoil(move |seen| match (seen.query.contains("prefix=a"), refuse(seen)) {
            (_, Some(spoil)) => Some(spoil),
            (true, None) => Some(Spoil::Answer(403, String::new())),
            (false, None) => None,
        });
        let got = source.get(&a).await;
        assert!(matches!(&got, Err(SourceError::Unavailable { why, .. }) if why.contains("s3:GetObject")), "{got:?}");
    }

    #[tokio::test]
    async fn a_settle_that_is_repeated_takes_nothing_that_is_uploaded_later() {
        let mut bucket = Bucket::new(S3Server::shared_minio()).await;
        let proxy = bucket.through_proxy().await;
        bucket.put("a", "the same").await;
        let source = bucket.served(&["--on-settle", "delete"]).await;
        let name = item(&source, "a").await.name;
        for _ in 0..3 {
            source.settle(&name, &Outcome::Done).await.expect("settled");
        }
        assert!(bucket.get("a").await.is_none());
        bucket.put("a", "the same").await;
        assert_eq!(item(&source, "a").await.name, name, "by its ETag it is the same item");
        let lists = || proxy.seen().iter().filter(|seen| seen.query.contains("list-type=2")).count();
        let before = lists();
        until("further looks", async || (lists() > before + 10).then_some(())).await;
        assert_eq!(bucket.get("a").await.as_deref(), Some("the same"), "it was never worked on");
        source.settle(&name, &Outcome::Done).await.expect("settled");
        until("its end", async || bucket.get("a").await.is_none().then_some(())).await;
    }

    #[tokio::test]
    async fn a_new_version_of_the_same_bytes_is_another_item_whatever_became_of_the_one_before() {
        for policy in ["tag:k=done", "delete"] {
            let bucket = Bucket::new(S3Server::shared_minio()).await;
            bucket.keep_versions().await;
            bucket.put("a", "the same").await;
            let source = bucket.served(&["--identity", "version-id", "--on-settle", policy]).await;
            let first = item(&source, "a").await.name;
            // With delete it stays and is withheld.
            source.settle(&first, &failed()).await.expect("settled");
            nothing(&source).await;
            bucket.put("a", "the same").await;
            assert_ne!(item(&source, "a").await.name, first, "{policy}");
        }
    }

    #[tokio::test]
    async fn asking_what_is_honoured_leaves_nothing_where_versions_are_kept() {
        let bucket = Bucket::new(S3Server::shared_minio()).await;
        bucket.keep_versions().await;
        let ended = run(&bucket, &["--bucket", &bucket.name, "--on-settle", "delete", "--check"]);
        assert!(ended.status.success(), "{ended:?}");
        assert!(text(&ended.stdout).contains("best-effort"), "{ended:?}");
        let versions = bucket.client.list_object_versions().bucket(&bucket.name).send().await.expect("a list");
        assert!(versions.versions().is_empty() && versions.delete_markers().is_empty(), "{versions:?}");
    }
}
