//! A control group of either version, whose memory is limited.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

/// Files of a group: its limit, its limit with swap, and the most that it has had.
const V1: [&str; 3] = ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.max_usage_in_bytes"];
const V2: [&str; 3] = ["memory.max", "memory.swap.max", "memory.peak"];

/// A group without children. Removed when dropped, once whoever was in it has ended.
#[derive(Debug)]
pub(crate) struct Group {
    path: PathBuf,
    peak: &'static str,
}

impl Group {
    /// One whose processes may take so many bytes together, the kernel's for them included.
    ///
    /// # Errors
    /// When this user may not make one.
    pub(crate) fn of(bytes: u64) -> Result<Self> {
        let mount = Path::new("/sys/fs/cgroup");
        let first = mount.join("memory");
        let (top, [limit, swap, peak]) = if first.is_dir() { (first, V1) } else { (mount.to_owned(), V2) };
        let path = top.join(format!("longshore-bench-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("make the control group {}", path.display()))?;
        let group = Self { path, peak };
        fs::write(group.path.join(limit), bytes.to_string()).context("limit its memory")?;
        // Not every kernel counts swap.
        let _ = fs::write(group.path.join(swap), if peak == "memory.peak" { "0".into() } else { bytes.to_string() });
        Ok(group)
    }

    /// Has a command that has only a program yet run in here.
    pub(crate) fn hold(&self, command: &mut Command) {
        let program = command.get_program().to_owned();
        *command = Command::new("/bin/sh");
        command.args(["-c", "echo $$ >\"$0/cgroup.procs\" && exec \"$@\""]).arg(&self.path).arg(program);
    }

    /// The most bytes that were in use at once.
    ///
    /// # Errors
    /// Where the kernel does not tell.
    pub(crate) fn peak(&self) -> Result<f64> {
        let text = fs::read_to_string(self.path.join(self.peak)).context("read the group's memory")?;
        text.trim().parse().context("read the group's memory")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Whoever was in it may not be gone yet.
        for _ in 0..500 {
            if fs::remove_dir(&self.path).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}
