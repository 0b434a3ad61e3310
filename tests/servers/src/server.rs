//! What every server is here: a program in a folder, which runs or does not, and what a test has befall it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::kept::{Kept, end_of};

/// Longest that a server may take to be up: seconds on a quiet machine, many on one that compiles beside it.
pub(crate) const READY: Duration = Duration::from_secs(180);

/// Longest that a server may take to stop in an orderly way.
const STOP: Duration = Duration::from_secs(60);

/// A server of one process, which a test may have go and come back.
pub trait Server: Launch {
    /// Stops it as it stands (SIGSTOP): connections stay open and nobody answers.
    ///
    /// # Panics
    /// If it does not run.
    fn pause(&self) {
        self.process().signal(Signal::STOP);
    }

    /// Lets it go on after [`pause`](Self::pause).
    ///
    /// # Panics
    /// If it does not run.
    fn resume(&self) {
        self.process().signal(Signal::CONT);
    }

    /// Kills it with SIGKILL; its data stay. From now on connections are refused.
    fn kill(&mut self) {
        self.before_kill();
        self.process_mut().kill();
    }

    /// Stops it in an orderly way (SIGTERM); its data stay.
    ///
    /// # Panics
    /// If it does not run.
    fn stop(&mut self) {
        self.process().signal(Signal::TERM);
        self.process_mut().wait(STOP);
    }

    /// Starts it again where it was, with the data it had; kills it first if it runs.
    ///
    /// # Panics
    /// If it does not come up.
    fn restart(&mut self) {
        // What took a port in between, if anything did, holds it for no longer than a connection.
        come_up(Self::NAME, || {
            self.kill();
            self.launch()
        });
    }
}

impl<S: Launch> Server for S {}

/// What one kind of server has of its own.
pub trait Launch {
    /// What it is called.
    const NAME: &'static str;

    /// Its process.
    fn process(&self) -> &Process;

    /// Its process, to be started or ended.
    fn process_mut(&mut self) -> &mut Process;

    /// Starts its process, and before it what that needs.
    ///
    /// # Errors
    /// The end of a log, where what it needs does not come up.
    fn begin(&mut self) -> Result<(), String>;

    /// Whether this very server answers, and nobody else on its port.
    fn is_up(&self) -> bool;

    /// Waits for what a kill would take with it and, by the server's own promises, must not.
    fn before_kill(&self) {}

    /// Starts it, and waits until it is up.
    ///
    /// # Errors
    /// The end of its log, if it ended instead or takes too long.
    fn launch(&mut self) -> Result<(), String> {
        self.begin()?;
        let begun = Instant::now();
        while !self.is_up() {
            if self.process().is_over() || begun.elapsed() > READY {
                self.process_mut().kill();
                return Err(self.process().end_of_log());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

/// Has a server come up, however often somebody else takes a port just before it does.
///
/// # Panics
/// If it does not, with the end of its log.
pub(crate) fn come_up<T>(name: &str, mut launch: impl FnMut() -> Result<T, String>) -> T {
    let begun = Instant::now();
    loop {
        match launch() {
            Ok(up) => return up,
            Err(log) if a_port_is_taken(&log) && begun.elapsed() < READY => {}
            Err(log) => panic!("{name} does not come up; its log ends:\n{log}"),
        }
    }
}

/// As each of them says it: Java and Go, MinIO, Erlang.
fn a_port_is_taken(log: &str) -> bool {
    let log = log.to_lowercase();
    ["address already in use", "port is already in use", "eaddrinuse", "address in use"]
        .iter()
        .any(|is| log.contains(is))
}

/// A program that runs in a folder, or does not; killed when dropped.
#[derive(Debug)]
pub struct Process {
    folder: PathBuf,
    log: PathBuf,
    running: Option<Kept>,
}

impl Process {
    /// One whose log is that, in a folder which is removed with this process at the latest.
    pub(crate) fn new(folder: &Path, log: PathBuf) -> Self {
        Self { folder: folder.to_owned(), log, running: None }
    }

    /// Starts it. What an earlier run has said is no news of this one.
    pub(crate) fn start(&mut self, program: &Command) {
        let _ = std::fs::rename(&self.log, self.log.with_added_extension("before"));
        self.running = Some(Kept::start(program, &self.folder, &self.log));
    }

    /// Whether it does not run, or has ended by itself.
    pub(crate) fn is_over(&self) -> bool {
        self.running.as_ref().is_none_or(Kept::over)
    }

    /// Whether it runs, and is not stopped as it stands.
    pub(crate) fn runs(&self) -> bool {
        self.running.as_ref().is_some_and(Kept::runs)
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// If it does not run.
    pub(crate) fn signal(&self, signal: Signal) {
        self.running.as_ref().expect("the server runs").signal(signal);
    }

    /// Kills it; the folder stays.
    pub(crate) fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            running.kill();
        }
    }

    /// Waits until it has ended, as it was told to with [`Signal::TERM`], and kills it where it does not; the folder stays.
    pub(crate) fn wait(&mut self, patience: Duration) {
        if let Some(running) = self.running.take() {
            running.wait(patience);
        }
    }

    /// What it has said since it was started.
    pub(crate) fn log(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The end of that, for who is to know why it did not come up.
    pub(crate) fn end_of_log(&self) -> String {
        end_of(&self.log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
