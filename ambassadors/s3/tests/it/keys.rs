//! What keys may be, and what becomes of objects that are no items.

use ambassador_kit::source::{Outcome, Source, SourceError};
use contract::ItemName;
use longshore_tests::source::{names, withheld};
use longshore_tests::until;
use test_servers::{Proxy, S3Server, Spoil};

use crate::served::{Bucket, item, items, keys, nothing, withheld_as};

mod needs_s3_servers {
    use super::*;

    /// Keys that a server stores as they are.
    fn odd(server: &S3Server) -> Vec<String> {
        let mut keys: Vec<String> = [
            "a b",
            "a+b",
            "a%20b",
            "100%",
            "é-composed",
            "e\u{301}-decomposed",
            "日本/語.mp4",
            "k?q#f&g=h",
            "new\nline",
            "q\"u'o<t>e",
            "a@b",
            ".hidden",
            "-dash",
            "~tilde",
            "back\\slash",
            "semi;colon",
            "😀",
        ]
        .map(str::to_owned)
        .into();
        // Names of files have 255 bytes at most, and both are kept in files.
        keys.push(vec!["x".repeat(200); 5].join("/") + "/" + &"y".repeat(19));
        if server.url() == S3Server::shared_minio().url() {
            keys.push("control\u{1}".to_owned());
        }
        keys
    }

    #[tokio::test]
    async fn any_key_is_listed_got_and_settled() {
        for server in [S3Server::shared_minio(), S3Server::shared_versity()] {
            let bucket = Bucket::new(server).await;
            let mut odd = odd(server);
            for key in &odd {
                bucket.put(key, key).await;
            }
            odd.sort();
            assert!(odd.iter().any(|key| key.len() == 1_024));
            let source = bucket.served(&["--on-settle", "delete", "--presign", "1h"]).await;
            assert_eq!(keys(&source).await, odd);
            for item in items(&source).await {
                let key = item.data["key"].as_str().expect("a key");
                let url = item.data["url"].as_str().expect("a URL");
                let got = reqwest::get(url).await.expect("an answer");
                assert_eq!(got.status(), 200, "{key:?}");
                assert_eq!(got.text().await.expect("a body"), key);
                let uri = item.data["uri"].as_str().expect("a URI");
                let path = uri.strip_prefix(&format!("s3://{}/", bucket.name)).expect("in the bucket");
                assert_eq!(contract::item::decode_path(path), key.as_bytes());
                source.settle(&item.name, &Outcome::Done).await.expect("settled");
            }
            assert!(bucket.keys().await.is_empty(), "{:?}", bucket.keys().await);
        }
    }

    #[tokio::test]
    async fn raw_names_are_keys_and_what_has_none_says_so() {
        let bucket = Bucket::new(S3Server::shared_minio()).await;
        for key in ["a b+c%é", "d/e@f", "new\nline", "control\u{1}"] {
            bucket.put(key, "x").await;
        }
        let etag = "9dd4e461268c8034f5c8564e155c67a6";
        let mut want = ["a b+c%é", "d/e@f"].map(|key| format!("{key}@{etag}")).to_vec();
        want.sort();
        let check = async |source: &dyn Named| {
            let mut found = source.found().await;
            found.sort();
            assert_eq!(found, want);
        };
        let (held, paged) = (bucket.served(&["--names", "raw", "--order", "age"]).await, bucket.paged(&[]).await);
        check(&held).await;
        check(&paged).await;
        for one in [withheld(&held).await, withheld(&paged).await].concat() {
            assert_eq!(one.reason, "unnameable");
            assert!(one.message.contains("--names label"), "{}", one.message);
        }
    }

    /// What both kinds of source can be asked, whatever their positions are.
    trait Named {
        fn found(&self) -> futures_util::future::BoxFuture<'_, Vec<String>>;
    }

    impl<S: Source> Named for S {
        fn found(&self) -> futures_util::future::BoxFuture<'_, Vec<String>> {
            Box::pin(async { names(self).await.into_iter().map(String::from).collect() })
        }
    }

    /// Neither server keeps such keys as they are, and others do: a listing is given, and what is asked for by it is looked at.
    #[tokio::test]
    async fn slashes_and_dots_mean_nothing_in_a_key() {
        let mut bucket = Bucket::new(S3Server::shared_minio()).await;
        let proxy = Proxy::before(&bucket.endpoint).await;
        bucket.endpoint = proxy.url();
        let keys = ["//x", "/lead", "a//b", "a/../b", "..", "trailing/"];
        let contents: String = keys
            .iter()
            .map(|key| {
                let key = key.replace('/', "%2F");
                format!(
                    "<Contents><Key>{key}</Key><Size>1</Size><ETag>\"e\"</ETag><StorageClass>STANDARD</StorageClass>\
                     <LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
                )
            })
            .collect();
        let list = format!(
            "<?xml version=\"1.0\"?><ListBucketResult><EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>\
             {contents}</ListBucketResult>"
        );
        proxy.spoil(move |seen| match seen.method.as_str() {
            "GET" if seen.query.contains("list-type=2") => Some(Spoil::Answer(200, list.clone())),
            _ => Some(Spoil::Answer(404, String::new())),
        });
        let source = bucket.served(&[]).await;
        assert_eq!(names(&source).await.len(), keys.len());
        for name in names(&source).await {
            assert!(matches!(source.get(&name).await, Err(SourceError::Gone(_))), "{name}");
        }
        for key in keys {
            let path = format!("/{}/{key}", bucket.name);
            let asked = proxy.seen();
            assert!(asked.iter().any(|seen| seen.method == "HEAD" && seen.path == path), "{path}: {asked:#?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_item_says_why() {
        for server in [S3Server::shared_minio(), S3Server::shared_versity()] {
            let bucket = Bucket::new(server).await;
            for key in
                ["in/a.mp4", "in/a.txt", "in/raw/b.mp4", "in/out/a/thumb.jpg", "in/out/a/_SUCCESS.json", "out.mp4"]
            {
                bucket.put(key, "content").await;
            }
            bucket.put("in/folder/", "").await;
            bucket.put("in/big.mp4", "much more content").await;
            bucket.put("in/out/b/_attempts/1-x/thumb.mp4", "content").await;
            let flags =
                ["--prefix", "in/", "--glob", "*.mp4", "--glob", "*.jpg", "--exclude", "raw", "--max-size", "10B"];
            let source = bucket.served(&flags).await;
            assert_eq!(keys(&source).await, ["in/a.mp4"]);
            let paged = bucket.paged(&flags).await;
            for (key, reason, says) in [
                ("in/a.txt", "no-match", "*.mp4, *.jpg"),
                ("in/raw/b.mp4", "excluded", "--exclude \"raw\""),
                ("in/folder/", "placeholder", "folder"),
                ("in/big.mp4", "too-large", "--max-size 10"),
                ("in/out/a/_SUCCESS.json", "own-output", "--own-output list"),
                ("in/out/a/thumb.jpg", "own-output", "--own-output list"),
                ("in/out/b/_attempts/1-x/thumb.mp4", "own-output", "--own-output list"),
            ] {
                let why = withheld_as(&source, key, reason).await;
                assert!(why.message.contains(says) && !why.pending, "{key}: {why:?}");
                // Pages know no more than what a key says.
                if !key.ends_with("thumb.jpg") {
                    withheld_as(&paged, key, reason).await;
                }
            }
            assert!(
                !withheld(&source).await.iter().any(|one| one.key.to_string() == "out.mp4"),
                "--prefix asks for no more"
            );
        }
    }

    #[tokio::test]
    async fn young_objects_wait_by_the_stores_clock() {
        let bucket = Bucket::new(S3Server::shared_minio()).await;
        bucket.put("a", "a").await;
        let source = bucket.served(&["--min-age", "1h"]).await;
        let why = withheld_as(&source, "a", "too-young").await;
        assert!(why.pending && why.message.contains("--min-age"), "{why:?}");
        // It comes by itself, without another look at the bucket.
        let source = bucket.served_slowly(&["--min-age", "2s", "--poll", "1h"]).await;
        assert_eq!(item(&source, "a").await.data["key"], "a");
    }

    #[tokio::test]
    async fn who_serves_what_lies_beside_a_marker_means_to() {
        let bucket = Bucket::new(S3Server::shared_minio()).await;
        for key in ["out/a/1.jpg", "out/a/_SUCCESS.json", "out/a/b/2.jpg", "out/a/b/_SUCCESS.json"] {
            bucket.put(key, "x").await;
        }
        let source = bucket.served(&["--prefix", "out/a/"]).await;
        assert_eq!(keys(&source).await, ["out/a/1.jpg"]);
        withheld_as(&source, "out/a/b/2.jpg", "own-output").await;
    }

    #[tokio::test]
    async fn what_a_worker_has_published_is_no_item_before_its_marker_is_there() {
        let bucket = Bucket::new(S3Server::shared_minio()).await;
        let put = bucket.client.put_object().bucket(&bucket.name).key("out/1.jpg").body(b"x".to_vec().into());
        put.metadata("longshore-item", "a").send().await.expect("written");
        let source = bucket.served_slowly(&["--poll", "1h"]).await;
        let [name] = &names(&source).await[..] else { panic!("no listing shows it") };
        assert!(matches!(source.get(name).await, Err(SourceError::Gone(_))));
        let why = withheld_as(&source, "out/1.jpg", "own-output").await;
        assert!(why.message.contains("--own-output list"), "{why:?}");
        let all = bucket.served_slowly(&["--poll", "1h", "--own-output", "list"]).await;
        assert_eq!(keys(&all).await, ["out/1.jpg"]);
    }

    #[tokio::test]
    async fn no_position_is_longer_than_a_key() {
        let bucket = Bucket::new(S3Server::shared_minio()).await;
        let source = bucket.paged(&[]).await;
        assert!(source.page(Some("k".repeat(1_024)), 1).await.is_ok());
        assert!(matches!(source.page(Some("k".repeat(1_025)), 1).await, Err(SourceError::Expired(_))));
    }

    #[tokio::test]
    async fn overwritten_objects_are_new_items_and_deleted_ones_are_gone() {
        for server in [S3Server::shared_minio(), S3Server::shared_versity()] {
            let bucket = Bucket::new(server).await;
            bucket.put("a", "one").await;
            bucket.put("b", "b").await;
            let source = bucket.served_slowly(&["--poll", "1h", "--reconcile", "1h"]).await;
            let (a, b) = (item(&source, "a").await, item(&source, "b").await);
            let etag = bucket.put("a", "two").await;
            bucket.client.delete_object().bucket(&bucket.name).key("b").send().await.expect("deleted");
            // Between two looks: the store is asked for each item.
            for old in [&a, &b] {
                assert!(matches!(source.get(&old.name).await, Err(SourceError::Gone(_))));
            }
            let new = item(&source, "a").await;
            assert_ne!(new.name, a.name);
            assert_eq!(new.data["etag"], etag);
            until("one left", async || (names(&source).await == [new.name.clone()]).then_some(())).await;
            let never = ItemName::derive(b"", b"never", b"");
            assert!(matches!(source.get(&never).await, Err(SourceError::NotFound(_))));
        }
    }

    #[tokio::test]
    async fn by_version_ids_the_same_content_written_anew_is_another_item() {
        for server in [S3Server::shared_minio(), S3Server::shared_versity()] {
            let bucket = Bucket::new(server).await;
            bucket.keep_versions().await;
            let write = async || {
                let put = bucket.client.put_object().bucket(&bucket.name).key("a").body(b"same".to_vec().into());
                put.send().await.expect("written").version_id().expect("a version").to_owned()
            };
            let first = write().await;
            let source = bucket.served(&["--identity", "version-id", "--on-settle", "delete"]).await;
            let old = item(&source, "a").await;
            assert_eq!(old.data["versionId"], first);
            let second = write().await;
            let new = until("the new one", async || {
                items(&source).await.into_iter().find(|item| item.data["versionId"] == second)
            })
            .await;
            assert_eq!(new.data["etag"], old.data["etag"]);
            assert_ne!(new.name, old.name);
            assert!(matches!(source.get(&old.name).await, Err(SourceError::Gone(_))));
            // A name of what is no more settles nothing.
            source.settle(&old.name, &Outcome::Done).await.expect("settled");
            assert_eq!(bucket.get("a").await.as_deref(), Some("same"));
            // Deleted by somebody else: a marker stands there, and no older version is listed for it.
            bucket.client.delete_object().bucket(&bucket.name).key("a").send().await.expect("deleted");
            nothing(&source).await;
            assert!(matches!(source.get(&new.name).await, Err(SourceError::Gone(_))));
            let third = write().await;
            let again = item(&source, "a").await;
            assert_eq!(again.data["versionId"], third);
            assert!(again.name != new.name && again.name != old.name);
            source.settle(&again.name, &Outcome::Done).await.expect("settled");
            nothing(&source).await;
            assert_eq!(bucket.get("a").await, None);
        }
    }

    #[tokio::test]
    async fn a_signed_url_reads_the_version_it_was_signed_for() {
        for server in [S3Server::shared_minio(), S3Server::shared_versity()] {
            let bucket = Bucket::new(server).await;
            bucket.keep_versions().await;
            bucket.put("a", "one").await;
            let source = bucket.served(&["--presign", "1h"]).await;
            let found = item(&source, "a").await;
            bucket.put("a", "two").await;
            let url = found.data["url"].as_str().expect("a URL");
            assert_eq!(reqwest::get(url).await.expect("an answer").text().await.expect("a body"), "one");
            let again = item(&source, "a").await;
            assert_ne!(again.data["versionId"], found.data["versionId"]);
        }
    }
}
