//! Only whole files are listed, and those that are known to be whole are listed at once.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::time::{Duration, Instant};

use crate::ambassador::{Ambassador, until};

#[tokio::test]
async fn what_its_only_writer_closes_or_what_is_moved_in_is_listed_at_once() {
    let root = tempfile::tempdir().expect("a directory");
    let elsewhere = tempfile::tempdir_in(root.path().parent().expect("a parent")).expect("a directory");
    // Nothing is listed by rest or by a second scan here: only events are left.
    let ambassador = Ambassador::start(root.path(), &["--stable-for", "1h", "--rescan", "1h"]).await;
    ambassador.listed(0).await;
    let mut file = File::create(root.path().join("a.mp4")).expect("created");
    file.write_all(b"first").expect("written");
    assert!(ambassador.withheld_soon("a.mp4").await, "an open file is no item");
    file.write_all(b"second").expect("written");
    drop(file);
    ambassador.named("a.mp4").await;
    fs::write(elsewhere.path().join("b.mp4"), "whole").expect("written");
    fs::rename(elsewhere.path().join("b.mp4"), root.path().join("b.mp4")).expect("moved");
    ambassador.named("b.mp4").await;
    // A directory made later is watched too.
    fs::create_dir(root.path().join("later")).expect("made");
    until("the new directory is watched", async || {
        let metrics = ambassador.probe("/metrics").await.text;
        metrics.contains("longshore_files_inotify_watches 2").then_some(())
    })
    .await;
    fs::write(root.path().join("later/c.mp4"), "whole").expect("written");
    ambassador.named("later/c.mp4").await;
    fs::rename(root.path().join("later"), root.path().join("renamed")).expect("renamed");
    until("the old path gone", async || {
        (!ambassador.items().await.iter().any(|(_, data)| data["key"] == "later/c.mp4")).then_some(())
    })
    .await;
    fs::remove_file(root.path().join("a.mp4")).expect("removed");
    until("it gone", async || (!ambassador.items().await.iter().any(|(_, data)| data["key"] == "a.mp4")).then_some(()))
        .await;
    assert!(ambassador.is_complete().await);
}

#[tokio::test]
async fn an_empty_file_is_a_beginning_and_a_second_writer_is_no_end() {
    let root = tempfile::tempdir().expect("a directory");
    let ambassador = Ambassador::start(root.path(), &["--stable-for", "1h", "--rescan", "1h"]).await;
    ambassador.listed(0).await;
    File::create(root.path().join("empty.mp4")).expect("created");
    assert!(ambassador.withheld("empty.mp4", "settling").await);
    let path = root.path().join("two.mp4");
    let other = File::create(&path).expect("created");
    fs::write(&path, "from one of two").expect("written");
    assert!(ambassador.withheld("two.mp4", "open-for-writing").await);
    drop(other);
    ambassador.named("two.mp4").await;
}

#[tokio::test]
async fn what_is_written_again_soon_after_it_was_listed_must_rest() {
    let root = tempfile::tempdir().expect("a directory");
    let ambassador = Ambassador::start(root.path(), &["--stable-for", "2s", "--rescan", "1h"]).await;
    ambassador.listed(0).await;
    let path = root.path().join("a.mp4");
    // Before either is written: a machine that stands still in between makes the second no longer soon, and lists it at once.
    let began = Instant::now();
    fs::write(&path, "first half").expect("written");
    let first = ambassador.named("a.mp4").await;
    let mut file = OpenOptions::new().append(true).open(&path).expect("opened");
    file.write_all(b", second half").expect("written");
    drop(file);
    until("the first half withdrawn", async || {
        (ambassador.ask("GET", &format!("/v1/items/{first}")).await.status == 410).then_some(())
    })
    .await;
    let second = ambassador.named("a.mp4").await;
    assert!(began.elapsed() >= Duration::from_secs(2), "closing it proves nothing any more");
    assert_ne!(first, second);
}

/// Ten seconds each, at once: a writer that keeps the file open and pauses for longer than `--stable-for`, and one, unseen
/// by inotify as over NFS, that opens and closes it for every piece. The latter must not seem to rest while the machine stands still.
#[tokio::test]
async fn a_file_that_grows_for_ten_seconds_is_listed_only_when_whole() {
    const PIECE: [u8; 1000] = [7; 1000];
    let (kept, reopened) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let watching = Ambassador::start(kept.path(), &["--stable-for", "500ms", "--rescan", "200ms"]).await;
    let scanning =
        Ambassador::start(reopened.path(), &["--no-inotify", "--stable-for", "10s", "--rescan", "100ms"]).await;
    watching.listed(0).await;
    scanning.listed(0).await;
    let paths = (kept.path().join("grows.mp4"), reopened.path().join("grows.mp4"));
    let growing = tokio::task::spawn_blocking(move || {
        let mut open = File::create(&paths.0).expect("created");
        let began = Instant::now();
        let mut pieces = 0u64;
        while began.elapsed() < Duration::from_secs(10) {
            open.write_all(&PIECE).expect("written");
            let mut file = OpenOptions::new().create(true).append(true).open(&paths.1).expect("opened");
            file.write_all(&PIECE).expect("written");
            drop(file);
            pieces += 1;
            std::thread::sleep(Duration::from_millis(700));
        }
        pieces * PIECE.len() as u64
    });
    let mut reasons = std::collections::BTreeSet::new();
    while !growing.is_finished() {
        for ambassador in [&watching, &scanning] {
            let early = ambassador.names().await;
            assert!(early.is_empty() || growing.is_finished(), "listed half-written");
            if let Some((reason, pending)) = ambassador.why("grows.mp4").await {
                assert!(pending);
                reasons.insert(reason);
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let whole = growing.await.expect("written");
    for ambassador in [&watching, &scanning] {
        ambassador.named("grows.mp4").await;
        assert_eq!(ambassador.items().await[0].1["size"], whole);
    }
    assert!(reasons.contains("growing") && reasons.contains("open-for-writing"), "{reasons:?}");
}

#[tokio::test]
async fn a_done_marker_is_the_writers_own_word() {
    let root = tempfile::tempdir().expect("a directory");
    let flags = ["--stable-for", "1h", "--rescan", "1h", "--done-marker", ".done"];
    let ambassador = Ambassador::start(root.path(), &flags).await;
    ambassador.listed(0).await;
    fs::write(root.path().join("a.mp4"), "x").expect("written");
    assert!(ambassador.withheld("a.mp4", "no-done-marker").await, "it will come");
    fs::write(root.path().join("a.mp4.done"), "").expect("written");
    ambassador.named("a.mp4").await;
    assert!(!ambassador.withheld("a.mp4.done", "done-marker").await);
}

#[tokio::test]
async fn scans_alone_find_what_comes_and_goes() {
    let root = tempfile::tempdir().expect("a directory");
    fs::create_dir(root.path().join("d")).expect("made");
    let ambassador =
        Ambassador::start(root.path(), &["--no-inotify", "--stable-for", "200ms", "--rescan", "50ms"]).await;
    ambassador.listed(0).await;
    fs::write(root.path().join("d/a.mp4"), "x").expect("written");
    ambassador.named("d/a.mp4").await;
    fs::write(root.path().join("b.mp4"), "x").expect("written");
    ambassador.listed(2).await;
    fs::remove_dir_all(root.path().join("d")).expect("removed");
    ambassador.listed(1).await;
}

impl Ambassador {
    /// Waits until this key is withheld, for whatever reason; whether it will come by itself.
    async fn withheld_soon(&self, key: &str) -> bool {
        until(key, async || self.why(key).await.map(|(_, pending)| pending)).await
    }
}
