//! More than the kernel tells at once, more than it lets us watch, and two ambassadors of one folder.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use crate::ambassador::{Ambassador, PROGRAM, until};

#[tokio::test]
async fn events_that_were_lost_are_made_up_for_by_a_scan() {
    let root = tempfile::tempdir().expect("a directory");
    let ambassador = Ambassador::start(root.path(), &["--stable-for", "0s", "--rescan", "1h"]).await;
    ambassador.listed(0).await;
    let pid = Pid::from_raw(ambassador.pid().cast_signed()).expect("a process");
    kill_process(pid, Signal::STOP).expect("stopped");
    let queued = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").expect("read");
    let files = queued.trim().parse::<usize>().expect("a number") / 2;
    for n in 0..files {
        fs::write(root.path().join(format!("{n}.mp4")), "x").expect("written");
    }
    kill_process(pid, Signal::CONT).expect("continued");
    ambassador.listed(files).await;
    let metrics = ambassador.probe("/metrics").await.text;
    assert!(!metrics.contains("longshore_files_inotify_overflows_total 0"), "they were lost");
    assert_eq!(ambassador.log().matches("inotify lost events").count(), 1, "said once");
}

#[tokio::test]
async fn two_ambassadors_of_one_folder_settle_each_file_once() {
    const FILES: usize = 200;
    let (root, done) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    for n in 0..FILES {
        fs::write(root.path().join(format!("{n}.mp4")), n.to_string()).expect("written");
    }
    let move_to = format!("move:{}", done.path().display());
    // Each scans all the time, and so meets what the other has aside.
    let flags = ["--stable-for", "0s", "--rescan", "1ms", "--on-settle", &move_to];
    let one = Ambassador::start(root.path(), &flags).await;
    let other = Ambassador::start(root.path(), &flags).await;
    let (mut names, mut same) = (one.listed(FILES).await, other.listed(FILES).await);
    names.sort();
    same.sort();
    assert_eq!(names, same, "replicas agree on every name");
    let settle = async |ambassador: &Ambassador| {
        for name in &names {
            until(name, async || (ambassador.settle(name).await.status == 204).then_some(())).await;
        }
    };
    tokio::join!(settle(&one), settle(&other));
    until("the folder empty", async || {
        // Whatever one put back because the other was at it is listed again, and settled again.
        for name in one.names().await {
            one.settle(&name).await;
        }
        fs::read_dir(root.path()).expect("lists").next().is_none().then_some(())
    })
    .await;
    let moved: BTreeSet<_> =
        fs::read_dir(done.path()).expect("lists").map(|entry| entry.expect("an entry").file_name()).collect();
    assert_eq!(moved, (0..FILES).map(|n| format!("{n}.mp4").into()).collect());
}

/// Enough files that others look at them while the keeper hears of changes; and no second scan to make anything good.
#[tokio::test]
async fn what_changes_while_it_is_read_is_listed_as_it_is_in_the_end() {
    const FILES: usize = 6_000;
    let root = tempfile::tempdir().expect("a directory");
    let path = |n: usize| root.path().join(format!("{}/{n}.mp4", n % 3));
    for dir in 0..3 {
        fs::create_dir(root.path().join(dir.to_string())).expect("made");
    }
    for n in 0..FILES {
        fs::write(path(n), "x").expect("written");
    }
    let starting = Ambassador::start(root.path(), &["--stable-for", "0s", "--rescan", "1h"]);
    let changing = async {
        // A third goes, a third is written again, until the list is there and beyond.
        for n in 0..FILES {
            match n % 9 {
                0..3 => fs::remove_file(path(n)).expect("removed"),
                3..6 => fs::write(path(n), "longer").expect("written"),
                _ => {}
            }
            tokio::task::yield_now().await;
        }
    };
    let (ambassador, ()) = tokio::join!(starting, changing);
    let left: BTreeSet<String> = (0..FILES).filter(|n| n % 9 >= 3).map(|n| format!("{}/{n}.mp4", n % 3)).collect();
    // Each is listed as the version that it is: one that is not cannot be read. As many are listed before the last of the events is met.
    until("each as it is in the end", async || {
        let names = ambassador.listed(left.len()).await;
        let items = ambassador.items().await;
        let listed: BTreeSet<_> = items.iter().map(|(_, data)| data["key"].as_str().expect("a key")).collect();
        (names.len() == left.len() && listed.iter().eq(&left)).then_some(())
    })
    .await;
}

mod needs_userns {
    use super::*;

    /// The program in a user namespace of its own, where this is done to its limits first.
    fn limited(how: &str) -> Command {
        let script = format!(r#"{how} && exec "$@""#);
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "sh", "-c", &script, "sh", PROGRAM]);
        command
    }

    /// Raises a limit there.
    fn raise(ambassador: &Ambassador, limit: &str) {
        let mut command = Command::new("nsenter");
        command.args(["-t", &ambassador.pid().to_string(), "--user", "--preserve-credentials", "--"]);
        command.args(["sh", "-c", &format!("echo 100 >/proc/sys/user/{limit}")]);
        assert!(command.status().expect("nsenter runs").success());
    }

    async fn metric(ambassador: &Ambassador, line: &str) {
        until(line, async || {
            let metrics = ambassador.probe("/metrics").await.text;
            metrics.lines().any(|now| now == format!("longshore_files_{line}")).then_some(())
        })
        .await;
    }

    #[tokio::test]
    async fn without_watches_left_scans_still_find_everything() {
        let root = tempfile::tempdir().expect("a directory");
        for n in 0..5 {
            fs::create_dir(root.path().join(n.to_string())).expect("made");
        }
        let command = limited("echo 3 >/proc/sys/user/max_inotify_watches");
        let ambassador = Ambassador::spawn(command, root.path(), &["--stable-for", "100ms", "--rescan", "100ms"]).await;
        ambassador.listed(0).await;
        for n in 0..5 {
            fs::write(root.path().join(format!("{n}/a.mp4")), "x").expect("written");
        }
        ambassador.listed(5).await;
        metric(&ambassador, "inotify_watches 3").await;
        metric(&ambassador, "inotify_unwatched 3").await;
        let said = || ambassador.log().matches("no more directories can be watched").count();
        assert_eq!(said(), 1, "once, not at every scan");
        // With more of them it is as fast as ever, and the next shortage is worth another word.
        raise(&ambassador, "max_inotify_watches");
        metric(&ambassador, "inotify_unwatched 0").await;
        metric(&ambassador, "inotify_watches 6").await;
        for n in 0..100 {
            fs::create_dir(root.path().join(format!("more-{n}"))).expect("made");
        }
        metric(&ambassador, "inotify_unwatched 6").await;
        until("the second shortage told", async || (said() == 2).then_some(())).await;
    }

    #[tokio::test]
    async fn without_an_instance_left_scans_find_everything_until_there_is_one() {
        let root = tempfile::tempdir().expect("a directory");
        fs::create_dir(root.path().join("d")).expect("made");
        let command = limited("echo 0 >/proc/sys/user/max_inotify_instances");
        let ambassador = Ambassador::spawn(command, root.path(), &["--stable-for", "100ms", "--rescan", "100ms"]).await;
        fs::write(root.path().join("d/a.mp4"), "x").expect("written");
        ambassador.named("d/a.mp4").await;
        metric(&ambassador, "inotify_unwatched 2").await;
        assert_eq!(ambassador.log().matches("no inotify").count(), 1, "once, not at every scan");
        raise(&ambassador, "max_inotify_instances");
        metric(&ambassador, "inotify_watches 2").await;
        metric(&ambassador, "inotify_unwatched 0").await;
    }
}
