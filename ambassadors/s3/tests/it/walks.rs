//! Walks through buckets of real servers, in parts.

use futures_util::TryStreamExt;
use storage_s3::{Listing, S3, S3Args, TransferArgs, Walk};

use crate::served::{Bucket, small_pages};

fn bucket(bucket: &Bucket) -> storage_s3::Bucket {
    let args = S3Args { s3_endpoint_url: Some(bucket.endpoint.clone()), ..S3Args::default() };
    S3::with_keys(args, TransferArgs::default(), &bucket.access_key, &bucket.secret_key).bucket(&bucket.name)
}

async fn walked(bucket: &storage_s3::Bucket, walk: Walk) -> (Vec<String>, u32) {
    let pages: Vec<_> = bucket.walk(walk).try_collect().await.unwrap_or_else(|error| panic!("{error}"));
    let requests = pages.iter().map(|page| page.requests).sum();
    let mut keys: Vec<_> = pages.into_iter().flat_map(|page| page.objects).map(|object| object.key).collect();
    keys.sort_unstable();
    (keys, requests)
}

mod needs_s3_servers {
    use std::collections::{HashMap, HashSet};
    use std::sync::Mutex;
    use std::time::Duration;

    use futures_util::StreamExt;
    use test_servers::{S3Server, Spoil};

    use super::*;

    async fn fill(bucket: &Bucket, keys: impl IntoIterator<Item = String>) -> Vec<String> {
        let mut keys: Vec<String> = keys.into_iter().collect();
        keys.sort_unstable();
        futures_util::stream::iter(&keys).for_each_concurrent(16, async |key| drop(bucket.put(key, "x").await)).await;
        keys
    }

    async fn walked_in_parts(there: &Bucket, keys: &[String], parallelism: &[usize]) {
        let bucket = bucket(there);
        for parallelism in parallelism.iter().copied() {
            for of in [Listing::Objects, Listing::Versions] {
                let walk = Walk { prefix: "in/".to_owned(), parallelism, of, ..Walk::default() };
                let (found, requests) = walked(&bucket, walk).await;
                assert!(found == keys, "{} of {} by {parallelism} {of:?}", found.len(), keys.len());
                assert!(requests <= 3 + 4 + 16, "{requests} requests");
            }
        }
    }

    #[tokio::test]
    async fn several_pages_are_walked_once_in_parts_or_one_after_another() {
        let at = async |server: &S3Server, pages: bool, count: usize, parallelism: &[usize]| {
            let mut there = Bucket::new(server).await;
            let keys = fill(&there, (0..count).map(|n| format!("in/{}/{n:05}", ["a", "b", "z"][n % 3]))).await;
            let proxy = there.through_proxy().await;
            if pages {
                proxy.spoil(|seen| small_pages(seen, 100));
            }
            walked_in_parts(&there, &keys, parallelism).await;
            let (from, to) = (&keys[3], &keys[count / 2]);
            let walk = Walk { prefix: "in/".to_owned(), parallelism: 4, ..Walk::default() };
            let walk = Walk { after: Some(from.clone()), until: Some(to.clone()), ..walk };
            assert_eq!(walked(&bucket(&there), walk).await.0, keys[4..=count / 2]);
        };
        // The pages of the stores themselves, of a thousand keys; and smaller ones.
        tokio::join!(
            at(S3Server::shared_minio(), false, 2_500, &[1, 8]),
            at(S3Server::shared_minio(), true, 250, &[1, 4, 16]),
            at(S3Server::shared_versity(), false, 1_100, &[8]),
            at(S3Server::shared_versity(), true, 250, &[1, 4, 16]),
        );
    }

    #[tokio::test]
    async fn a_storm_at_every_part_is_waited_out() {
        let mut there = Bucket::new(S3Server::shared_minio()).await;
        let keys = fill(&there, (0..250).map(|n| format!("in/{}/{n:05}", ["a", "b", "z"][n % 3]))).await;
        let proxy = there.through_proxy().await;
        let refused = Mutex::new(HashMap::<String, u32>::new());
        let slow = "<Error><Code>SlowDown</Code><Message>reduce your request rate</Message></Error>";
        proxy.spoil(move |seen| {
            let mut refused = refused.lock().expect("no panic");
            let times = refused.entry(seen.query.clone()).or_default();
            *times += 1;
            if *times <= 2 { Some(Spoil::Answer(503, slow.to_owned())) } else { small_pages(seen, 50) }
        });
        let patience = Duration::from_secs(120);
        let walk = Walk { prefix: "in/".to_owned(), parallelism: 4, patience, ..Walk::default() };
        let (found, _) = walked(&bucket(&there), walk).await;
        assert_eq!(found, keys, "each once, whatever was refused");
        let asked: HashSet<String> = proxy.seen().into_iter().map(|seen| seen.query).collect();
        assert!(asked.len() >= 5 && proxy.seen().len() >= 3 * asked.len(), "{asked:?}");
    }

    #[tokio::test]
    async fn keys_of_any_shape_are_walked_once_from_any_key_on() {
        let last = char::MAX;
        let shapes = [
            " ", "+", "%2F", "a b", "a+b", "é", "日本", "a-b", "a.b", "a", "a/x", "A", "~", "Z/0", "\u{e000}", "&<>\"'",
        ];
        let mut shapes: Vec<String> = shapes.map(|shape| format!("in/{shape}")).to_vec();
        shapes.extend([format!("in/{last}"), format!("in/{last}{last}/a"), format!("in/{}", "k".repeat(200))]);
        for server in [S3Server::shared_minio(), S3Server::shared_versity()] {
            let there = Bucket::new(server).await;
            // No file system holds both a file and a directory of one name.
            let shapes = shapes.iter().filter(|shape| *shape != "in/a").cloned();
            let keys = fill(&there, shapes).await;
            let bucket = bucket(&there);
            let (found, _) = walked(&bucket, Walk { parallelism: 4, ..Walk::default() }).await;
            assert_eq!(found, keys, "{}", there.endpoint);
            for (at, after) in keys.iter().enumerate() {
                let walk = Walk { prefix: "in/".to_owned(), after: Some(after.clone()), ..Walk::default() };
                let (found, _) = walked(&bucket, walk).await;
                assert_eq!(found, keys[at + 1..], "after {after:?} at {}", there.endpoint);
            }
        }
    }

    #[tokio::test]
    async fn of_many_versions_the_last_is_walked_and_what_was_deleted_is_not() {
        let there = Bucket::new(S3Server::shared_minio()).await;
        there.keep_versions().await;
        for n in 0..5 {
            there.put("a", &n.to_string()).await;
            there.put("b", &n.to_string()).await;
        }
        there.client.delete_object().bucket(&there.name).key("a").send().await.expect("deleted");
        let pages = bucket(&there).walk(Walk { of: Listing::Versions, ..Walk::default() });
        let pages: Vec<_> = pages.try_collect().await.expect("walked");
        let [page] = &pages[..] else { panic!("{pages:?}") };
        let [object] = &page.objects[..] else { panic!("{page:?}") };
        let head = there.client.head_object().bucket(&there.name).key("b").send().await.expect("there");
        assert_eq!((object.key.as_str(), object.version_id.as_deref()), ("b", head.version_id()));
    }
}
