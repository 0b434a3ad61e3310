//! What it costs to look: how many requests, and for what.

use longshore_tests::source::names;
use longshore_tests::until;
use s3_ambassador::S3Source;
use sidecar::metrics::registry::Registry;

use crate::program::{run, serving, text};
use crate::served::{Bucket, keys, small_pages, withheld_as};

mod needs_s3_servers {
    use ambassador_kit::source::{Health, Source};
    use futures_util::StreamExt;
    use test_servers::{Proxy, S3Server};

    use super::*;

    /// Keys on a page.
    const PAGE: usize = 7;

    async fn small(bucket: &mut Bucket) -> Proxy {
        let proxy = bucket.through_proxy().await;
        proxy.spoil(|seen| small_pages(seen, PAGE));
        proxy
    }

    fn lists(proxy: &Proxy) -> Vec<String> {
        let seen = proxy.seen().into_iter().filter(|seen| seen.method == "GET" && seen.query.contains("list-type=2"));
        seen.map(|seen| seen.query).collect()
    }

    #[tokio::test]
    async fn published_outputs_cost_no_request_of_their_own() {
        const OUTPUTS: usize = 50;
        let mut bucket = Bucket::new(S3Server::shared_minio()).await;
        let dirs = futures_util::stream::iter(0..OUTPUTS).map(|n| format!("out/{n:04}"));
        dirs.for_each_concurrent(16, async |dir| {
            for name in ["0001.jpg", "_SUCCESS.json"] {
                bucket.put(&format!("{dir}/{name}"), "x").await;
            }
        })
        .await;
        bucket.put("out/new/0001.jpg", "x").await;
        let proxy = small(&mut bucket).await;
        // Where the pages end, a marker stands on the page behind what it is about.
        let flags = ["--poll", "1h", "--list-concurrency", "1"];
        let source = S3Source::open(bucket.settings(&flags), &mut Registry::default());
        until("a first look", async || (*source.health().borrow() == Health::Live).then_some(())).await;
        assert_eq!(keys(&source).await, ["out/new/0001.jpg"]);
        assert_eq!(lists(&proxy).len(), (2 * OUTPUTS + 1).div_ceil(PAGE), "a look at everything and nothing else");
        withheld_as(&source, "out/0003/0001.jpg", "own-output").await;
    }

    #[tokio::test]
    async fn what_was_listed_before_its_marker_came_is_withheld_by_what_is_known() {
        let mut bucket = Bucket::new(S3Server::shared_minio()).await;
        bucket.fill(30).await;
        for key in ["out/a/deep/1.jpg", "out/a/2.jpg", "out/b/1.jpg"] {
            bucket.put(key, "x").await;
        }
        let proxy = small(&mut bucket).await;
        let flags = ["--poll", "50ms", "--poll-requests", "2", "--reconcile", "1d"];
        let source = S3Source::open(bucket.settings(&flags), &mut Registry::default());
        until("all of it", async || (names(&source).await.len() == 33).then_some(())).await;
        bucket.put("out/a/_SUCCESS.json", "{}").await;
        for key in ["out/a/deep/1.jpg", "out/a/2.jpg"] {
            withheld_as(&source, key, "own-output").await;
        }
        assert_eq!(names(&source).await.len(), 31, "what lies beside it stays");
        let inside = lists(&proxy).into_iter().filter(|query| query.contains("prefix=out%2Fa%2F&")).count();
        let behind = lists(&proxy).into_iter().filter(|query| query.contains("prefix=out%2Fa%2F&start-after")).count();
        assert_eq!(inside, behind, "only what may be new there is asked for");
    }

    #[tokio::test]
    async fn a_page_of_one_is_found_by_whole_pages_of_the_store() {
        let mut bucket = Bucket::new(S3Server::shared_minio()).await;
        bucket.fill(40).await;
        for key in ["in/03/00003.mp4", "in/05/x.mp4", "in/05/y.mp4"] {
            bucket.put(key, "x").await;
        }
        let proxy = small(&mut bucket).await;
        let flags = ["--prefix", "in/", "--poll", "1h", "--glob"];
        let source = bucket.paged(&[&flags[..], &["*.none"]].concat()).await;
        let asked = lists(&proxy).len();
        let page = source.page(None, 1).await.expect("a page");
        assert_eq!((page.items.len(), page.next), (0, None));
        assert_eq!(lists(&proxy).len() - asked, 43_usize.div_ceil(PAGE));

        let source = bucket.paged(&[&flags[..], &["*.mp4"]].concat()).await;
        let (mut found, mut from) = (Vec::new(), None);
        loop {
            let page = source.page(from, 1).await.expect("a page");
            assert!(page.items.len() <= 1);
            found.extend(page.items);
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        assert_eq!(found, names(&source).await, "each once, in their order");
        assert_eq!(found.len(), 3);
    }

    #[tokio::test]
    async fn a_prefix_that_patterns_pass_by_is_said() {
        let bucket = Bucket::new(S3Server::shared_minio()).await;
        bucket.put("in/a.mp4", "x").await;
        let check = |flags: &[&str]| {
            let output = run(&bucket, &[&["--bucket", &bucket.name, "--check"], flags].concat());
            assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
            text(&output.stdout)
        };
        let wrong = ["--prefix", "in", "--glob", "in/*.mp4"];
        let said = check(&wrong);
        assert!(said.contains("nothing begins with \"inin/\"") && said.contains("--prefix \"in/\""), "{said}");
        for right in [&["--prefix", "in/", "--glob", "*.mp4"][..], &["--glob", "in/*.mp4"], &["--glob", "in/*.mov"]] {
            assert!(!check(right).contains("nothing begins"), "{right:?}");
        }
        for names in ["label", "raw"] {
            let flags = [&["--bucket", &bucket.name, "--names", names], &wrong[..]].concat();
            let program = serving(&bucket, &flags).await;
            until("a warning", async || program.log().contains("nothing begins with").then_some(())).await;
        }
    }
}
