//! What the machine may deny.

use std::fs;

use stage::protocol::Reason;

use crate::tools::{Pod, Shim};

#[test]
fn a_directory_that_is_not_there_is_named() {
    let pod = Pod::new();
    fs::remove_dir(pod.dir.path()).expect("removed");
    let (status, said) = pod.shim(&["true"]).end();
    assert_eq!(status.code(), Some(74), "{said}");
    assert!(said.contains("stages/detect") && said.contains("mount a volume"), "{said}");
}

#[test]
fn it_needs_no_home_no_tmp_and_no_path() {
    let pod = Pod::new();
    let mut command = pod.command(&["/bin/true"]);
    command.env_clear().current_dir("/");
    let shim = Shim::start(command);
    let adapter = pod.adapter();
    assert_eq!(adapter.run(1).reason, Reason::Completed);
    adapter.done();
    assert_eq!(shim.code(), 0);
}

#[test]
fn it_installs_itself() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_stage-shim"));
    command.arg("install").arg(dir.path().join("bin"));
    // An init container may be run again.
    for _ in 0..2 {
        let output = command.output().expect("runs");
        assert!(output.status.success(), "{output:?}");
    }
    assert!(dir.path().join("bin/stage-shim").is_file());
}
