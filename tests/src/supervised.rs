//! A process that a test started, with its log, which never outlives the test.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Longest that anything here is waited for.
pub const DEADLINE: Duration = Duration::from_secs(240);

/// Waits until `condition` gives something.
///
/// # Panics
/// After [`DEADLINE`], naming what was waited for.
pub fn wait_until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(begun.elapsed() < DEADLINE, "waited {DEADLINE:?} for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits, in a runtime, until `sees` gives something.
///
/// # Panics
/// After [`DEADLINE`], naming what was waited for.
pub async fn until<T>(what: &str, mut sees: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(seen) = sees().await {
            return seen;
        }
        assert!(begun.elapsed() < DEADLINE, "not seen in {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself.
    Code(i32),
    /// By a signal.
    Signal(i32),
}

impl From<ExitStatus> for Ended {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, signal) => Self::Signal(signal.unwrap_or_default()),
        }
    }
}

/// A process with its standard error in a file; killed when dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts `command`, its standard error appended to `log`.
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log).expect("a log file");
        let child = command.stdin(Stdio::null()).stderr(file).spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        Self { child, log: log.to_owned() }
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Everything it has logged, and every earlier process with the same log.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).expect("the log can be read")).into_owned()
    }

    /// Sends a signal; one that has ended is left alone.
    pub fn signal(&self, signal: Signal) {
        // A child that was not waited for keeps its pid, so no other process can be hit.
        let _ = kill_process(self.pid(), signal);
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<Ended> {
        self.child.try_wait().expect("it is our child").map(Ended::from)
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// After [`DEADLINE`], with the end of its log.
    pub fn wait(&mut self) -> Ended {
        let begun = Instant::now();
        loop {
            if let Some(ended) = self.ended() {
                return ended;
            }
            if begun.elapsed() > DEADLINE {
                let log = self.log();
                let tail: Vec<&str> = log.lines().rev().take(30).collect();
                panic!("still running after {DEADLINE:?}; its log ends (last line first):\n{}", tail.join("\n"));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Asks it to end, and waits.
    pub fn terminate(&mut self) -> Ended {
        self.signal(Signal::TERM);
        self.wait()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
