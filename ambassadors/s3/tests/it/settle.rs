//! What becomes of objects whose items are settled, looked at by a client that is none of ours.

use ambassador_kit::source::{Outcome, Source, SourceError};
use contract::wire::Settle;
use longshore_tests::source::names;
use longshore_tests::until;
use storage_s3::S3;
use test_servers::{Proxy, Spoil, aws_sdk_s3};

use crate::served::{Bucket, failed, item, keys, nothing, withheld_as};

mod needs_s3_servers {
    use test_servers::S3Server;

    use super::*;

    #[tokio::test]
    async fn what_is_done_is_deleted_and_what_failed_stays_and_says_why() {
        for server in [S3Server::shared_minio(), S3Server::shared_versity()] {
            let bucket = Bucket::new(server).await;
            bucket.put("in/a.mp4", "a").await;
            bucket.put("in/b.mp4", "b").await;
            bucket.put("other.mp4", "c").await;
            let source = bucket.served(&["--prefix", "in/", "--on-settle", "delete"]).await;
            let (a, b) = (item(&source, "in/a.mp4").await, item(&source, "in/b.mp4").await);
            for _ in 0..3 {
                source.settle(&a.name, &Outcome::Done).await.expect("settled");
                source.settle(&b.name, &failed()).await.expect("settled");
            }
            nothing(&source).await;
            assert_eq!(bucket.keys().await, ["in/b.mp4", "other.mp4"]);
            assert!(matches!(source.get(&a.name).await, Err(SourceError::Gone(_))));
            let why = withheld_as(&source, "in/b.mp4", "dead-letter").await;
            assert!(!why.pending && why.message.contains("--dead-letter"), "{why:?}");
            // Another content is another chance.
            bucket.put("in/b.mp4", "better").await;
            assert_ne!(item(&source, "in/b.mp4").await.name, b.name);
        }
    }

    #[tokio::test]
    async fn what_took_its_place_is_left_alone_by_every_policy() {
        for server in [S3Server::shared_minio(), S3Server::shared_versity()] {
            for policy in ["delete", "tag:k=done", "move:done/"] {
                let bucket = Bucket::new(server).await;
                bucket.put("a.mp4", "old").await;
                let source = bucket.served(&["--on-settle", policy]).await;
                let old = item(&source, "a.mp4").await.name;
                bucket.put("a.mp4", "new").await;
                for outcome in [Outcome::Done, failed()] {
                    source.settle(&old, &outcome).await.expect("settled");
                }
                assert_eq!(bucket.get("a.mp4").await.as_deref(), Some("new"), "{policy}");
                assert_eq!(bucket.keys().await, ["a.mp4"], "{policy}");
                assert!(bucket.tags("a.mp4").await.is_empty(), "{policy}");
                until("the new one listed", async || {
                    let names = names(&source).await;
                    (!names.is_empty() && !names.contains(&old)).then_some(())
                })
                .await;
                assert_eq!(keys(&source).await, ["a.mp4"], "{policy}");
            }
        }
    }

    #[tokio::test]
    async fn moved_objects_keep_their_path_and_all_that_is_known_of_them() {
        for server in [S3Server::shared_minio(), S3Server::shared_versity()] {
            let bucket = Bucket::new(server).await;
            let key = "in/x/a b+c%é?&#.mp4";
            let put = bucket.client.put_object().bucket(&bucket.name).key(key).body(b"video".to_vec().into());
            let put = put.content_type("video/mp4").metadata("camera", "7").tagging("k=v").cache_control("no-store");
            put.send().await.expect("written");
            bucket.put("in/bad.mp4", "bad").await;
            let source = bucket.served(&["--prefix", "in/", "--on-settle", "move:in/done"]).await;
            source.settle(&item(&source, key).await.name, &Outcome::Done).await.expect("settled");
            source.settle(&item(&source, "in/bad.mp4").await.name, &failed()).await.expect("settled");
            let moved = "in/done/x/a b+c%é?&#.mp4";
            assert_eq!(bucket.keys().await, ["in/done/failed/bad.mp4", moved]);
            let head = bucket.client.head_object().bucket(&bucket.name).key(moved).send().await.expect("is there");
            assert_eq!(head.content_type(), Some("video/mp4"));
            assert_eq!(head.cache_control(), Some("no-store"));
            assert_eq!(head.metadata().and_then(|all| all.get("camera")).map(String::as_str), Some("7"));
            assert_eq!(bucket.tags(moved).await, [("k".to_owned(), "v".to_owned())]);
            nothing(&source).await;
            let why = withheld_as(&source, moved, "settled").await;
            assert!(why.message.contains("moved there"), "{why:?}");
        }
    }

    #[tokio::test]
    async fn nothing_is_overwritten_where_objects_are_moved_and_nothing_is_kept_twice() {
        for server in [S3Server::shared_minio(), S3Server::shared_versity()] {
            let bucket = Bucket::new(server).await;
            bucket.put("done/in/a.mp4", "somebody's").await;
            let source = bucket.served(&["--prefix", "in/", "--on-settle", "move:done/in/"]).await;
            for (content, want) in [("first", 2), ("second", 3), ("first", 3)] {
                bucket.put("in/a.mp4", content).await;
                source.settle(&item(&source, "in/a.mp4").await.name, &Outcome::Done).await.expect("settled");
                nothing(&source).await;
                assert_eq!(bucket.keys().await.len(), want, "after {content}: {:?}", bucket.keys().await);
            }
            for (key, content) in
                [("done/in/a.mp4", "somebody's"), ("done/in/a.mp4.1", "first"), ("done/in/a.mp4.2", "second")]
            {
                assert_eq!(bucket.get(key).await.as_deref(), Some(content), "{key}");
            }
        }
    }

    #[tokio::test]
    async fn tagged_objects_are_listed_no_more_by_any_ambassador() {
        for server in [S3Server::shared_minio(), S3Server::shared_versity()] {
            let bucket = Bucket::new(server).await;
            for key in ["a", "b", "c"] {
                bucket.put(key, key).await;
            }
            let tags = aws_sdk_s3::types::Tagging::builder()
                .tag_set(aws_sdk_s3::types::Tag::builder().key("mine").value("1").build().expect("a tag"))
                .build()
                .expect("tags");
            let tag = bucket.client.put_object_tagging().bucket(&bucket.name).key("a").tagging(tags);
            tag.send().await.expect("tagged");
            let flags = ["--on-settle", "tag:longshore=done"];
            let source = bucket.served(&flags).await;
            source.settle(&item(&source, "a").await.name, &Outcome::Done).await.expect("settled");
            source.settle(&item(&source, "b").await.name, &failed()).await.expect("settled");
            let pair = |tag: &str, value: &str| (tag.to_owned(), value.to_owned());
            let mut tags = bucket.tags("a").await;
            tags.sort();
            assert_eq!(tags, [pair("longshore", "done"), pair("mine", "1")], "what was there stays");
            assert_eq!(bucket.tags("b").await, [pair("longshore", "failed")]);
            // One that remembers, and one that has to ask.
            for source in [source, bucket.served(&flags).await] {
                let why = withheld_as(&source, "a", "settled").await;
                assert!(why.message.contains("longshore=done"), "{why:?}");
                withheld_as(&source, "b", "dead-letter").await;
                assert_eq!(keys(&source).await, ["c"]);
            }
            bucket.put("a", "new content has no tags").await;
            let source = bucket.served(&flags).await;
            assert_eq!(keys(&source).await, ["a", "c"]);
        }
    }

    #[tokio::test]
    async fn what_failed_leaves_the_prefix_where_what_is_done_is_tagged() {
        for server in [S3Server::shared_minio(), S3Server::shared_versity()] {
            let bucket = Bucket::new(server).await;
            let flags = ["--prefix", "in/", "--on-settle", "tag:k=done", "--dead-letter", "dead"];
            let source = bucket.served(&flags).await;
            for round in ["1", "2"] {
                bucket.put("in/a", round).await;
                bucket.put("in/x/b", "b").await;
                let (a, b) = (item(&source, "in/a"), item(&source, "in/x/b"));
                let (a, b) = (a.await, b.await);
                source.settle(&b.name, &failed()).await.expect("settled");
                source.settle(&a.name, &Outcome::Done).await.expect("settled");
                nothing(&source).await;
                assert_eq!(bucket.keys().await, ["dead/x/b", "in/a"]);
                assert_eq!(bucket.tags("in/a").await, [("k".to_owned(), "done".to_owned())]);
                assert!(bucket.tags("dead/x/b").await.is_empty());
                assert_eq!(bucket.get("dead/x/b").await.as_deref(), Some("b"));
                withheld_as(&source, "in/a", "settled").await;
                // Written anew, both are items again; what is in the other prefix already is not kept twice.
            }
        }
    }

    #[tokio::test]
    async fn an_eleventh_tag_is_refused_with_what_to_do() {
        let bucket = Bucket::new(S3Server::shared_minio()).await;
        let full = (0..10).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join("&");
        let put = bucket.client.put_object().bucket(&bucket.name).key("a").tagging(full);
        put.send().await.expect("written");
        let source = bucket.served(&["--on-settle", "tag:longshore=done"]).await;
        let name = item(&source, "a").await.name;
        let refused = source.settle(&name, &Outcome::Done).await.expect_err("no room").to_string();
        assert!(refused.contains("10 tags") && refused.contains("delete or move"), "{refused}");
        assert_eq!(bucket.tags("a").await.len(), 10);
        assert_eq!(names(&source).await, [name]);
    }

    #[tokio::test]
    async fn a_bucket_that_keeps_versions_gets_a_marker_and_shows_no_older_one() {
        for server in [S3Server::shared_minio(), S3Server::shared_versity()] {
            let bucket = Bucket::new(server).await;
            bucket.keep_versions().await;
            bucket.put("a", "older").await;
            bucket.put("a", "newer").await;
            let source = bucket.served(&["--on-settle", "delete"]).await;
            let found = item(&source, "a").await;
            assert!(found.data["versionId"].as_str().is_some_and(|id| !id.is_empty()), "{found:?}");
            source.settle(&found.name, &Outcome::Done).await.expect("settled");
            nothing(&source).await;
            let all = bucket.client.list_object_versions().bucket(&bucket.name).send().await.expect("versions");
            let of_a = |key: Option<&str>| key == Some("a");
            assert_eq!(all.versions().iter().filter(|version| of_a(version.key())).count(), 2, "nothing is lost");
            assert_eq!(all.delete_markers().iter().filter(|marker| of_a(marker.key())).count(), 1);
            // The same content again is the same item by its ETag; written anew, it is listed anew.
            bucket.put("a", "newer").await;
            assert_eq!(item(&source, "a").await.name, found.name);
        }
    }

    #[tokio::test]
    async fn what_the_store_honours_is_found_out_and_said() {
        for (server, policy, versions, want) in [
            (S3Server::shared_versity(), "delete", false, Settle::Exact),
            (S3Server::shared_minio(), "delete", false, Settle::BestEffort),
            (S3Server::shared_versity(), "move:done", false, Settle::Exact),
            (S3Server::shared_minio(), "tag:k=v", false, Settle::BestEffort),
            (S3Server::shared_minio(), "tag:k=v", true, Settle::Exact),
        ] {
            let bucket = Bucket::new(server).await;
            if versions {
                bucket.keep_versions().await;
            }
            let source = bucket.served(&["--on-settle", policy]).await;
            let tried = "longshore/settle";
            // Nothing is taken for granted, so only what is exact has to be waited for.
            if want == Settle::Exact {
                until(tried, async || (source.about().settle == want).then_some(())).await;
            }
            assert_eq!(source.about().settle, want, "{policy}");
            until("no trace", async || bucket.all_keys().await.is_empty().then_some(())).await;
            assert!(names(&source).await.is_empty());
        }
        let bucket = Bucket::new(S3Server::shared_minio()).await;
        let source = bucket.served(&[]).await;
        assert_eq!(source.about().settle, Settle::None);
        bucket.put("a", "a").await;
        let name = item(&source, "a").await.name;
        assert!(matches!(source.settle(&name, &Outcome::Done).await, Err(SourceError::Unsupported(_))));
        assert_eq!(bucket.keys().await, ["a"]);
    }

    #[tokio::test]
    async fn what_comes_between_the_look_and_the_delete_is_spared_where_the_store_can() {
        let mut bucket = Bucket::new(S3Server::shared_versity()).await;
        let proxy = Proxy::before(&bucket.endpoint).await;
        bucket.endpoint = proxy.url();
        bucket.put("a", "old").await;
        let source = bucket.served(&["--on-settle", "delete"]).await;
        until("exact", async || (source.about().settle == Settle::Exact).then_some(())).await;
        let name = item(&source, "a").await.name;
        let (go, held) = tokio::sync::watch::channel(false);
        proxy.spoil(move |seen| (seen.method == "DELETE").then(|| Spoil::Hold(held.clone())));
        let before = proxy.seen().len();
        let settle = source.settle(&name, &Outcome::Done);
        let replace = async {
            until("the delete on its way", async || {
                proxy.seen().iter().skip(before).any(|seen| seen.method == "DELETE").then_some(())
            })
            .await;
            bucket.put("a", "new").await;
            go.send(true).expect("somebody waits");
        };
        let (settled, ()) = tokio::join!(settle, replace);
        settled.expect("settled");
        assert_eq!(bucket.get("a").await.as_deref(), Some("new"));
    }

    #[tokio::test]
    async fn an_item_is_settled_by_one_at_a_time() {
        let mut bucket = Bucket::new(S3Server::shared_minio()).await;
        let proxy = bucket.through_proxy().await;
        bucket.put("a", "a").await;
        let source = bucket.served(&["--on-settle", "move:done/"]).await;
        let name = item(&source, "a").await.name;
        let (go, held) = tokio::sync::watch::channel(false);
        let is_copy = |seen: &test_servers::Seen| seen.header("x-amz-copy-source").is_some();
        proxy.spoil(move |seen| is_copy(seen).then(|| Spoil::Hold(held.clone())));
        let first = source.settle(&name, &Outcome::Done);
        let second = async {
            until("the copy on its way", async || proxy.seen().iter().any(is_copy).then_some(())).await;
            let refused = source.settle(&name, &Outcome::Done).await.expect_err("the first is not over");
            assert!(refused.to_string().contains("being settled already"), "{refused}");
            go.send(true).expect("somebody waits");
        };
        let (settled, ()) = tokio::join!(first, second);
        settled.expect("settled");
        assert_eq!(proxy.seen().iter().filter(|seen| is_copy(seen)).count(), 1);
        assert_eq!(bucket.keys().await, ["done/a"]);
    }

    #[tokio::test]
    async fn what_failed_and_stays_is_no_item_of_pages_either() {
        let bucket = Bucket::new(S3Server::shared_minio()).await;
        bucket.put("a", "a").await;
        let source = bucket.paged(&["--on-settle", "delete"]).await;
        let name = item(&source, "a").await.name;
        source.settle(&name, &failed()).await.expect("settled");
        assert!(matches!(source.get(&name).await, Err(SourceError::NotFound(_))));
        assert!(names(&source).await.is_empty());
        withheld_as(&source, "a", "dead-letter").await;
        assert_eq!(bucket.get("a").await.as_deref(), Some("a"));
    }

    #[tokio::test]
    async fn what_comes_between_the_look_and_the_tag_keeps_no_tag() {
        let mut bucket = Bucket::new(S3Server::shared_minio()).await;
        let proxy = Proxy::before(&bucket.endpoint).await;
        bucket.endpoint = proxy.url();
        bucket.put("a", "old").await;
        let source = bucket.served(&["--on-settle", "tag:k=done"]).await;
        let name = item(&source, "a").await.name;
        let (go, held) = tokio::sync::watch::channel(false);
        let is_tag = |seen: &test_servers::Seen| seen.method == "PUT" && seen.query.contains("tagging");
        proxy.spoil(move |seen| is_tag(seen).then(|| Spoil::Hold(held.clone())));
        let settle = source.settle(&name, &Outcome::Done);
        let replace = async {
            until("the tag on its way", async || proxy.seen().iter().any(is_tag).then_some(())).await;
            bucket.put("a", "new").await;
            go.send(true).expect("somebody waits");
        };
        let (settled, ()) = tokio::join!(settle, replace);
        settled.expect("settled");
        assert!(bucket.tags("a").await.is_empty(), "the new one would be taken for done");
        until("the new one listed", async || (names(&source).await.iter().any(|other| *other != name)).then_some(()))
            .await;
    }

    #[tokio::test]
    async fn a_backend_that_is_down_settles_nothing_and_a_lost_reply_is_asked_again() {
        let mut bucket = Bucket::new(S3Server::shared_minio()).await;
        let proxy = Proxy::before(&bucket.endpoint).await;
        bucket.endpoint = proxy.url();
        bucket.put("a", "a").await;
        let source = bucket.served(&["--on-settle", "move:done/"]).await;
        let name = item(&source, "a").await.name;
        proxy.spoil(|seen| (seen.method == "PUT").then(|| Spoil::Answer(403, denied("AccessDenied"))));
        let refused = source.settle(&name, &Outcome::Done).await.expect_err("nothing was settled");
        assert!(matches!(&refused, SourceError::Unavailable { why, .. } if why.contains("copy")), "{refused:?}");
        assert_eq!(bucket.keys().await, ["a"]);
        // The copy is made and nobody hears of it; the next settle knows it for its own.
        let lost = std::sync::atomic::AtomicBool::new(false);
        proxy.spoil(move |seen| {
            let first = seen.method == "PUT" && !lost.swap(true, std::sync::atomic::Ordering::Relaxed);
            first.then_some(Spoil::LoseReply)
        });
        until("settled", async || source.settle(&name, &Outcome::Done).await.ok()).await;
        assert_eq!(bucket.keys().await, ["done/a"]);
    }

    fn denied(code: &str) -> String {
        format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>no</Message></Error>")
    }

    #[tokio::test]
    async fn by_raw_names_nothing_is_settled_that_is_not_listed() {
        let bucket = Bucket::new(S3Server::shared_minio()).await;
        let etag = bucket.put("in/a.txt", "a").await;
        let outside = bucket.put("out/a.mp4", "a").await;
        let mp4 = bucket.put("in/a.mp4", "a").await;
        let source = bucket.paged(&["--prefix", "in/", "--glob", "*.mp4", "--on-settle", "delete"]).await;
        for name in [format!("in/a.txt@{etag}"), format!("out/a.mp4@{outside}"), "in/a.mp4@another".to_owned()] {
            let name = contract::ItemName::parse(&name).expect("a name");
            assert!(matches!(source.get(&name).await, Err(SourceError::NotFound(_))), "{name}");
            source.settle(&name, &Outcome::Done).await.expect("any name can be settled");
        }
        assert_eq!(bucket.keys().await, ["in/a.mp4", "in/a.txt", "out/a.mp4"]);
        let name = contract::ItemName::parse(&format!("in/a.mp4@{mp4}")).expect("a name");
        source.settle(&name, &Outcome::Done).await.expect("settled");
        assert_eq!(bucket.keys().await, ["in/a.txt", "out/a.mp4"]);
    }

    #[tokio::test]
    async fn what_is_settled_before_it_turns_up_is_settled_when_it_does() {
        let (one, other) = (Bucket::new(S3Server::shared_minio()).await, Bucket::new(S3Server::shared_minio()).await);
        one.put("a", "a").await;
        let flags = ["--source-id", "same", "--on-settle", "delete"];
        let name = item(&one.served(&flags).await, "a").await.name;
        let source = other.served(&flags).await;
        source.settle(&name, &Outcome::Done).await.expect("remembered");
        other.put("a", "a").await;
        until("it settled", async || other.keys().await.is_empty().then_some(())).await;
    }

    /// The client is used elsewhere too; here only its clock is looked at.
    #[tokio::test]
    async fn the_clock_is_the_stores() {
        let bucket = Bucket::new(S3Server::shared_minio()).await;
        let args =
            storage_s3::S3Args { s3_endpoint_url: Some(bucket.endpoint.clone()), ..storage_s3::S3Args::default() };
        let s3 = S3::with_keys(args, storage_s3::TransferArgs::default(), &bucket.access_key, &bucket.secret_key);
        s3.bucket(&bucket.name).list(&storage_s3::ListQuery::default()).await.expect("a list");
        let apart = std::time::SystemTime::now().duration_since(s3.now()).unwrap_or_default();
        assert!(apart < std::time::Duration::from_secs(60), "this machine's clock is the server's: {apart:?}");
    }
}
