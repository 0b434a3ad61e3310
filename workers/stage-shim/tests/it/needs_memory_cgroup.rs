//! A command that the kernel kills for want of memory, in a control group of either version.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use stage::protocol::Reason;

use crate::tools::{Pod, Shim};

/// A control group with little memory, gone with the test.
struct Group(PathBuf);

impl Group {
    fn new(bytes: u64) -> Self {
        let mount = Path::new("/sys/fs/cgroup");
        let (top, limits) = if mount.join("memory").is_dir() {
            (mount.join("memory"), ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"])
        } else {
            (mount.to_owned(), ["memory.max", "memory.swap.max"])
        };
        let group = Self(top.join(format!("longshore-test-{}", std::process::id())));
        fs::create_dir(&group.0).expect("made");
        fs::write(group.0.join(limits[0]), bytes.to_string()).expect("limited");
        // Not every kernel counts swap.
        let _ = fs::write(group.0.join(limits[1]), if top == mount { "0".into() } else { bytes.to_string() });
        group
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let removed = (0..500).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            fs::remove_dir(&self.0).is_ok()
        });
        assert!(removed || std::thread::panicking(), "{} stays behind", self.0.display());
    }
}

#[test]
fn a_command_that_takes_more_memory_than_there_is_is_known_to_have_been_killed_for_it() {
    for (script, signal, code) in [
        ("exec awk 'BEGIN { x = \"x\"; while (1) x = x x }'", Some(9), None),
        // The shell lives on, and says what became of its child.
        ("awk 'BEGIN { x = \"x\"; while (1) x = x x }'; exit $?", None, Some(137)),
    ] {
        let group = Group::new(64 << 20);
        let pod = Pod::new();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo $$ >\"$0/cgroup.procs\" && exec \"$@\""]).arg(&group.0);
        command.arg(env!("CARGO_BIN_EXE_stage-shim")).args(["--stage", "detect", "--root"]).arg(pod.top.path());
        command.args(["--", "/bin/sh", "-c", script]);
        let shim = Shim::start(command);
        let adapter = pod.adapter();
        let ended = adapter.run(1);
        assert_eq!((ended.reason, ended.signal, ended.exit_code), (Reason::OomKilled, signal, code), "{ended:?}");
        assert!(ended.message.contains("resources.limits.memory"), "{ended:?}");
        adapter.done();
        assert_eq!(shim.code(), 0);
    }
}
