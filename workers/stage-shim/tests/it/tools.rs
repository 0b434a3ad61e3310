//! A pod without containers: a tree of directories, a stage's program, and an adapter that is the test.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{Read, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags, mkfifoat, openat};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use stage::protocol::{Cancel, Done, Ended, Go, Hello, Result as Told, Started};
use stage::{AdapterDir, Boot, Life, Root, StageDir, StageName, files};
use tempfile::TempDir;

/// Longer than anything here takes, on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// Waits until `holds` gives something.
pub(crate) fn until<T>(what: &str, mut holds: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(seen) = holds() {
            return seen;
        }
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Runs `wait` to its end.
pub(crate) fn blocking<T>(wait: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(PATIENCE, wait).await.expect("in time") })
}

/// The tree of one pod, of one stage.
pub(crate) struct Pod {
    pub(crate) top: TempDir,
    pub(crate) stage: StageName,
    pub(crate) dir: StageDir,
    pub(crate) adapter: AdapterDir,
}

impl Pod {
    pub(crate) fn new() -> Self {
        let top = tempfile::tempdir().expect("a directory");
        fs::set_permissions(top.path(), Permissions::from_mode(0o755)).expect("set");
        let root = Root::new(top.path());
        let stage: StageName = "detect".parse().expect("a name");
        let pod = Self { dir: root.stage(&stage), adapter: root.adapter(), stage, top };
        for dir in [pod.dir.path(), &pod.adapter.orders(&pod.stage)] {
            fs::create_dir_all(dir).expect("made");
        }
        pod
    }

    /// The stage's program, to be started with further settings.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stage-shim"));
        command.args(["--stage", self.stage.as_str(), "--root"]).arg(self.top.path());
        command.arg("--").args(words);
        command
    }

    pub(crate) fn shim(&self, words: &[&str]) -> Shim {
        Shim::start(self.command(words))
    }

    /// With a shell's script for a command.
    pub(crate) fn script(&self, script: &str) -> Shim {
        self.shim(&["/bin/sh", "-c", script])
    }

    /// Who has said that it lives here, once it is not `before`.
    pub(crate) fn hello(&self, before: Option<&Boot>) -> Hello {
        until("the shim lives", || stage::hello(self.dir.path()).ok()?.filter(|hello| Some(&hello.boot) != before))
    }

    pub(crate) fn adapter(&self) -> Adapter<'_> {
        Adapter { pod: self, life: Life::begin(self.adapter.path(), "a test", true).expect("begins") }
    }
}

/// The test's life as an adapter.
pub(crate) struct Adapter<'a> {
    pod: &'a Pod,
    life: Life,
}

impl Adapter<'_> {
    pub(crate) fn boot(&self) -> &Boot {
        self.life.boot()
    }

    /// What would be asked of `boot` with nothing special.
    pub(crate) fn order(&self, boot: &Boot, attempt: u32) -> Go {
        Go {
            stage: self.pod.stage.clone(),
            boot: boot.clone(),
            adapter: self.boot().clone(),
            attempt,
            environment: BTreeMap::from([("INPUT_FILE".to_owned(), "/in/a.mp4".to_owned())]),
            timeout_ms: None,
            grace_ms: 10_000,
            tail_bytes: 64 << 10,
        }
    }

    pub(crate) fn send(&self, go: &Go) {
        files::write(&self.pod.adapter.go(&self.pod.stage, go.attempt), go).expect("written");
        stage::ring(self.pod.dir.path());
    }

    /// Asks for an attempt, and gives to whom.
    pub(crate) fn go(&self, attempt: u32) -> Boot {
        let boot = self.pod.hello(None).boot;
        self.send(&self.order(&boot, attempt));
        boot
    }

    pub(crate) fn cancel(&self, attempt: u32, grace: Duration) {
        let cancel =
            Cancel { adapter: self.boot().clone(), attempt, grace_ms: u64::try_from(grace.as_millis()).expect("fits") };
        files::write(&self.pod.adapter.cancel(&self.pod.stage, attempt), &cancel).expect("written");
        stage::ring(self.pod.dir.path());
    }

    pub(crate) fn done(&self) {
        files::write(&self.pod.adapter.done(), &Done { adapter: self.boot().clone() }).expect("written");
        stage::ring(self.pod.dir.path());
    }

    pub(crate) fn started(&self, attempt: u32) -> Started {
        until("it has started", || {
            let started: Started = files::read(&self.pod.dir.started(attempt)).expect("reads")?;
            (started.adapter == *self.boot()).then_some(started)
        })
    }

    pub(crate) fn result(&self, attempt: u32) -> Ended {
        until("it has ended", || self.result_now(attempt))
    }

    pub(crate) fn result_now(&self, attempt: u32) -> Option<Ended> {
        let told: Told = files::read(&self.pod.dir.result(attempt)).expect("reads")?;
        (told.adapter == *self.boot() && told.attempt == attempt).then_some(told.ended)
    }

    /// One attempt, from the go to the result.
    pub(crate) fn run(&self, attempt: u32) -> Ended {
        self.go(attempt);
        self.result(attempt)
    }
}

/// A bell that counts.
pub(crate) struct Ringing {
    pipe: OwnedFd,
    times: usize,
}

impl Ringing {
    /// In the directory of a side that this test is.
    pub(crate) fn hang(side: &Path) -> Self {
        let bell = stage::root::bell(side);
        mkfifoat(CWD, &bell, Mode::RUSR | Mode::WUSR).expect("made");
        let pipe = openat(CWD, &bell, OFlags::RDWR | OFlags::NONBLOCK, Mode::empty()).expect("opens");
        rustix::fs::fchmod(&pipe, Mode::from_raw_mode(0o622)).expect("set");
        Self { pipe, times: 0 }
    }

    /// How often it was rung.
    pub(crate) fn times(&mut self) -> usize {
        while let Ok(read) = rustix::io::read(&self.pipe, &mut [0; 64]) {
            self.times += read;
        }
        self.times
    }

    /// Waits until it was rung so often.
    pub(crate) fn until(&mut self, times: usize, what: &str) {
        until(what, || (self.times() >= times).then_some(()));
        assert_eq!(self.times, times, "{what}");
    }
}

/// A running stage-shim; a test that fails leaves none behind.
pub(crate) struct Shim {
    child: std::process::Child,
    /// Where all goes that it says: a pipe would have to be read meanwhile.
    said: File,
}

impl Shim {
    pub(crate) fn start(mut command: Command) -> Self {
        let said = tempfile::tempfile().expect("a file");
        let another = || said.try_clone().expect("another descriptor");
        command.stdin(Stdio::null()).stdout(another()).stderr(another());
        Self { child: command.spawn().expect("starts"), said }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("it is there");
    }

    /// Waits until it has stopped itself at a fault point.
    pub(crate) fn stopped(&self) {
        let stat = format!("/proc/{}/stat", self.child.id());
        until("it has stopped itself", || fs::read_to_string(&stat).ok()?.contains(") T ").then_some(()));
    }

    /// Waits until it has said something.
    pub(crate) fn says(&self, text: &str) {
        until(text, || {
            let mut said = vec![0; 64 << 10];
            // Its own place in the file is where it writes.
            let read = self.said.read_at(&mut said, 0).expect("reads");
            said.truncate(read);
            String::from_utf8_lossy(&said).contains(text).then_some(())
        });
    }

    /// Whether it has ended.
    pub(crate) fn is_over(&mut self) -> bool {
        self.child.try_wait().expect("waits").is_some()
    }

    /// Its end, and all that it said.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let status = until("the shim ends", || self.child.try_wait().expect("waits"));
        let mut said = Vec::new();
        self.said.rewind().expect("is a file");
        self.said.read_to_end(&mut said).expect("reads");
        (status, String::from_utf8_lossy(&said).into_owned())
    }

    /// Its exit code.
    pub(crate) fn code(self) -> i32 {
        let (status, said) = self.end();
        status.code().unwrap_or_else(|| panic!("signal {:?}: {said}", status.signal()))
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn mode(path: &Path) -> u32 {
    path.symlink_metadata().expect("is there").permissions().mode() & 0o7777
}

pub(crate) fn read(path: PathBuf) -> String {
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Whether a process of this pid runs; a zombie does not.
pub(crate) fn runs(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// A JSON file, whatever it says.
pub(crate) fn put(path: &Path, value: &Value) {
    files::write(path, value).expect("written");
}
