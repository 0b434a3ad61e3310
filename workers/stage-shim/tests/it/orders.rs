//! What the shim does when it is asked, and what it does not do unasked.

use std::time::Duration;

use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::Signal;
use serde_json::json;
use stage::protocol::Reason;
use stage::{Boot, files};

use crate::tools::{Pod, Shim, put, read, until};

const COUNT: &str = "echo run >>$0; cat $0 >$OUTPUT_DIR/runs";

#[test]
fn nothing_runs_that_was_asked_of_another_or_by_another_or_twice() {
    let pod = Pod::new();
    let runs = pod.top.path().join("runs");
    let _shim = pod.shim(&["/bin/sh", "-c", COUNT, runs.to_str().expect("is text")]);
    let adapter = pod.adapter();
    let boot = pod.hello(None).boot;
    let right = adapter.order(&boot, 1);
    for wrong in [
        stage::protocol::Go { boot: Boot::new(), attempt: 2, ..right.clone() },
        stage::protocol::Go { adapter: Boot::new(), attempt: 3, ..right.clone() },
        stage::protocol::Go { stage: "other".parse().expect("a name"), attempt: 4, ..right.clone() },
    ] {
        adapter.send(&wrong);
    }
    // One attempt under the name of another.
    put(&pod.adapter.go(&pod.stage, 5), &serde_json::to_value(&right).expect("serialises"));
    adapter.send(&right);
    assert_eq!(adapter.result(1).reason, Reason::Completed);
    adapter.send(&right);
    adapter.send(&adapter.order(&boot, 6));
    adapter.result(6);
    assert_eq!(read(runs), "run\nrun\n");
}

#[test]
fn orders_that_nobody_could_read_hold_up_none_that_can_be() {
    let pod = Pod::new();
    let shim = pod.shim(&["true"]);
    let adapter = pod.adapter();
    let boot = pod.hello(None).boot;
    let path = |n: u32| pod.adapter.go(&pod.stage, n);
    mkfifoat(CWD, path(10), Mode::RWXU).expect("made");
    std::os::unix::fs::symlink("/dev/zero", path(11)).expect("linked");
    std::fs::create_dir(path(12)).expect("made");
    std::fs::write(path(13), "{").expect("written");
    std::fs::write(path(14), vec![b'['; 2 << 20]).expect("written");
    std::fs::write(path(15), "[".repeat(1 << 20)).expect("written");
    put(&path(16), &json!({"boot": "../../../etc/passwd", "attempt": -1}));
    std::fs::write(pod.adapter.orders(&pod.stage).join("99999999999999999999.go.json"), "{}").expect("written");
    mkfifoat(CWD, pod.adapter.done(), Mode::RWXU).expect("made");
    mkfifoat(CWD, pod.adapter.cancel(&pod.stage, 1), Mode::RWXU).expect("made");
    adapter.send(&adapter.order(&boot, 1));
    assert_eq!(adapter.result(1).reason, Reason::Completed);
    std::fs::remove_file(pod.adapter.done()).expect("removed");
    adapter.done();
    let (status, said) = shim.end();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("14.go.json") && said.contains("10.go.json"), "{said}");
}

#[test]
fn a_go_with_words_that_cannot_be_passed_is_a_result_and_not_the_end() {
    let pod = Pod::new();
    let shim = pod.shim(&["/bin/sh", "-c", "exit 0"]);
    let adapter = pod.adapter();
    let boot = pod.hello(None).boot;
    for (n, name, value) in [(1, "A=B", "x"), (2, "", "x"), (3, "A", "nul\0"), (4, "LARGE", &"x".repeat(200 << 10))] {
        let mut go = adapter.order(&boot, n);
        go.environment.insert(name.into(), value.to_owned());
        adapter.send(&go);
        let ended = adapter.result(n);
        assert!(matches!(ended.reason, Reason::CommandNotExecutable | Reason::Completed), "{name:?}: {ended:?}");
        assert!(n < 3 || ended.reason == Reason::CommandNotExecutable, "{name:?}: {ended:?}");
    }
    let mut go = adapter.order(&boot, 5);
    (go.timeout_ms, go.grace_ms, go.tail_bytes) = (Some(u64::MAX), u64::MAX, u64::MAX);
    adapter.send(&go);
    assert_eq!(adapter.result(5).reason, Reason::Completed);
    adapter.done();
    assert_eq!(shim.code(), 0);
}

#[test]
fn a_cancelled_command_hears_term_then_kill() {
    for (script, grace) in [
        ("trap 'exit 0' TERM; touch $TMPDIR/up; while :; do sleep 0.01; done", 60),
        ("trap '' TERM; touch $TMPDIR/up; while :; do sleep 0.01; done", 0),
    ] {
        let pod = Pod::new();
        let _shim = pod.script(script);
        let adapter = pod.adapter();
        adapter.go(1);
        until("it is up", || pod.dir.temporary().join("up").exists().then_some(()));
        adapter.cancel(2, Duration::ZERO);
        adapter.cancel(1, Duration::from_secs(grace));
        let ended = adapter.result(1);
        assert_eq!(ended.reason, Reason::Cancelled, "{ended:?}");
        assert_eq!(ended.signal.is_some(), grace == 0, "{ended:?}");
        assert!(!pod.dir.out().exists());
        // The next attempt is not the one that was cancelled.
        adapter.go(3);
        adapter.started(3);
        adapter.cancel(3, Duration::ZERO);
        assert_eq!(adapter.result(3).reason, Reason::Cancelled);
    }
}

#[test]
fn an_attempt_that_is_cancelled_before_it_begins_never_does() {
    let pod = Pod::new();
    let adapter = pod.adapter();
    let shim = pod.script("touch $TMPDIR/../began; sleep 1000");
    let boot = pod.hello(None).boot;
    adapter.cancel(1, Duration::ZERO);
    adapter.send(&adapter.order(&boot, 1));
    assert_eq!(adapter.result(1).reason, Reason::Cancelled);
    adapter.done();
    assert_eq!(shim.code(), 0);
}

#[test]
fn a_command_that_takes_too_long_is_stopped_by_the_shim_itself() {
    let pod = Pod::new();
    let _shim = pod.script("sleep 1000");
    let adapter = pod.adapter();
    let mut go = adapter.order(&pod.hello(None).boot, 1);
    go.timeout_ms = Some(50);
    adapter.send(&go);
    let ended = adapter.result(1);
    assert_eq!(ended.reason, Reason::Timeout, "{ended:?}");
    assert!(ended.message.contains("50ms") && ended.seconds >= 0.05, "{ended:?}");
}

#[test]
fn told_to_end_it_stops_its_command_and_says_so() {
    let pod = Pod::new();
    let shim = pod.script("sleep 1000");
    let adapter = pod.adapter();
    adapter.go(1);
    adapter.started(1);
    shim.signal(Signal::TERM);
    assert_eq!(adapter.result(1).reason, Reason::Cancelled);
    assert_eq!(shim.code(), 143);

    let idle = Pod::new();
    let shim = idle.script("sleep 1000");
    idle.hello(None);
    shim.signal(Signal::TERM);
    assert_eq!(shim.code(), 143);
}

#[test]
fn the_second_signal_leaves_no_grace() {
    let pod = Pod::new();
    let shim = pod.script("trap '' TERM; touch $TMPDIR/up; while :; do sleep 0.01; done");
    let adapter = pod.adapter();
    adapter.go(1);
    until("it is up", || pod.dir.temporary().join("up").exists().then_some(()));
    shim.signal(Signal::TERM);
    shim.signal(Signal::INT);
    let ended = adapter.result(1);
    assert_eq!((ended.reason, ended.signal), (Reason::Cancelled, Some(9)));
    assert_eq!(shim.code(), 143);
}

#[test]
fn without_any_work_it_ends_well() {
    let pod = Pod::new();
    let shim = pod.shim(&["true"]);
    let adapter = pod.adapter();
    // Another's word means nothing.
    files::write(&pod.adapter.done(), &stage::protocol::Done { adapter: Boot::new() }).expect("written");
    adapter.run(1);
    adapter.done();
    assert_eq!(shim.code(), 0);
    // As a sidecar it is started again by then.
    assert_eq!(pod.shim(&["true"]).code(), 0);
}

#[test]
fn another_version_of_the_protocol_is_said() {
    let pod = Pod::new();
    let shim = pod.shim(&["true"]);
    pod.hello(None);
    put(&stage::root::hello(pod.adapter.path()), &json!({"protocol": 2, "boots": []}));
    let (status, said) = shim.end();
    assert_eq!(status.code(), Some(78), "{said}");
    assert!(said.contains("version 2") && said.contains("from one release"), "{said}");
}

#[test]
fn what_is_no_greeting_is_waited_out() {
    let pod = Pod::new();
    let hello = stage::root::hello(pod.adapter.path());
    std::fs::write(&hello, "nonsense").expect("written");
    let shim = pod.shim(&["true"]);
    pod.hello(None);
    let adapter = pod.adapter();
    assert_eq!(adapter.run(1).reason, Reason::Completed);
    adapter.done();
    assert_eq!(shim.code(), 0);
}

#[test]
fn wrong_usage_is_64() {
    for words in [
        &["--stage", "detect"][..],
        &["--", "true"],
        &["--stage", "../x", "--", "true"],
        &["--stage", "a", "--root", "x", "--", "true"],
    ] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_stage-shim"));
        command.args(words);
        assert_eq!(Shim::start(command).code(), 64, "{words:?}");
    }
}
