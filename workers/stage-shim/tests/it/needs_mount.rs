//! Volumes that are full, and that may not be written to.

use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use stage::protocol::Reason;

use crate::tools::{Pod, Ringing, Shim, until};

/// The stage's program in mount and pid namespaces of its own, after `prepare` has mounted what it likes.
fn within(pod: &Pod, prepare: &str, script: &str) -> Shim {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command.args(["/bin/sh", "-c", &format!("{prepare}; exec \"$@\""), "sh", env!("CARGO_BIN_EXE_stage-shim")]);
    command.args(["--stage", "detect", "--root"]).arg(pod.top.path()).args(["--", "/bin/sh", "-c", script]);
    Shim::start(command)
}

/// A small volume at the stage's directory, which this test sees too.
struct Volume<'a>(&'a Path);

impl<'a> Volume<'a> {
    fn mount(at: &'a Path, options: &str) -> Self {
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", options, "none"]).arg(at).status().expect("runs");
        assert!(status.success());
        Self(at)
    }
}

impl Drop for Volume<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn a_full_volume_keeps_no_result_from_being_told() {
    let pod = Pod::new();
    let _volume = Volume::mount(pod.dir.path(), "size=2m,mode=777");
    let _shim = pod.script("echo filling; cat /dev/zero >$OUTPUT_DIR/x 2>/dev/null; cat /dev/zero >$TMPDIR/x; exit 74");
    let adapter = pod.adapter();
    let ended = adapter.run(1);
    assert_eq!((ended.reason, ended.exit_code), (Reason::Error, Some(74)), "{ended:?}");
    assert!(ended.stderr_tail.contains("No space left"), "{ended:?}");
    // And what it left is out of the way of the next attempt.
    assert_eq!(adapter.run(2).reason, Reason::Error);
}

#[test]
fn who_fills_it_at_once_is_said_to_have_run() {
    let pod = Pod::new();
    let _volume = Volume::mount(pod.dir.path(), "size=2m,mode=777");
    let full = pod.top.path().join("full");
    let script = format!("cat /dev/zero >$OUTPUT_DIR/x; touch {}; exit 3", full.display());
    let mut command = pod.command(&["/bin/sh", "-c", &script]);
    command.env("LONGSHORE_FAULT", "stage.spawn.after=stop");
    let shim = Shim::start(command);
    let adapter = pod.adapter();
    adapter.go(1);
    until("the volume is full", || full.exists().then_some(()));
    shim.stopped();
    shim.signal(Signal::CONT);
    let ended = adapter.result(1);
    assert_eq!((ended.reason, ended.exit_code), (Reason::Error, Some(3)), "{ended:?}");
    adapter.started(1);
}

#[test]
fn also_where_the_room_for_the_result_is_taken_it_is_told_in_the_end() {
    let pod = Pod::new();
    let _volume = Volume::mount(pod.dir.path(), "size=2m,mode=777");
    let _shim =
        pod.script("echo said; cd $TMPDIR/..; rm .1.result.json.tmp; cat /dev/zero >ballast 2>/dev/null; exit 3");
    let ended = pod.adapter().run(1);
    assert_eq!((ended.reason, ended.exit_code), (Reason::Error, Some(3)), "{ended:?}");
}

#[test]
fn a_volume_that_is_full_of_what_is_not_ours_ends_the_shim_with_a_word() {
    let pod = Pod::new();
    let _volume = Volume::mount(pod.dir.path(), "size=256k,mode=777");
    std::fs::write(pod.dir.path().join("ballast"), vec![0; 300 << 10]).expect_err("is full");
    let (status, said) = pod.script("exit 0").end();
    assert_eq!(status.code(), Some(74), "{said}");
    assert!(said.contains("stages/detect") && said.contains("full"), "{said}");
}

#[test]
fn a_volume_mounted_read_only_is_named() {
    let pod = Pod::new();
    let dir = pod.dir.path().display();
    let (status, said) = within(&pod, &format!("mount -t tmpfs -o ro none {dir}"), "exit 0").end();
    assert_eq!(status.code(), Some(74), "{said}");
    assert!(said.contains("stages/detect") && said.contains("readOnly"), "{said}");
}

#[test]
fn a_program_on_a_noexec_volume_is_told_where_it_lies() {
    let pod = Pod::new();
    let bin = pod.top.path().join("bin");
    std::fs::create_dir(&bin).expect("made");
    let _volume = Volume::mount(&bin, "size=1m,noexec");
    std::fs::copy("/bin/true", bin.join("tool")).expect("copied");
    let _shim = pod.shim(&[bin.join("tool").to_str().expect("is text")]);
    let ended = pod.adapter().run(1);
    assert_eq!(ended.reason, Reason::CommandNotExecutable, "{ended:?}");
    assert!(ended.message.contains("noexec"), "{ended:?}");
    // And it says so when it is put there itself.
    let large = pod.top.path().join("large");
    std::fs::create_dir(&large).expect("made");
    let _volume = Volume::mount(&large, "noexec");
    let output = Command::new(env!("CARGO_BIN_EXE_stage-shim")).arg("install").arg(&large).output().expect("runs");
    assert_eq!(output.status.code(), Some(126), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("noexec"), "{output:?}");
}

#[test]
fn as_the_first_process_of_a_container_it_ends_whoever_is_left() {
    let pod = Pod::new();
    let script =
        "setsid env -i sleep 1000 >/dev/null 2>&1 </dev/null & sleep 0.05; ls -d /proc/[0-9]* >$OUTPUT_DIR/before";
    let shim = within(&pod, "true", script);
    let adapter = pod.adapter();
    let ended = adapter.run(1);
    assert_eq!(ended.reason, Reason::Completed, "{ended:?}");
    adapter.done();
    assert_eq!(shim.code(), 0);
}

#[test]
fn a_bell_rings_through_a_read_only_mount() {
    let pod = Pod::new();
    let mut rung = Ringing::hang(pod.adapter.path());
    let dir = pod.adapter.path().display();
    let shim = within(&pod, &format!("mount --bind {dir} {dir}; mount -o remount,bind,ro {dir}"), "exit 0");
    let adapter = pod.adapter();
    assert_eq!(adapter.run(1).reason, Reason::Completed);
    rung.until(3, "it has said hello, started and ended");
    adapter.done();
    assert_eq!(shim.code(), 0);
}

#[test]
fn as_the_first_process_of_a_container_it_reaps_orphans_also_before_anybody_asks_it_for_anything() {
    let pod = Pod::new();
    let _shim = within(&pod, "true", "exit 0");
    pod.hello(None);
    let own = |pid: &u32| {
        let cmdline = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let top = pod.top.path().as_os_str().as_encoded_bytes();
        let program = env!("CARGO_BIN_EXE_stage-shim").as_bytes();
        cmdline.starts_with(program) && cmdline.split(|byte| *byte == 0).any(|word| word == top)
    };
    let shim = until("the shim runs", || pids().find(own));
    // As `kubectl exec` does, whose command leaves something behind.
    let leave = "setsid sh -c 'until [ -e \"$0\" ]; do sleep 0.01; done' \"$0\" >/dev/null 2>&1 </dev/null &";
    let end = pod.top.path().join("end");
    let mut enter = Command::new("nsenter");
    enter.args(["--target", &shim.to_string(), "--pid", "setsid", "--wait", "sh", "-c", leave]).arg(&end);
    assert!(enter.status().expect("runs").success());
    let orphan = until("it has adopted somebody", || pids().find(|pid| parent(*pid) == Some(shim)));
    std::fs::write(&end, "").expect("written");
    until("nothing is left of it", || parent(orphan).is_none().then_some(()));
}

fn pids() -> impl Iterator<Item = u32> {
    let all = std::fs::read_dir("/proc").expect("lists").flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Of a process that is alive, or a zombie.
fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}
