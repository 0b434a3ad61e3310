//! Putting on conditions, with lost replies, files that change, and nothing left of what fails.

use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};

use storage::Error;
use storage_s3::{Condition, Upload, Written};
use test_servers::{S3Server, Seen, Spoil};
use tokio::sync::watch;

use crate::transfer::{PART, Rig, etag, is_complete, is_part, narrow, slow_down};

fn if_absent() -> Upload {
    Upload { condition: Condition::Absent, ..Upload::default() }
}

async fn conditions_hold_for_small_and_large(server: &'static S3Server) {
    let rig = Rig::new(server).await;
    for size in [5, PART + 1] {
        let key = format!("k{size}");
        let (path, _) = rig.file("a", size, 1);
        let first = etag(&rig.upload(&path, &key, &if_absent()).await.expect("nothing is there"));
        assert_eq!(rig.upload(&path, &key, &if_absent()).await.expect("asked"), Written::Conflict, "{size}");
        let (path, bytes) = rig.file("b", size, 2);
        let how = Upload { condition: Condition::Is(first), ..Upload::default() };
        etag(&rig.upload(&path, &key, &how).await.expect("it is that one"));
        assert_eq!(rig.upload(&path, &key, &how).await.expect("asked"), Written::Conflict, "it is another now");
        assert!(rig.content(&key).await == bytes);
        rig.assert_clean(&key).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditions_hold_for_small_and_large_on_minio() {
    conditions_hold_for_small_and_large(S3Server::shared_minio()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditions_hold_for_small_and_large_on_versity() {
    conditions_hold_for_small_and_large(S3Server::shared_versity()).await;
}

/// The last request is done, and its answer lost.
async fn a_lost_reply_is_no_conflict(server: &'static S3Server) {
    for size in [5, PART + 1] {
        let rig = Rig::new(server).await;
        let (path, bytes) = rig.file("a", size, 1);
        let lost = AtomicUsize::new(0);
        rig.proxy.spoil(move |seen| {
            let last = is_complete(seen) || (seen.method == "PUT" && !is_part(seen));
            (last && lost.fetch_add(1, Ordering::Relaxed) == 0).then_some(Spoil::LoseReply)
        });
        let written = rig.upload(&path, "k", &if_absent()).await.unwrap_or_else(|error| panic!("{size}: {error:?}"));
        let there = rig.bucket.head("k", None).await.expect("it is there");
        assert_eq!(etag(&written), there.etag, "{size}");
        assert!(rig.content("k").await == bytes);
        rig.assert_clean("k").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_reply_is_no_conflict_on_minio() {
    a_lost_reply_is_no_conflict(S3Server::shared_minio()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_reply_is_no_conflict_on_versity() {
    a_lost_reply_is_no_conflict(S3Server::shared_versity()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_ignores_conditions_on_the_last_step_still_keeps_what_stands_there() {
    let rig = Rig::new(S3Server::shared_minio()).await;
    rig.object("k", b"another's").await;
    rig.proxy.spoil(|_| Some(Spoil::DropHeader("if-none-match")));
    let (path, _) = rig.file("a", PART + 1, 1);
    assert_eq!(rig.upload(&path, "k", &if_absent()).await.expect("asked"), Written::Conflict);
    assert_eq!(rig.content("k").await, b"another's");
    rig.assert_clean("k").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_knows_no_conditions_on_the_last_step_is_asked_without() {
    let rig = Rig::new(S3Server::shared_minio()).await;
    let (path, bytes) = rig.file("a", PART + 1, 1);
    rig.proxy.spoil(|seen| {
        let unknown = is_complete(seen) && seen.header("if-none-match").is_some();
        unknown.then(|| Spoil::Answer(501, "<Error><Code>NotImplemented</Code></Error>".to_owned()))
    });
    etag(&rig.upload(&path, "k", &if_absent()).await.expect("it is done"));
    assert!(rig.content("k").await == bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_knows_no_checksums_is_asked_without() {
    let rig = Rig::new(S3Server::shared_minio()).await;
    let has_checksum = |seen: &Seen| {
        ["x-amz-checksum-crc64nvme", "x-amz-checksum-algorithm"].iter().any(|name| seen.header(name).is_some())
    };
    rig.proxy.spoil(move |seen| {
        let text = "<Error><Code>InvalidArgument</Code><Message>Unsupported header x-amz-checksum</Message></Error>";
        has_checksum(seen).then(|| Spoil::Answer(400, text.to_owned()))
    });
    for size in [5, PART + 1, 6] {
        let (path, bytes) = rig.file("a", size, 1);
        etag(&rig.upload(&path, "k", &Upload::default()).await.expect("it is done"));
        assert!(rig.content("k").await == bytes);
        assert_eq!(rig.seen(has_checksum).len(), 1, "found out once");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_changes_meanwhile_is_not_published() {
    let rig = Rig::with(S3Server::shared_minio(), narrow(1)).await;
    let (path, _) = rig.file("a", 2 * PART, 1);
    let (release, held) = watch::channel(false);
    let begins = |seen: &Seen| seen.method == "POST" && !is_complete(seen);
    rig.proxy.spoil(move |seen| begins(seen).then(|| Spoil::Hold(held.clone())));
    let changes = async {
        rig.until_seen(begins).await;
        let file = std::fs::OpenOptions::new().write(true).open(&path).expect("open it");
        let modified = file.metadata().and_then(|seen| seen.modified()).expect("look at it");
        file.write_at(b"changed", PART as u64 + 1).expect("change it");
        // Not even its time tells.
        file.set_modified(modified).expect("set its time");
        release.send_replace(true);
    };
    let how = if_absent();
    let (sent, ()) = tokio::join!(rig.upload(&path, "k", &how), changes);
    assert!(matches!(&sent, Err(Error::Unpublishable(text)) if text.contains("changes")), "{sent:?}");
    assert!(matches!(rig.bucket.head("k", None).await, Err(Error::NotFound(_))));
    rig.assert_clean("k").await;
}

async fn nothing_is_left_of_an_upload_that_fails(server: &'static S3Server) {
    let rig = Rig::new(server).await;
    let (path, _) = rig.file("a", 2 * PART + 1, 1);
    rig.proxy.spoil(|seen| {
        let denied = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>".to_owned();
        is_third_part(seen).then_some(Spoil::Answer(403, denied))
    });
    let sent = rig.upload(&path, "k", &Upload::default()).await;
    assert!(matches!(sent, Err(Error::Forbidden(_))), "{sent:?}");
    rig.assert_clean("k").await;
}

fn is_third_part(seen: &Seen) -> bool {
    is_part(seen) && seen.query.contains("partNumber=3")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_of_an_upload_that_fails_on_minio() {
    nothing_is_left_of_an_upload_that_fails(S3Server::shared_minio()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_of_an_upload_that_fails_on_versity() {
    nothing_is_left_of_an_upload_that_fails(S3Server::shared_versity()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_of_an_upload_that_is_dropped() {
    let rig = Rig::new(S3Server::shared_minio()).await;
    let (path, _) = rig.file("a", 2 * PART + 1, 1);
    let (release, held) = watch::channel(false);
    rig.proxy.spoil(move |seen| is_third_part(seen).then(|| Spoil::Hold(held.clone())));
    let how = Upload::default();
    tokio::select! {
        sent = rig.upload(&path, "k", &how) => panic!("{sent:?}"),
        () = rig.until_seen(is_third_part) => {}
    }
    drop(release);
    rig.assert_clean("k").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_that_fail_on_their_way_are_sent_again() {
    let rig = Rig::new(S3Server::shared_versity()).await;
    let (path, bytes) = rig.file("a", PART + 9, 1);
    let spoilt = AtomicUsize::new(0);
    rig.proxy.spoil(move |seen| match spoilt.fetch_add(1, Ordering::Relaxed) {
        n if n % 2 == 1 || n > 12 => None,
        n if n % 4 == 0 => Some(Spoil::Answer(503, slow_down())),
        _ if is_part(seen) => Some(Spoil::LoseReply),
        _ => Some(Spoil::ResetBefore),
    });
    etag(&rig.upload(&path, "k", &Upload::default()).await.expect("it is done in the end"));
    assert!(rig.content("k").await == bytes);
    rig.assert_clean("k").await;
}
