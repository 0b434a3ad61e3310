//! Limits of the kernel, in a user namespace that has its own.

use std::process::Command;

use stage::protocol::Reason;

use crate::tools::{Pod, Shim};

#[test]
fn without_inotify_it_looks_often() {
    let pod = Pod::new();
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "/bin/sh", "-c"]);
    command.args(["echo 0 >/proc/sys/user/max_inotify_instances; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_stage-shim")]);
    command.args(["--log", "debug", "--stage", "detect", "--root"]).arg(pod.top.path()).args(["--", "true"]);
    let shim = Shim::start(command);
    let adapter = pod.adapter();
    assert_eq!(adapter.run(1).reason, Reason::Completed);
    adapter.done();
    let (status, said) = shim.end();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("no inotify instance"), "{said}");
}
