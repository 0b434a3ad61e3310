//! Fetching from a store that breaks off, lies, or holds something else by now.

use std::sync::atomic::{AtomicUsize, Ordering};

use storage::Error;
use storage::Meter;
use storage_s3::{SHA256_METADATA, Wanted};
use test_servers::{S3Server, Seen, Server, Spoil};
use tokio::sync::watch;

use crate::transfer::{PART, Rig, content, narrow, slow_down};

/// Where the range that is asked for begins.
fn begins(seen: &Seen) -> Option<u64> {
    seen.header("range")?.strip_prefix("bytes=")?.split_once('-')?.0.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_that_breaks_off_goes_on_where_it_broke() {
    let rig = Rig::new(S3Server::shared_minio()).await;
    let (size, cut) = (PART + 7, 3_000_000);
    let bytes = content(size, 1);
    let etag = rig.object("k", &bytes).await;
    // Only the range of which so much is left, whichever comes first.
    let spoilt = AtomicUsize::new(0);
    rig.proxy.spoil(move |seen| {
        let is_large = seen.method == "GET" && begins(seen).is_some_and(|start| start < PART as u64);
        let nth = if is_large { spoilt.fetch_add(1, Ordering::Relaxed) } else { usize::MAX };
        (nth < 4).then_some(if nth % 2 == 0 { Spoil::TruncateAfter(cut) } else { Spoil::ResetAfterBytes(cut) })
    });
    let meter = Meter::silent();
    let (to, fetched) = rig.fetch("k", &etag, size, &meter).await;
    fetched.expect("it comes all the same");
    assert!(std::fs::read(to).expect("read it") == bytes);
    assert_eq!(meter.bytes(), size as u64, "what came twice counts once");
    let starts: Vec<u64> = rig
        .seen(|seen| seen.method == "GET")
        .iter()
        .map(|seen| begins(seen).expect("a range that begins somewhere"))
        .collect();
    // An orderly end loses nothing; a reset may throw away what has arrived and was not read yet.
    assert!(starts.contains(&cut), "{starts:?}");
    rig.assert_clean("k").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_never_comes_is_given_up() {
    let rig = Rig::new(S3Server::shared_versity()).await;
    let etag = rig.object("k", b"twelve bytes").await;
    rig.proxy.spoil(|seen| (seen.method == "GET").then_some(Spoil::TruncateAfter(0)));
    let (to, fetched) = rig.fetch("k", &etag, 12, &Meter::silent()).await;
    assert!(matches!(fetched, Err(Error::Unavailable { .. })) && !to.exists(), "{fetched:?}");
    assert!(rig.proxy.seen().len() < 20, "and not tried for ever");
    rig.assert_clean("k").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_503_is_outlived() {
    let rig = Rig::with(S3Server::shared_minio(), narrow(8)).await;
    let bytes = content(PART + 5, 2);
    let etag = rig.object("k", &bytes).await;
    rig.proxy.spoil(|seen| (seen.n <= 8).then(|| Spoil::Answer(503, slow_down())));
    let (to, fetched) = rig.fetch("k", &etag, bytes.len(), &Meter::silent()).await;
    fetched.expect("it comes in the end");
    assert!(std::fs::read(to).expect("read it") == bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stops_and_goes_on_is_waited_for() {
    let server: &'static S3Server = Box::leak(Box::new(S3Server::versity()));
    let rig = Rig::new(server).await;
    let bytes = content(PART + 5, 3);
    let etag = rig.object("k", &bytes).await;
    server.pause();
    let meter = Meter::silent();
    let goes_on = async {
        rig.until_seen(|seen| seen.method == "GET").await;
        server.resume();
    };
    let ((to, fetched), ()) = tokio::join!(rig.fetch("k", &etag, bytes.len(), &meter), goes_on);
    fetched.expect("it comes in the end");
    assert!(std::fs::read(to).expect("read it") == bytes);
}

fn is_second(seen: &Seen) -> bool {
    seen.header("range").is_some_and(|range| !range.starts_with("bytes=0-"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_replaced_between_two_ranges_is_never_mixed_in() {
    let rig = Rig::new(S3Server::shared_minio()).await;
    let (old, new) = (content(PART + 5, 4), content(PART + 5, 5));
    let etag = rig.object("k", &old).await;
    let (release, held) = watch::channel(false);
    rig.proxy.spoil(move |seen| is_second(seen).then(|| Spoil::Hold(held.clone())));
    let meter = Meter::silent();
    let replaced = async {
        rig.until_seen(is_second).await;
        let found = rig.object("k", &new).await;
        release.send_replace(true);
        found
    };
    let ((to, fetched), there) = tokio::join!(rig.fetch("k", &etag, old.len(), &meter), replaced);
    match fetched {
        Err(Error::Changed { wanted, found, .. }) => assert_eq!((wanted, found), (etag, there)),
        other => panic!("{other:?}"),
    }
    assert!(!to.exists());
    rig.assert_clean("k").await;
}

async fn another_version_or_none_is_told_from_each_other(server: &'static S3Server) {
    let rig = Rig::new(server).await;
    let (old, new) = (rig.object("k", b"old").await, rig.object("k", b"new").await);
    let (_, fetched) = rig.fetch("k", &old, 3, &Meter::silent()).await;
    match fetched {
        Err(Error::Changed { wanted, found, .. }) => assert_eq!((wanted, found), (old, new.clone())),
        other => panic!("{other:?}"),
    }
    // Of the version that is wanted, another size is no other version but a wrong word about it.
    for (etag, size) in [(&new, 4), (&new, 2 * PART), (&String::new(), 4)] {
        let to = rig.dir.path().join("fetched");
        let named = Some(etag.clone()).filter(|etag| !etag.is_empty());
        let wanted = Wanted { etag: named.clone(), size: Some(size as u64), ..Wanted::default() };
        let fetched = rig.bucket.fetch("k", &wanted, &to, &Meter::silent()).await;
        let (Err(Error::Invalid(text) | Error::Busy(text)), named) = (&fetched, named.is_some()) else {
            panic!("{fetched:?}")
        };
        assert!(text.contains("has 3 bytes") && text.contains(&format!("says {size}")), "{text}");
        assert_eq!(matches!(fetched, Err(Error::Invalid(_))), named, "{text}");
        assert!(!to.exists());
    }
    rig.server.client().delete_object().bucket(rig.bucket.name()).key("k").send().await.expect("delete it");
    let (_, fetched) = rig.fetch("k", &new, 3, &Meter::silent()).await;
    assert!(matches!(fetched, Err(Error::NotFound(_))), "{fetched:?}");
    rig.assert_clean("k").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_version_or_none_is_told_from_each_other_on_minio() {
    another_version_or_none_is_told_from_each_other(S3Server::shared_minio()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_version_or_none_is_told_from_each_other_on_versity() {
    another_version_or_none_is_told_from_each_other(S3Server::shared_versity()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_ignores_if_match_is_found_out() {
    let rig = Rig::new(S3Server::shared_minio()).await;
    let (old, _) = (rig.object("k", b"old").await, rig.object("k", b"new").await);
    rig.proxy.spoil(|_| Some(Spoil::DropHeader("if-match")));
    let (to, fetched) = rig.fetch("k", &old, 3, &Meter::silent()).await;
    assert!(matches!(fetched, Err(Error::Changed { .. })) && !to.exists(), "{fetched:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_ignores_ranges_is_found_out_and_named() {
    let rig = Rig::new(S3Server::shared_minio()).await;
    let bytes = content(PART + 1, 6);
    let etag = rig.object("k", &bytes).await;
    rig.proxy.spoil(|_| Some(Spoil::DropHeader("range")));
    let (to, fetched) = rig.fetch("k", &etag, bytes.len(), &Meter::silent()).await;
    assert!(matches!(&fetched, Err(Error::Unsupported(text)) if text.contains("no ranges")), "{fetched:?}");
    assert!(!to.exists());
    rig.assert_clean("k").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_hold_against_its_checksum_is_not_kept() {
    // This one tells no checksum of its own where none was given to it, so that the writer's word counts.
    let rig = Rig::new(S3Server::shared_minio()).await;
    let plain = test_servers::S3Server::client(rig.server).config().to_builder();
    let plain = plain.request_checksum_calculation(aws_sdk_s3::config::RequestChecksumCalculation::WhenRequired);
    let client = aws_sdk_s3::Client::from_conf(plain.build());
    let put = client.put_object().bucket(rig.bucket.name()).key("k").body(b"content".to_vec().into());
    put.metadata(SHA256_METADATA, "00".repeat(32)).send().await.expect("put it");
    let to = rig.dir.path().join("fetched");
    match rig.bucket.fetch("k", &Wanted::default(), &to, &Meter::silent()).await {
        Err(Error::Unavailable { source, .. }) => {
            assert!(source.to_string().contains("SHA-256 should be 0000"), "{source}");
        }
        other => panic!("{other:?}"),
    }
    assert!(!to.exists());
    rig.assert_clean("k").await;
}
