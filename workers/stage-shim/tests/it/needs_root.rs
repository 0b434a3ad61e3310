//! As another user, as containers mostly are.

use std::os::unix::fs::chown;
use std::process::Command;

use stage::protocol::Reason;

use crate::tools::{Pod, Ringing, Shim, mode};

/// The stage's program as nobody in particular, with umask 077.
fn as_somebody(pod: &Pod, script: &str) -> Shim {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=54321", "--regid=54321", "--clear-groups", "--no-new-privs", "--inh-caps=-all"]);
    command.args(["/bin/sh", "-c", "umask 077; exec \"$@\"", "sh"]);
    // Where the program was built need not be everybody's to enter. Copied by another process: what this one has open for writing
    // another test's child may hold open for a moment, and then it cannot be executed.
    let own = pod.top.path().join("stage-shim");
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_stage-shim")).arg(&own).status().expect("runs");
    assert!(copied.success());
    command.arg(own).args(["--stage", "detect", "--root"]).arg(pod.top.path()).args(["--", "/bin/sh", "-c", script]);
    command.env_clear().env("PATH", "/usr/bin:/bin").current_dir("/");
    Shim::start(command)
}

#[test]
fn another_user_hands_over_what_everybody_can_read() {
    let pod = Pod::new();
    chown(pod.dir.path(), Some(54321), Some(54321)).expect("given");
    let mut rung = Ringing::hang(pod.adapter.path());
    let shim = as_somebody(&pod, "mkdir $OUTPUT_DIR/d; id -u >$OUTPUT_DIR/d/x");
    let adapter = pod.adapter();
    let ended = adapter.run(1);
    assert_eq!(ended.reason, Reason::Completed, "{ended:?}");
    assert_eq!((mode(&pod.dir.out().join("d")) & 0o777, mode(&pod.dir.out().join("d/x"))), (0o755, 0o644));
    rung.until(3, "the bell of another user was rung");
    adapter.done();
    assert_eq!(shim.code(), 0);
}

#[test]
fn a_directory_that_is_anothers_is_named_with_what_to_do() {
    let pod = Pod::new();
    let (status, said) = as_somebody(&pod, "exit 0").end();
    assert_eq!(status.code(), Some(74), "{said}");
    assert!(said.contains("stages/detect") && said.contains("fsGroup"), "{said}");
}

#[test]
fn what_is_anothers_and_nobodys_to_read_is_named() {
    let pod = Pod::new();
    chown(pod.dir.path(), Some(54321), Some(54321)).expect("given");
    let _shim = as_somebody(&pod, "until [ -e $OUTPUT_DIR/secret ]; do sleep 0.01; done");
    let adapter = pod.adapter();
    adapter.go(1);
    adapter.started(1);
    let aside = pod.top.path().join("secret");
    std::fs::write(&aside, "x").expect("written");
    std::fs::set_permissions(&aside, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("set");
    std::fs::rename(aside, pod.dir.partial(1).join("secret")).expect("moved");
    let ended = adapter.result(1);
    assert_eq!(ended.reason, Reason::OutputUnusable, "{ended:?}");
    assert!(ended.message.contains("secret") && ended.message.contains("another user"), "{ended:?}");
}
