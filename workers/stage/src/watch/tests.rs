use std::fs;

use crate::files;

use super::*;

/// Longer than anything here takes, on a loaded machine, and shorter than a look without hints would be often.
const PATIENCE: Duration = Duration::from_secs(60);

async fn until(watch: &mut Watch, holds: impl Fn() -> bool + Send + Sync) {
    let wait = async {
        while !holds() {
            watch.changed().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("is woken");
}

#[tokio::test]
async fn a_message_wakes_also_in_a_directory_that_appears_later() {
    let top = tempfile::tempdir().expect("a directory");
    let dir = top.path().join("adapter/stages/detect");
    let mut watch = Watch::new();
    watch.add(&dir);
    assert!(watch.hints.is_some(), "this machine has inotify");
    fs::create_dir_all(&dir).expect("made");
    files::write(&dir.join("1.go.json"), &1).expect("written");
    until(&mut watch, || dir.join("1.go.json").exists()).await;
    // From now on the directory itself tells.
    while watch.dirs.get(&dir).expect("is watched").id.is_none() {
        watch.changed().await;
    }
    for n in 2..20 {
        let path = dir.join(format!("{n}.go.json"));
        files::write(&path, &n).expect("written");
        until(&mut watch, || path.exists()).await;
    }
    assert!(!watch.is_deaf);
}

#[tokio::test]
async fn a_directory_that_is_replaced_is_watched_again() {
    let top = tempfile::tempdir().expect("a directory");
    let dir = top.path().join("detect");
    fs::create_dir(&dir).expect("made");
    let mut watch = Watch::new();
    watch.add(&dir);
    let first = watch.dirs.get(&dir).and_then(|seen| seen.id);
    fs::remove_dir(&dir).expect("removed");
    fs::create_dir(&dir).expect("made");
    while watch.dirs.get(&dir).and_then(|seen| seen.id) == first {
        watch.changed().await;
    }
    assert!(watch.dirs.get(&dir).and_then(|seen| seen.id).is_some());
}

#[tokio::test(start_paused = true)]
async fn what_is_no_message_wakes_nobody() {
    let top = tempfile::tempdir().expect("a directory");
    let (here, later) = (top.path().join("adapter"), top.path().join("adapter/stages/detect"));
    fs::create_dir(&here).expect("made");
    let mut watch = Watch::new();
    watch.add(&here);
    watch.add(&later);
    let begun = Instant::now();
    let wakes = async {
        tokio::select! {
            biased;
            () = watch.changed() => true,
            () = sleep(Duration::from_millis(1)) => false,
        }
    };
    for name in [".hello.json.tmp", "heartbeat", "lock.a"] {
        fs::write(here.join(".tmp"), "").expect("written");
        fs::rename(here.join(".tmp"), here.join(name)).expect("renamed");
    }
    for name in ["scratch", "inputs", "stages"] {
        fs::create_dir(here.join(name)).expect("made");
    }
    assert!(!wakes.await, "neither is a message, nor a directory that one waits for");
    fs::create_dir(&later).expect("made");
    watch.changed().await;
    files::write(&later.join("1.go.json"), &1).expect("written");
    watch.changed().await;
    assert!(begun.elapsed() < FAST, "by the clock of this test, which moves when nobody has anything to do");
}

#[tokio::test(start_paused = true)]
async fn what_the_kernel_does_not_tell_is_found_and_then_looked_for_more_often() {
    let top = tempfile::tempdir().expect("a directory");
    let mut watch = Watch::new();
    watch.add(top.path());
    // As behind a sandbox's wall: the instance is there, and mute.
    watch.hints = Some(instance().expect("made"));
    files::write(&top.path().join("1.go.json"), &1).expect("written");
    watch.changed().await;
    assert!(watch.is_deaf);
    let begun = Instant::now();
    watch.changed().await;
    assert_eq!(begun.elapsed().as_millis(), FAST.as_millis(), "by the clock of this test, which nobody else moves");
}

#[tokio::test(start_paused = true)]
async fn without_hints_one_looks_often_and_asks_for_them_again() {
    let top = tempfile::tempdir().expect("a directory");
    let mut watch = Watch::new();
    watch.hints = None;
    watch.add(top.path());
    let begun = Instant::now();
    watch.changed().await;
    assert!(begun.elapsed() < SLOW && watch.hints.is_none());
    while watch.hints.is_none() {
        watch.changed().await;
    }
    assert!(watch.dirs.values().all(|seen| seen.id.is_some()));
}
