//! A process that has servers, and is killed.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a victim says when all its servers are up.
const UP: &str = "servers: up";

/// Runs an ignored test of this very program, kills it when it has called [`wait_for_death`], and waits until nothing is left of its
/// servers: no folder, and no process that names it.
pub(crate) fn leaves_nothing(test: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut victim = Command::new(std::env::current_exe().expect("this test has a path"))
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env("TMPDIR", folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this very program runs");
    let mut said = BufReader::new(victim.stdout.take().expect("piped")).lines();
    assert!(said.any(|line| line.expect("a line").ends_with(UP)), "{test} has no servers");
    assert!(of(folder.path()) > 0, "{test} has no process that names its folder");
    victim.kill().expect("it can be killed");
    victim.wait().expect("it was a child");
    let begun = Instant::now();
    while of(folder.path()) > 0 || fs::read_dir(folder.path()).expect("the folder").next().is_some() {
        assert!(begun.elapsed() < Duration::from_secs(240), "something of {test} outlived it");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// For the test that is killed.
pub(crate) fn wait_for_death() {
    writeln!(std::io::stdout(), "\n{UP}").expect("somebody reads");
    std::thread::sleep(Duration::from_secs(600));
}

/// How many processes name the folder in what they were started with.
fn of(folder: &Path) -> usize {
    let names = |file: &Path| {
        let text = fs::read(file).unwrap_or_default();
        text.windows(folder.as_os_str().len()).any(|part| OsStr::from_bytes(part) == folder.as_os_str())
    };
    let own = std::process::id().to_string();
    let processes = fs::read_dir("/proc").expect("/proc").flatten().filter(|entry| *entry.file_name() != *own);
    processes.filter(|entry| names(&entry.path().join("cmdline")) || names(&entry.path().join("environ"))).count()
}
