//! An object of any size takes no more at once than one of a few parts.

use std::fs::File;

use storage::Meter;
use storage_s3::{Upload, Wanted};
use test_servers::{S3Server, Spoil};
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::transfer::{PART, Rig, etag, is_part, narrow};

/// In ranges of 64 MiB, so that there are more of them than tasks may be.
const SIZE: usize = 30 * PART;
/// With two requests at once: two parts, the connections of those and of what else is asked, and the pool's own.
const TASKS: usize = 6;

fn alive() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_its_turn_is_no_task_yet() {
    let rig = Rig::with(S3Server::shared_minio(), narrow(2)).await;
    let path = rig.dir.path().join("sent");
    File::create(&path).and_then(|file| file.set_len(SIZE as u64)).expect("a file of nothing but a size");
    let (go, held) = watch::channel(false);
    rig.proxy.spoil(move |seen| is_part(seen).then(|| Spoil::Hold(held.clone())));
    let (how, meter) = (Upload::default(), Meter::silent());
    let mut sending = Box::pin(rig.bucket.upload(&path, "huge", &how, &meter));
    tokio::select! {
        _ = &mut sending => panic!("its parts are held"),
        () = rig.until_seen(is_part) => {}
    }
    let tasks = alive();
    assert!(tasks <= TASKS, "{tasks} tasks for {} parts", SIZE / PART);
    go.send(true).expect("somebody waits");
    let etag = etag(&sending.await.expect("put it"));

    let (go, held) = watch::channel(false);
    let is_range = |seen: &test_servers::Seen| seen.method == "GET" && seen.header("range").is_some();
    rig.proxy.spoil(move |seen| is_range(seen).then(|| Spoil::Hold(held.clone())));
    let wanted = Wanted { etag: Some(etag), size: Some(SIZE as u64), version_id: None };
    let to = rig.dir.path().join("fetched");
    // Connections that were made before stay open.
    let before = alive();
    let mut fetching = Box::pin(rig.bucket.fetch("huge", &wanted, &to, &meter));
    tokio::select! {
        _ = &mut fetching => panic!("its ranges are held"),
        () = rig.until_seen(is_range) => {}
    }
    let tasks = alive();
    assert!(tasks <= before + TASKS, "{before} tasks, and {tasks} for {} ranges", SIZE.div_ceil(4 * PART));
    go.send(true).expect("somebody waits");
    fetching.await.expect("fetch it");
}
