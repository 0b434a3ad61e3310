//! Who is killed, and how soon the other side knows.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use stage::protocol::Reason;
use stage::{Peer, Sign};

use crate::tools::{Pod, Shim, blocking, runs, until};

#[test]
fn a_killed_shim_is_known_by_its_lock_and_the_next_one_does_nothing_unasked() {
    let pod = Pod::new();
    let first = pod.script("sleep 1000");
    let adapter = pod.adapter();
    let hello = pod.hello(None);
    let peer = Peer::watch(pod.dir.path(), &hello).expect("watches");
    assert_eq!(blocking(peer.known()), Sign::Lock);
    adapter.go(1);
    let started = adapter.started(1);
    first.signal(Signal::KILL);
    // The kubelet is quicker than whoever looks now and then.
    let second = pod.script("exit 7");
    blocking(peer.fallen());
    assert_eq!(adapter.result_now(1), None, "so the attempt is lost");
    // A container would have ended with its first process.
    until("what it had left running is ended", || (!runs(started.pid)).then_some(()));
    let boot = pod.hello(Some(&hello.boot)).boot;
    assert!(!stage::root::lock(pod.dir.path(), &hello.boot).exists());
    adapter.send(&adapter.order(&boot, 2));
    assert_eq!(adapter.result(2).exit_code, Some(7));
    assert_eq!(adapter.result_now(1), None);
    drop((first, second));
}

#[test]
fn a_result_and_its_output_outlive_the_shim_that_wrote_them() {
    let pod = Pod::new();
    let first = pod.script("touch $OUTPUT_DIR/x");
    let adapter = pod.adapter();
    let boot = adapter.go(1);
    adapter.result(1);
    first.signal(Signal::KILL);
    let _second = pod.script("false");
    pod.hello(Some(&boot));
    assert!(adapter.result_now(1).is_some() && pod.dir.out().join("x").exists());
}

#[test]
fn a_killed_command_is_no_lost_one() {
    let pod = Pod::new();
    let _shim = pod.shim(&["sleep", "1000"]);
    let adapter = pod.adapter();
    adapter.go(1);
    let started = adapter.started(1);
    let pid = Pid::from_raw(started.pid.cast_signed()).expect("a pid");
    kill_process(pid, Signal::KILL).expect("killed");
    let ended = adapter.result(1);
    assert_eq!((ended.reason, ended.signal), (Reason::Killed, Some(9)));
}

#[test]
fn a_dead_adapters_command_is_stopped_and_the_next_adapter_served() {
    let pod = Pod::new();
    let shim = pod.script("touch $TMPDIR/../ran-$STAGE_ATTEMPT; [ $STAGE_ATTEMPT = 2 ] || sleep 1000");
    let started = {
        let adapter = pod.adapter();
        adapter.go(1);
        adapter.started(1)
    };
    until("the command is ended", || (!runs(started.pid)).then_some(()));
    let adapter = pod.adapter();
    let boot = pod.hello(None).boot;
    assert_eq!(boot, started.boot, "it is the same life");
    let mut go = adapter.order(&boot, 2);
    go.environment.insert("STAGE_ATTEMPT".into(), "2".into());
    adapter.send(&go);
    assert_eq!(adapter.result(2).reason, Reason::Completed);
    assert!(!pod.dir.result(1).exists(), "nobody would read it");
    adapter.done();
    assert_eq!(shim.code(), 0);
}

#[test]
fn an_adapter_that_was_done_when_it_ended_needs_no_successor() {
    for is_asked in [false, true] {
        let pod = Pod::new();
        let shim = pod.script("sleep 1000");
        let adapter = pod.adapter();
        if is_asked {
            adapter.go(1);
            adapter.started(1);
        }
        shim.says("met the multi-worker");
        shim.signal(Signal::STOP);
        adapter.done();
        drop(adapter);
        shim.signal(Signal::CONT);
        assert_eq!(shim.code(), 0);
    }
}

/// As where a kubelet starts both again: what the dead adapter has said is not for those who come after it.
#[test]
fn a_done_from_before_its_time_ends_no_shim() {
    let pod = Pod::new();
    let first = pod.adapter();
    first.done();
    drop(first);
    let shim = pod.script("touch $OUTPUT_DIR/x");
    shim.says("met the multi-worker");
    let second = pod.adapter();
    assert_eq!(second.run(1).reason, Reason::Completed);
    second.done();
    assert_eq!(shim.code(), 0);
}

#[test]
fn without_locks_a_heartbeat_tells() {
    let pod = Pod::new();
    let mut command = pod.command(&["sleep", "1000"]);
    command.env("LONGSHORE_NO_LOCK", "true");
    let shim = Shim::start(command);
    let hello = pod.hello(None);
    assert!(!stage::root::lock(pod.dir.path(), &hello.boot).exists());
    let peer = Peer::watch(pod.dir.path(), &hello).expect("watches");
    assert_eq!(blocking(peer.known()), Sign::Heartbeat);
    shim.signal(Signal::KILL);
    blocking(peer.fallen());
}

#[test]
fn a_result_that_cannot_be_told_is_a_lock_that_falls() {
    let pod = Pod::new();
    // Nothing can be renamed to where somebody has put a directory that is not empty.
    let shim = pod.script("mkdir -p $TMPDIR/../1.result.json/x");
    let adapter = pod.adapter();
    let peer = Peer::watch(pod.dir.path(), &pod.hello(None)).expect("watches");
    adapter.go(1);
    let (status, said) = shim.end();
    assert_eq!(status.code(), Some(74), "{said}");
    assert!(said.contains("cannot say how attempt 1 ended") && said.contains("1.result.json"), "{said}");
    blocking(peer.fallen());
}

#[test]
fn two_cannot_live_in_one_directory() {
    let pod = Pod::new();
    let _first = pod.script("exit 0");
    pod.hello(None);
    let (status, said) = pod.script("exit 0").end();
    assert_eq!(status.code(), Some(78), "{said}");
    assert!(said.contains("lives in") && said.contains("directory of its own"), "{said}");
    assert_eq!(pod.adapter().run(1).reason, Reason::Completed);
}

#[test]
fn a_stopped_shim_is_not_a_dead_one() {
    let pod = Pod::new();
    let shim = pod.script("exit 0");
    let hello = pod.hello(None);
    let peer = Peer::watch(pod.dir.path(), &hello).expect("watches");
    assert_eq!(blocking(peer.known()), Sign::Lock);
    shim.signal(Signal::STOP);
    let adapter = pod.adapter();
    adapter.go(1);
    fs::metadata(pod.dir.path()).expect("is there");
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(peer.sign(), Sign::Lock);
    shim.signal(Signal::CONT);
    assert_eq!(adapter.result(1).reason, Reason::Completed);
}
