//! How children end, and that nothing of them is left.

use std::time::Duration;

use process::{Exit, Output, Spec};

use crate::tools::{PATIENCE, count, exists, shell, unique, until};

#[tokio::test]
async fn codes_and_signals_are_told_apart() {
    for code in [0u8, 1, 63, 127, 255] {
        let (spec, _) = shell(&format!("exit {code}"));
        assert_eq!(spec.spawn().expect("starts").wait().await.expect("ends").exit, Exit::Code(code));
    }
    let (spec, _) = shell("kill -9 $$");
    let ended = spec.spawn().expect("starts").wait().await.expect("ends");
    assert_eq!((ended.exit, ended.exit.code(), ended.exit.is_success()), (Exit::Signal(9), 137, false));
}

#[tokio::test]
async fn waiting_may_be_given_up_and_taken_up_again_by_several() {
    let dir = tempfile::tempdir().expect("a directory");
    let go = dir.path().join("go");
    let (spec, _) = shell("while ! test -e $GO; do sleep 0.01; done; exit 5");
    let child = spec.env("GO", &go).spawn().expect("starts");
    for _ in 0..3 {
        assert!(tokio::time::timeout(Duration::from_millis(1), child.wait()).await.is_err());
    }
    std::fs::write(&go, "").expect("written");
    let (one, other) = tokio::join!(child.wait(), child.wait());
    assert_eq!(one.expect("ends").exit, Exit::Code(5));
    assert_eq!(other.expect("ends").exit, Exit::Code(5));
    assert_eq!(child.wait().await.expect("has ended").exit, Exit::Code(5));
    assert!(!exists(child.id()), "not reaped");
}

#[tokio::test]
async fn a_grandchild_that_left_the_session_and_holds_the_pipe_is_ended() {
    let (spec, mark) = shell("setsid sh -c 'trap \"\" TERM; sleep 1000; sleep 1000' & echo up; exit 3");
    let ended = spec.leftover_grace(Duration::from_millis(50)).spawn().expect("starts").wait().await.expect("ends");
    assert_eq!(ended.exit, Exit::Code(3));
    assert_eq!(ended.stdout.bytes, b"up\n");
    assert!(ended.leftovers >= 1, "{ended:?}");
    assert_eq!(count(&mark), 0);
}

#[tokio::test]
async fn an_orphan_is_reaped_as_it_ends_and_not_when_the_child_does() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("pid");
    // The middle one of the three ends at once, and so this process becomes the parent of the last.
    for (n, orphan) in ["echo $$ >$FILE.0", "setsid sh -c 'echo $$ >$FILE.1'"].into_iter().enumerate() {
        let script = format!("(sh -c \"{orphan}\" &) ; exec sleep 1000", orphan = orphan.replace('$', "\\$"));
        let (spec, _) = shell(&script);
        let child = spec.env("FILE", &file).spawn().expect("starts");
        let path = dir.path().join(format!("pid.{n}"));
        let pid = || std::fs::read_to_string(&path).unwrap_or_default().trim().parse::<u32>().ok();
        until("it has said its pid", || pid().is_some()).await;
        until("it is reaped", || pid().is_some_and(|pid| !exists(pid))).await;
        assert!(exists(child.id()));
        assert_eq!(child.stop(PATIENCE).await.expect("ends").exit, Exit::Signal(15));
    }
}

#[tokio::test]
async fn without_a_mark_descendants_are_known_by_group_and_descent() {
    let dir = tempfile::tempdir().expect("a directory");
    for (name, script) in [
        ("group", "(sleep 1000 & echo $! > $FILE); exit 0"),
        // It has left group and session; only its parent tells, while that lives.
        ("descent", "setsid sh -c 'echo $$ > $FILE; exec sleep 1000' & wait"),
    ] {
        let file = dir.path().join(name);
        let spec = Spec::new("/bin/bash").args(["-c", script]).env("PATH", "/usr/bin:/bin").env("FILE", &file);
        let child = spec.spawn().expect("starts");
        let written = || std::fs::read_to_string(&file).unwrap_or_default().trim().parse::<u32>().ok();
        until("it has said its pid", || written().is_some()).await;
        if name == "descent" {
            child.ask_to_stop(Duration::ZERO);
        }
        let ended = child.wait().await.expect("ends");
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", written().expect("a pid"))).unwrap_or_default();
        assert!(stat.is_empty(), "{name}: {ended:?} {} {stat}", child.id());
    }
}

#[tokio::test]
async fn who_ignores_term_is_killed_after_the_grace() {
    let (spec, mark) = shell("trap '' TERM; while :; do sleep 1000; done");
    let child = spec.spawn().expect("starts");
    until("the sleep runs", || count(&mark) == 2).await;
    let ended = child.stop(Duration::from_millis(50)).await.expect("ends");
    assert_eq!(ended.exit, Exit::Signal(9));
    assert_eq!(count(&mark), 0);
}

#[tokio::test]
async fn who_hears_term_ends_in_its_own_way_within_the_grace() {
    let (spec, mark) = shell("trap 'exit 7' TERM; sleep 1000 & wait");
    let child = spec.spawn().expect("starts");
    until("the sleep runs", || count(&mark) == 2).await;
    assert_eq!(child.stop(PATIENCE).await.expect("ends").exit, Exit::Code(7));
    assert_eq!(count(&mark), 0);
}

#[tokio::test]
async fn a_shorter_grace_cuts_a_longer_one_and_not_the_other_way() {
    let (spec, mark) = shell("trap '' TERM; while :; do sleep 1000; done");
    let child = spec.spawn().expect("starts");
    until("the sleep runs", || count(&mark) == 2).await;
    child.ask_to_stop(Duration::from_secs(3600));
    child.ask_to_stop(Duration::from_millis(10));
    child.ask_to_stop(Duration::from_secs(3600));
    let ended = tokio::time::timeout(PATIENCE, child.wait()).await.expect("soon").expect("ends");
    assert_eq!(ended.exit, Exit::Signal(9));
}

#[tokio::test]
async fn a_stopped_child_hears_term_too() {
    let (spec, mark) = shell("trap 'exit 7' TERM; kill -STOP $$; exit 1");
    let child = spec.spawn().expect("starts");
    let stat = format!("/proc/{}/stat", child.id());
    until("it is stopped", || std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") T "))).await;
    let ended = tokio::time::timeout(PATIENCE, child.stop(PATIENCE)).await.expect("soon").expect("ends");
    assert_eq!(ended.exit, Exit::Code(7));
    assert_eq!(count(&mark), 0);
}

#[tokio::test]
async fn a_leftover_that_is_stopped_is_ended_too() {
    let (spec, mark) = shell("setsid sh -c 'kill -STOP $$; sleep 1000' & sleep 0.1; exit 0");
    let ended = spec.spawn().expect("starts").wait().await.expect("ends");
    assert_eq!(ended.exit, Exit::Code(0));
    assert_eq!(count(&mark), 0);
}

#[tokio::test]
async fn who_forks_when_told_to_end_is_ended_with_its_children() {
    // On TERM each makes another before it goes.
    let script = "again() { trap 'again & exit' TERM; sleep 1000 & : >$UP; wait; }; export -f again
        again & until [ -e $UP ]; do sleep 0.01; done; exit 0";
    let (mark, dir) = (unique(), tempfile::tempdir().expect("a directory"));
    let spec = Spec::new("bash").args(["-c", script]).env("PATH", "/usr/bin:/bin").mark("TEST_MARK", &mark);
    let spec = spec.env("UP", dir.path().join("up"));
    let ended = spec.leftover_grace(Duration::from_millis(100)).spawn().expect("starts").wait().await.expect("ends");
    assert!(ended.leftovers >= 2, "{ended:?}");
    assert_eq!(count(&process::Mark::environment("TEST_MARK", &mark)), 0);
}

#[tokio::test]
async fn dropping_the_handle_kills_everything() {
    let (spec, mark) = shell("setsid sleep 1000 & trap '' TERM; sleep 1000; sleep 1000");
    let child = spec.spawn().expect("starts");
    until("all run", || count(&mark) == 3).await;
    let pid = child.id();
    drop(child);
    until("all are gone", || count(&mark) == 0 && !exists(pid)).await;
}

#[test]
fn dropping_the_runtime_kills_the_group_unless_it_may_outlive_us() {
    for outlives in [false, true] {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runs");
        let (spec, mark) = shell("exec sleep 1000");
        let child = runtime.block_on(async {
            let child = if outlives { spec.outlives_us() } else { spec }.spawn().expect("starts");
            until("it runs", || count(&mark) == 1).await;
            child
        });
        runtime.shutdown_timeout(PATIENCE);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runs");
        runtime.block_on(async {
            assert!(child.wait().await.is_err(), "nobody supervises it");
            if outlives {
                assert_eq!(count(&mark), 1);
                process::end(&[mark], Duration::ZERO).await.expect("ends it");
            } else {
                until("it is gone", || count(&mark) == 0).await;
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_at_once_end_each_with_its_own_code_and_no_zombie() {
    let mut children = Vec::new();
    for n in 0..100u8 {
        let (spec, mark) = shell(&format!("(setsid sleep 1000 &) ; sleep 0.05 & echo {n}; exit {n}"));
        children.push((n, spec.spawn().expect("starts"), mark));
    }
    for (n, child, mark) in children {
        let ended = child.wait().await.expect("ends");
        assert_eq!((ended.exit, ended.stdout.bytes), (Exit::Code(n), format!("{n}\n").into_bytes()));
        assert_eq!(count(&mark), 0);
        assert!(!exists(child.id()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_peoples_children_keep_their_statuses() {
    let mut theirs = Vec::new();
    for n in 0..60 {
        let mut command = tokio::process::Command::new("/bin/sh");
        command.args(["-c", &format!("exit {n}")]);
        if n % 2 == 0 {
            command.process_group(0);
        }
        let child = command.spawn().expect("starts");
        let (spec, _) = shell("setsid sleep 1000 & (sleep 0.01 &) ; exit 0");
        theirs.push((n, child));
        assert_eq!(spec.spawn().expect("starts").wait().await.expect("ends").exit, Exit::Code(0));
    }
    for (n, mut child) in theirs {
        assert_eq!(child.wait().await.expect("was not reaped by us").code(), Some(n));
    }
}

#[tokio::test]
async fn what_was_adopted_is_reaped() {
    let dir = tempfile::tempdir().expect("a directory");
    let (spec, _) = shell(
        "for i in 1 2 3; do setsid sh -c 'echo $$; : >$DIR/$$; exec sleep 1000' & done
        until [ \"$(ls $DIR | wc -l)\" = 3 ]; do sleep 0.01; done; exit 0",
    );
    let spec = spec.env("DIR", dir.path());
    let ended = spec.stdout(Output::Tail { keep: 100 }).spawn().expect("starts").wait().await.expect("ends");
    let text = String::from_utf8(ended.stdout.bytes).expect("text");
    assert_eq!(text.lines().count(), 3, "{text}");
    for pid in text.lines() {
        assert!(!exists(pid.parse().expect("a pid")), "{pid} is there, if only as a zombie");
    }
}
