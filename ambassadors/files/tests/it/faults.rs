//! The program killed in the middle of a settle, and a settle that fails there.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use crate::ambassador::{Ambassador, PROGRAM, until};

const QUICK: [&str; 4] = ["--stable-for", "0s", "--rescan", "100ms"];

fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .expect("lists")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// The program, told to do this at that point.
fn faulty(plan: &str) -> Command {
    let mut command = Command::new(PROGRAM);
    command.env("LONGSHORE_FAULT", plan);
    command
}

/// Settles `a.mp4` with a program that dies of it, once for every plan, one after another; then with one that does not.
async fn settled_through(root: &Path, done: &Path, plans: &[&str]) {
    let move_to = format!("move:{}", done.display());
    let flags = [&QUICK[..], &["--on-settle", &move_to]].concat();
    for plan in plans {
        let status = if plan.contains("recover") {
            // The first scan of this one finds what the one before left, and dies of it.
            let flags = [&flags[..], &["--listen", "127.0.0.1:0", "--probe-listen", "127.0.0.1:0"]].concat();
            faulty(plan).arg("--root").arg(root).args(flags).output().expect("the program starts").status
        } else {
            let ambassador = Ambassador::spawn(faulty(plan), root, &flags).await;
            let name = ambassador.named("a.mp4").await;
            ambassador.try_ask("DELETE", &format!("{}/v1/items/{name}", ambassador.contract)).await;
            ambassador.ended().await
        };
        assert_eq!(status.signal(), Some(9), "{plan} was never passed");
    }
    let copies =
        fs::read_dir(root).expect("lists").count() + files(done).iter().filter(|name| *name == "a.mp4").count();
    assert!(copies >= 1, "{plans:?}: lost");
    let ambassador = Ambassador::start(root, &flags).await;
    until("it settled", async || {
        for name in ambassador.names().await {
            ambassador.settle(&name).await;
        }
        (files(root).is_empty() && ambassador.is_complete().await).then_some(())
    })
    .await;
    assert_eq!(files(done), ["a.mp4"], "{plans:?}: settled once, and nothing is left");
    assert_eq!(fs::read_to_string(done.join("a.mp4")).expect("read"), "content");
}

#[tokio::test]
async fn killed_anywhere_in_a_settle_nothing_is_lost_or_doubled_or_left_behind() {
    // Failing once aside is how putting back is reached in the ordinary course of things.
    const PUT_BACK: &str = "files.settle.aside.after=fail";
    let before = format!("{PUT_BACK},files.settle.restore.before=kill");
    let after = format!("{PUT_BACK},files.settle.restore.after=kill");
    let plans: [&[&str]; 8] = [
        &["files.settle.aside.before=kill"],
        &["files.settle.aside.after=kill"],
        &["files.settle.finish.before=kill"],
        &["files.settle.finish.after=kill"],
        &[&before],
        &[&after],
        &["files.settle.aside.after=kill", "files.settle.recover.before=kill"],
        &["files.settle.aside.after=kill", "files.settle.recover.after=kill"],
    ];
    for plan in plans {
        let (root, done) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        fs::write(root.path().join("a.mp4"), "content").expect("written");
        settled_through(root.path(), done.path(), plan).await;
    }
}

#[tokio::test]
async fn killed_while_it_moves_to_another_file_system_nothing_is_lost_or_doubled_or_left_behind() {
    for plan in ["files.settle.copy.before=kill", "files.settle.copy.after=kill", "files.settle.moved.before=kill"] {
        let root = tempfile::tempdir().expect("a directory");
        let done = tempfile::tempdir_in("/dev/shm").expect("a directory on another file system");
        fs::write(root.path().join("a.mp4"), "content").expect("written");
        settled_through(root.path(), done.path(), &[plan]).await;
    }
}

#[tokio::test]
async fn a_settle_that_fails_half_way_puts_the_file_back() {
    let (root, done) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    fs::write(root.path().join("a.mp4"), "content").expect("written");
    let move_to = format!("move:{}", done.path().display());
    let flags = [&QUICK[..], &["--on-settle", &move_to]].concat();
    let ambassador = Ambassador::spawn(faulty("files.settle.finish.before=fail"), root.path(), &flags).await;
    let name = ambassador.named("a.mp4").await;
    let answer = ambassador.settle(&name).await;
    assert_eq!(answer.status, 503, "ask again");
    assert!(!answer.text.contains("fault"), "no internals: {}", answer.text);
    assert_eq!(files(root.path()), ["a.mp4"]);
    assert_eq!(ambassador.named("a.mp4").await, name);
    assert_eq!(ambassador.settle(&name).await.status, 204);
    assert_eq!((files(root.path()).len(), files(done.path()).len()), (0, 1));
}
