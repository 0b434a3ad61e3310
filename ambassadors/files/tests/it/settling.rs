//! Settling acts on exactly the version that was named, and loses nothing.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use crate::ambassador::{Ambassador, until};

const QUICK: [&str; 4] = ["--stable-for", "0s", "--rescan", "100ms"];

/// Every path below `root` that is no directory, and every directory that is empty.
fn tree(root: &Path) -> Vec<String> {
    fn walk(root: &Path, dir: &Path, into: &mut Vec<String>) {
        let entries: Vec<_> = fs::read_dir(dir).expect("lists").map(|entry| entry.expect("an entry").path()).collect();
        if entries.is_empty() && dir != root {
            into.push(format!("{}/", dir.strip_prefix(root).expect("below").display()));
        }
        for path in entries {
            if path.is_dir() {
                walk(root, &path, into);
            } else {
                into.push(path.strip_prefix(root).expect("below").display().to_string());
            }
        }
    }
    let mut all = Vec::new();
    walk(root, root, &mut all);
    all.sort();
    all
}

#[tokio::test]
async fn a_settled_file_is_deleted_and_stays_so_as_often_as_asked() {
    let root = tempfile::tempdir().expect("a directory");
    for key in ["a.mp4", "b.mp4"] {
        fs::write(root.path().join(key), key).expect("written");
    }
    let ambassador = Ambassador::start(root.path(), &[&QUICK[..], &["--on-settle", "delete"]].concat()).await;
    ambassador.listed(2).await;
    assert_eq!(ambassador.ask("GET", "/v1").await.json()["capabilities"]["settle"], "exact");
    let name = ambassador.named("a.mp4").await;
    assert_eq!(ambassador.settle(&name).await.status, 204);
    assert_eq!(ambassador.names().await.len(), 1, "unlisted by the time it is answered");
    assert_eq!(tree(root.path()), ["b.mp4"]);
    assert_eq!(ambassador.settle(&name).await.status, 204);
    assert_eq!(ambassador.ask("GET", &format!("/v1/items/{name}")).await.status, 410);
    assert_eq!(ambassador.settle("well-formed-and-unknown").await.status, 204);
    assert_eq!(tree(root.path()), ["b.mp4"]);
}

#[tokio::test]
async fn a_file_replaced_after_it_was_listed_is_gone_for_get_and_left_alone_by_settle() {
    let root = tempfile::tempdir().expect("a directory");
    let path = root.path().join("a.mp4");
    fs::write(&path, "old").expect("written");
    // No scan and no event comes in between: what is listed is the old version.
    let flags = ["--stable-for", "0s", "--rescan", "1h", "--no-inotify", "--on-settle", "delete"];
    let ambassador = Ambassador::start(root.path(), &flags).await;
    let old = ambassador.named("a.mp4").await;
    let modified = fs::metadata(&path).expect("is there").modified().expect("a time");
    fs::write(root.path().join("new"), "new").expect("written");
    fs::rename(root.path().join("new"), &path).expect("replaced");
    assert_eq!(ambassador.settle(&old).await.status, 204);
    assert_eq!(fs::read_to_string(&path).expect("is there"), "new");
    let new = until("the new version", async || {
        ambassador.items().await.into_iter().map(|(name, _)| name).find(|name| *name != old)
    })
    .await;
    fs::write(&path, "newer").expect("written");
    assert_eq!(ambassador.ask("GET", &format!("/v1/items/{new}")).await.status, 410);
    let newer = until("the newest version", async || {
        ambassador.items().await.into_iter().find(|(_, data)| data["size"] == 5).map(|(name, _)| name)
    })
    .await;
    assert_ne!(new, newer);
    // The old one comes back, as mv and cp -p do: versions have no order, so it is the old item again; and it was settled
    // when it was not at hand no more than when it was.
    fs::write(&path, "old").expect("written");
    fs::File::options().write(true).open(&path).expect("opens").set_modified(modified).expect("set");
    assert_eq!(ambassador.ask("GET", &format!("/v1/items/{newer}")).await.status, 410);
    assert_eq!(ambassador.named("a.mp4").await, old);
}

#[tokio::test]
async fn a_writer_at_work_keeps_its_file() {
    let root = tempfile::tempdir().expect("a directory");
    let path = root.path().join("a.mp4");
    fs::write(&path, "old").expect("written");
    let flags = ["--stable-for", "0s", "--rescan", "1h", "--no-inotify", "--on-settle", "delete"];
    let ambassador = Ambassador::start(root.path(), &flags).await;
    let name = ambassador.named("a.mp4").await;
    let writer = fs::File::options().append(true).open(&path).expect("opens");
    assert_eq!(ambassador.settle(&name).await.status, 204);
    assert!(path.exists(), "whatever it writes next is not lost");
    drop(writer);
}

#[tokio::test]
async fn settled_files_move_with_their_paths_and_replace_nothing() {
    let root = tempfile::tempdir().expect("a directory");
    let done = root.path().join("done");
    fs::create_dir_all(root.path().join("x/y")).expect("made");
    fs::write(root.path().join("x/y/a.mp4"), "one").expect("written");
    fs::create_dir_all(done.join("x/y")).expect("made");
    fs::write(done.join("x/y/a.mp4"), "was here before").expect("written");
    let move_to = format!("move:{}", done.display());
    let ambassador = Ambassador::start(root.path(), &[&QUICK[..], &["--on-settle", &move_to]].concat()).await;
    let name = ambassador.named("x/y/a.mp4").await;
    assert_eq!(ambassador.settle(&name).await.status, 204);
    fs::write(root.path().join("x/y/a.mp4"), "broken").expect("written");
    let name = ambassador.named("x/y/a.mp4").await;
    let failed = format!("/v1/items/{name}?outcome=failed&reason=no%20video");
    assert_eq!(ambassador.ask("DELETE", &failed).await.status, 204);
    assert_eq!(tree(root.path()), ["done/failed/x/y/a.mp4", "done/x/y/a.mp4", "done/x/y/a.mp4.1", "x/y/"]);
    assert_eq!(fs::read_to_string(done.join("x/y/a.mp4")).expect("read"), "was here before");
    assert_eq!(fs::read_to_string(done.join("x/y/a.mp4.1")).expect("read"), "one");
    assert_eq!(ambassador.names().await.len(), 0);
    assert_eq!(ambassador.why("done/").await, Some(("settled".into(), false)));
}

#[tokio::test]
async fn names_of_255_bytes_can_be_settled_too() {
    let (root, done) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let long = "x".repeat(255);
    fs::write(root.path().join(&long), "one").expect("written");
    fs::write(done.path().join(&long), "other").expect("written");
    let move_to = format!("move:{}", done.path().display());
    let ambassador = Ambassador::start(root.path(), &[&QUICK[..], &["--on-settle", &move_to]].concat()).await;
    assert_eq!(ambassador.settle(&ambassador.named(&long).await).await.status, 204);
    assert_eq!(tree(root.path()).len(), 0);
    assert_eq!(tree(done.path()).len(), 2);
}

#[tokio::test]
async fn files_move_to_another_file_system_whole_and_once() {
    let root = tempfile::tempdir().expect("a directory");
    let done = tempfile::tempdir_in("/dev/shm").expect("a directory on another file system");
    let content = vec![3u8; 3_000_000];
    let path = root.path().join("a.mp4");
    fs::write(&path, &content).expect("written");
    let modified = fs::metadata(&path).expect("is there").modified().expect("a time");
    let move_to = format!("move:{}", done.path().display());
    let ambassador = Ambassador::start(root.path(), &[&QUICK[..], &["--on-settle", &move_to]].concat()).await;
    assert_eq!(ambassador.settle(&ambassador.named("a.mp4").await).await.status, 204);
    let moved = done.path().join("a.mp4");
    assert_eq!(fs::read(&moved).expect("read"), content);
    assert_eq!(fs::metadata(&moved).expect("is there").modified().expect("a time"), modified);
    // The very same file turns up again: it is there already, and is not kept twice. Another of its size is.
    for (fill, time, want) in [(3u8, modified, 1), (4u8, modified, 2), (3u8, SystemTime::now(), 3)] {
        fs::write(&path, vec![fill; 3_000_000]).expect("written");
        fs::File::options().write(true).open(&path).expect("opens").set_modified(time).expect("set");
        assert_eq!(ambassador.settle(&ambassador.named("a.mp4").await).await.status, 204);
        assert_eq!((tree(root.path()).len(), tree(done.path()).len()), (0, want));
    }
}

#[tokio::test]
async fn what_is_settled_before_it_turns_up_is_settled_when_it_does() {
    let (one, other) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    fs::write(one.path().join("a.mp4"), "x").expect("written");
    let name = Ambassador::start(one.path(), &QUICK).await.named("a.mp4").await;
    let ambassador = Ambassador::start(other.path(), &[&QUICK[..], &["--on-settle", "delete"]].concat()).await;
    ambassador.listed(0).await;
    assert_eq!(ambassador.settle(&name).await.status, 204);
    fs::rename(one.path().join("a.mp4"), other.path().join("a.mp4")).expect("moved in");
    until("it settled", async || tree(other.path()).is_empty().then_some(())).await;
    ambassador.listed(0).await;
}

#[tokio::test]
async fn what_failed_for_good_and_has_nowhere_to_go_stays_and_says_why() {
    let root = tempfile::tempdir().expect("a directory");
    fs::write(root.path().join("a.mp4"), "x").expect("written");
    let ambassador = Ambassador::start(root.path(), &[&QUICK[..], &["--on-settle", "delete"]].concat()).await;
    let name = ambassador.named("a.mp4").await;
    assert_eq!(ambassador.ask("DELETE", &format!("/v1/items/{name}?outcome=failed")).await.status, 204);
    assert!(!ambassador.withheld("a.mp4", "dead-letter").await);
    assert_eq!(tree(root.path()), ["a.mp4"]);
    // A new version is a new chance.
    fs::write(root.path().join("a.mp4"), "better").expect("written");
    assert_ne!(ambassador.named("a.mp4").await, name);
}

#[tokio::test]
async fn settling_a_link_leaves_what_it_points_to() {
    let root = tempfile::tempdir().expect("a directory");
    fs::create_dir(root.path().join("d")).expect("made");
    fs::write(root.path().join("d/real.txt"), "x").expect("written");
    std::os::unix::fs::symlink("d/real.txt", root.path().join("link.mp4")).expect("linked");
    let flags = ["--glob", "*.mp4", "--on-settle", "delete"];
    let ambassador = Ambassador::start(root.path(), &[&QUICK[..], &flags].concat()).await;
    assert_eq!(ambassador.settle(&ambassador.named("link.mp4").await).await.status, 204);
    assert_eq!(tree(root.path()), ["d/real.txt"]);
}
