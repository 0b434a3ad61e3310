//! The program killed in the middle of a settle, and a file system that fails or does not answer.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

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

/// A file system that fails or hangs, which strace makes of a good one.
mod needs_strace {
    use super::*;

    /// The program under strace, which makes this system call fail or hang as a file server would.
    fn traced(call: &str, how: &str) -> Command {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
        command.args(["-e", &format!("inject={call}:{how}"), PROGRAM]);
        command
    }

    #[tokio::test]
    async fn where_others_may_write_unseen_only_rest_counts() {
        let root = tempfile::tempdir().expect("a directory");
        // Without this call it is not known what file system it is.
        let command = traced("fstatfs", "error=EIO");
        let ambassador = Ambassador::spawn(command, root.path(), &["--stable-for", "2s", "--rescan", "100ms"]).await;
        ambassador.listed(0).await;
        let began = Instant::now();
        let writer = fs::File::create(root.path().join("a.mp4")).expect("created");
        fs::write(root.path().join("b.mp4"), "closed").expect("written");
        ambassador.listed(2).await;
        assert!(began.elapsed() >= Duration::from_secs(2), "listed before it had rested");
        assert!(ambassador.probe("/metrics").await.text.contains("longshore_files_inotify_watches 0"));
        drop(writer);
    }

    #[tokio::test]
    async fn a_stale_file_handle_is_not_an_empty_directory() {
        let root = tempfile::tempdir().expect("a directory");
        fs::create_dir(root.path().join("d")).expect("made");
        for n in 0..3 {
            fs::write(root.path().join(format!("d/{n}.mp4")), "x").expect("written");
        }
        // A scan takes two calls for the root and two for `d`; from the second on, `d` fails at once, five times.
        let command = traced("getdents64", "error=ESTALE:when=7..19+3");
        let flags = ["--no-inotify", "--stable-for", "0s", "--rescan", "300ms"];
        let ambassador = Ambassador::spawn(command, root.path(), &flags).await;
        let names = ambassador.listed(3).await;
        until("an incomplete list", async || {
            assert_eq!(ambassador.names().await, names);
            (!ambassador.is_complete().await).then_some(())
        })
        .await;
        assert!(!ambassador.withheld("d/", "unreadable").await);
        until("a complete list", async || {
            assert_eq!(ambassador.names().await, names);
            ambassador.is_complete().await.then_some(())
        })
        .await;
    }

    #[tokio::test]
    async fn a_root_that_fails_is_lost_and_nothing_in_it_is() {
        let root = tempfile::tempdir().expect("a directory");
        fs::write(root.path().join("a.mp4"), "x").expect("written");
        let command = traced("getdents64", "error=EIO:when=3..5");
        let flags = ["--no-inotify", "--stable-for", "0s", "--rescan", "300ms"];
        let ambassador = Ambassador::spawn(command, root.path(), &flags).await;
        let names = ambassador.listed(1).await;
        until("it lost", async || {
            let ready = ambassador.probe("/readyz").await;
            (ready.status == 503 && ready.text.contains("cannot be read")).then_some(())
        })
        .await;
        assert_eq!(ambassador.listed(1).await, names);
        assert!(ambassador.is_complete().await);
    }

    #[tokio::test]
    async fn until_the_first_scan_is_over_there_is_no_list_and_no_empty_one() {
        let root = tempfile::tempdir().expect("a directory");
        fs::write(root.path().join("a.mp4"), "x").expect("written");
        let command = traced("getdents64", "delay_enter=5s:when=1");
        let ambassador = Ambassador::spawn(command, root.path(), &["--stable-for", "0s"]).await;
        let refused = ambassador.list().await;
        assert!(refused.status == 503 && refused.retry_after, "{}", refused.text);
        assert_eq!(ambassador.ask("GET", "/v1/items/a").await.status, 503, "not to know is not to deny");
        assert_eq!((ambassador.probe("/readyz").await.status, ambassador.probe("/livez").await.status), (503, 200));
        let list =
            until("a list", async || Some(ambassador.list().await).filter(|list| list.status != 503)).await.json();
        assert_eq!((list["items"].as_array().map(Vec::len), &list["metadata"]["complete"]), (Some(1), &true.into()));
    }

    #[tokio::test]
    async fn a_mount_that_hangs_is_told_and_the_api_answers_all_the_while() {
        let root = tempfile::tempdir().expect("a directory");
        fs::write(root.path().join("a.mp4"), "x").expect("written");
        let command = traced("getdents64", "delay_enter=4s:when=3");
        let flags = ["--no-inotify", "--stable-for", "0s", "--rescan", "300ms", "--stall-after", "500ms"];
        let ambassador = Ambassador::spawn(command, root.path(), &flags).await;
        let names = ambassador.listed(1).await;
        until("readiness to turn red", async || {
            let ready = ambassador.probe("/readyz").await;
            (ready.status == 503 && ready.text.contains("not answered")).then_some(())
        })
        .await;
        assert_eq!(ambassador.list().await.status, 503);
        assert_eq!(ambassador.probe("/livez").await.status, 200);
        assert_eq!(ambassador.listed(1).await, names, "it answers again, and nothing was lost");
    }
}
