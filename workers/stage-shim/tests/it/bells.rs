//! Who is told by a bell that something was written, and what becomes of those who have none.

use std::fs;

use rustix::fs::{CWD, Mode, OFlags, mkfifoat, openat};
use rustix::io::read;
use stage::files;
use stage::protocol::{Done, Reason};

use crate::tools::{Pod, Ringing, until};

#[test]
fn each_message_is_rung_for_once() {
    let pod = Pod::new();
    let mut rung = Ringing::hang(pod.adapter.path());
    let shim = pod.shim(&["true"]);
    rung.until(1, "it has said hello");
    let adapter = pod.adapter();
    adapter.go(1);
    rung.until(3, "it has started, and it is over");
    assert_eq!(adapter.result(1).reason, Reason::Completed);
    adapter.done();
    assert_eq!(shim.code(), 0);
    assert_eq!(rung.times(), 3, "and nobody is rung for nothing");
}

#[test]
fn an_adapter_that_does_not_ring_is_heard_all_the_same() {
    let pod = Pod::new();
    let shim = pod.shim(&["true"]);
    let adapter = pod.adapter();
    let boot = pod.hello(None).boot;
    for attempt in [1, 2] {
        let go = adapter.order(&boot, attempt);
        files::write(&pod.adapter.go(&pod.stage, attempt), &go).expect("written");
        assert_eq!(adapter.result(attempt).reason, Reason::Completed);
    }
    files::write(&pod.adapter.done(), &Done { adapter: adapter.boot().clone() }).expect("written");
    assert_eq!(shim.code(), 0);
}

#[test]
fn where_no_bell_can_be_hung_it_looks_often() {
    let pod = Pod::new();
    fs::create_dir_all(stage::root::bell(pod.dir.path()).join("in the way")).expect("made");
    let mut command = pod.command(&["true"]);
    command.env("RUST_LOG", "debug");
    let shim = crate::tools::Shim::start(command);
    let adapter = pod.adapter();
    assert_eq!(adapter.run(1).reason, Reason::Completed);
    adapter.done();
    let (status, said) = shim.end();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("no bell can be hung"), "{said}");
}

#[test]
fn a_command_that_spoils_the_bell_is_told_late_and_not_never() {
    let pod = Pod::new();
    let spoil = r#"cd "$OUTPUT_DIR/.."; rm bell; ln -s /dev/null bell; until [ -e told ]; do sleep 0.01; done"#;
    let shim = pod.script(spoil);
    let adapter = pod.adapter();
    adapter.go(1);
    until("it is spoilt", || fs::read_link(stage::root::bell(pod.dir.path())).ok());
    adapter.cancel(1, std::time::Duration::from_secs(10));
    assert_eq!(adapter.result(1).reason, Reason::Cancelled);
    adapter.done();
    assert_eq!(shim.code(), 0);
}

#[test]
fn an_adapters_bell_that_nobody_empties_holds_nobody_up() {
    let pod = Pod::new();
    let bell = stage::root::bell(pod.adapter.path());
    mkfifoat(CWD, &bell, Mode::RWXU).expect("made");
    let pipe = openat(CWD, &bell, OFlags::RDWR | OFlags::NONBLOCK, Mode::empty()).expect("opens");
    while rustix::io::write(&pipe, &[0; 4096]).is_ok() {}
    let shim = pod.shim(&["true"]);
    let adapter = pod.adapter();
    assert_eq!(adapter.run(1).reason, Reason::Completed);
    adapter.done();
    assert_eq!(shim.code(), 0);
    assert!(read(&pipe, &mut [0; 1]).is_ok(), "it is full still");
}
