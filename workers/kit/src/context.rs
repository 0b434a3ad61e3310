//! What a job gets to work with.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use contract::exit;
use contract::wire::Item;
use process::{Ended, Output, SpawnError, Spec};
use sidecar::{Shutdown, chain, fault};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info};

use crate::command::{Stdout, StopWhen};
use crate::environment::Environment;
use crate::scratch::RUN_VARIABLE;
use crate::{Command, Exit, JobError, Progress};

/// Longest line that goes to [`Command::stdout_lines`].
const LONGEST_LINE: usize = 64 * 1024;

/// One item, made ready: where its inputs lie, where its output goes, and the way to run commands.
#[derive(Debug)]
pub struct Context {
    pub(crate) item: Item,
    pub(crate) inputs: Vec<PathBuf>,
    pub(crate) output_dir: PathBuf,
    pub(crate) scratch_dir: PathBuf,
    pub(crate) result_file: PathBuf,
    pub(crate) progress: Progress,
    pub(crate) runner: Runner,
}

/// How commands of one item are run, and what became of the last one.
#[derive(Debug)]
pub(crate) struct Runner {
    pub(crate) environment: Environment,
    /// Unique to this run of the worker.
    pub(crate) nonce: String,
    pub(crate) shutdown: Shutdown,
    pub(crate) timeout: Option<Duration>,
    /// When the timeout is over; set by the first command.
    pub(crate) deadline: Option<Instant>,
    pub(crate) tail: usize,
    pub(crate) last: LastCommand,
}

/// What the report says about commands.
#[derive(Clone, Debug, Default)]
pub(crate) struct LastCommand {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) stdout_tail: String,
    pub(crate) stderr_tail: String,
}

impl Context {
    /// The item, with the name it goes by here.
    pub fn item(&self) -> &Item {
        &self.item
    }

    /// The first (mostly the only) input, whole and of the item's version. Read-only.
    pub fn input(&self) -> Option<&Path> {
        self.inputs.first().map(PathBuf::as_path)
    }

    /// All inputs, in the item's order; none for a message, which is all in the item.
    pub fn inputs(&self) -> &[PathBuf] {
        &self.inputs
    }

    /// What lies here when the job succeeds is the item's output: regular files, in directories.
    pub fn output_dir(&self) -> &Path {
        &self.output_dir
    }

    /// Room for intermediate files, gone when the worker ends.
    pub fn scratch_dir(&self) -> &Path {
        &self.scratch_dir
    }

    /// JSON written here goes into the marker and the report, at most [`RESULT_MAX`](crate::RESULT_MAX) bytes.
    pub fn result_file(&self) -> &Path {
        &self.result_file
    }

    /// A handle that tells how far the job is.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Runs a command to its end, in a process group of its own, with standard input from /dev/null and the environment
    /// every command of a worker gets; every descendant is gone when this returns.
    ///
    /// # Errors
    /// 127 or 126 when it cannot be started, 124 after `--timeout` (which counts from the first command's start), 143 when
    /// the worker was told to stop.
    pub async fn run(&mut self, command: Command) -> Result<Exit, JobError> {
        self.runner.run(command).await
    }

    /// What every command of this worker gets, for a job that has its commands run by others: `INPUT_FILE`, `INPUT_DIR`,
    /// `OUTPUT_DIR` and so on, and what was inherited.
    pub fn environment(&self) -> impl Iterator<Item = (&OsString, &OsString)> {
        self.runner.environment.iter()
    }

    /// Unique to this run of the worker; what carries it in [`RUN_VARIABLE`] is ended by a later run, if this one is killed.
    pub fn nonce(&self) -> &str {
        &self.runner.nonce
    }

    /// When to stop, for a job that has its commands run by others.
    pub fn shutdown(&self) -> Shutdown {
        self.runner.shutdown.clone()
    }

    /// `--timeout`: how long the commands may take in all.
    pub fn timeout(&self) -> Option<Duration> {
        self.runner.timeout
    }

    /// How much of the end of each stream is kept, in bytes.
    pub fn tail_bytes(&self) -> usize {
        self.runner.tail
    }

    /// Says how a command ended that others have run, so that the report tells of it as of one of ours.
    pub fn note(&mut self, code: Option<u8>, signal: Option<i32>, stdout_tail: String, stderr_tail: String) {
        let environment = &self.runner.environment;
        let (stdout_tail, stderr_tail) = (environment.masked(stdout_tail), environment.masked(stderr_tail));
        self.runner.last = LastCommand { code: code.map(i32::from), signal, stdout_tail, stderr_tail };
    }

    /// Lets every user read the inputs and [`Self::scratch_dir`]'s parent, for commands that run as somebody else in another
    /// container. Inputs that lie where they are used are left as they are.
    ///
    /// # Errors
    /// When a mode cannot be changed.
    pub fn share_inputs(&self) -> std::io::Result<()> {
        crate::scratch::share(&self.scratch_dir)
    }
}

/// Why a command was asked to end.
#[derive(Debug)]
enum Stop {
    Timeout,
    Shutdown,
    /// The job's own condition.
    Condition(JobError),
}

impl Runner {
    async fn run(&mut self, command: Command) -> Result<Exit, JobError> {
        let Command { program, args, envs, unset, stdout, keep_stderr, cwd, limits, stop_when } = command;
        if self.shutdown.is_draining() {
            return Err(self.stopped(Stop::Shutdown));
        }
        let shown = Path::new(&program).display().to_string();
        let (stdout, lines) = self.stdout(stdout);
        let captures = matches!(stdout, Output::Head { .. });
        let stderr = match keep_stderr {
            Some(max) => Output::Tail { keep: max.max(self.tail) },
            None => Output::Tee { keep: self.tail },
        };
        let mut spec = Spec::new(program)
            .args(args)
            .envs(self.environment.iter().filter(|(name, _)| !unset.contains(name)))
            .envs(envs)
            .mark(RUN_VARIABLE, &self.nonce)
            .stdout(stdout)
            .stderr(stderr)
            .limits(limits);
        if let Some(directory) = cwd {
            spec = spec.cwd(directory);
        }
        fault::point("worker.spawn.before").map_err(passing)?;
        let child = spec.spawn().map_err(|error| unspawned(&error))?;
        if let Err(error) = fault::point("worker.spawn.after") {
            let _ = child.stop(Duration::ZERO).await;
            return Err(passing(error));
        }
        info!(command = shown, pid = child.id(), "command started");
        let started = Instant::now();
        if self.deadline.is_none() {
            self.deadline = self.timeout.map(|timeout| started + timeout);
        }
        let (waited, ()) = tokio::join!(self.wait(&child, stop_when), lines);
        let (ended, stop) =
            waited.map_err(|e| JobError::new(exit::BUG, "Bug", format!("cannot wait for the command: {e}")))?;
        fault::point("worker.exit.after").map_err(passing)?;
        debug!(exit = ?ended.exit, leftovers = ended.leftovers, elapsed = ?started.elapsed(), "command ended");
        if !ended.survivors.is_empty() {
            tracing::warn!(pids = ?ended.survivors, "processes the command left behind hang in the kernel");
        }
        let exit = self.note(ended, captures);
        if keep_stderr.is_some() {
            show(&self.last.stderr_tail);
        }
        match stop {
            None => Ok(exit),
            Some(stop) => Err(self.stopped(stop)),
        }
    }

    /// Waits until the command is over, and sees to it that it will be: TERM, the grace period, KILL.
    async fn wait(
        &self,
        child: &process::Child,
        condition: Option<StopWhen>,
    ) -> std::io::Result<(Ended, Option<Stop>)> {
        let timeout = async {
            match self.deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        let condition = async {
            match condition {
                Some(condition) => condition.await,
                None => std::future::pending().await,
            }
        };
        let stop = tokio::select! {
            ended = child.wait() => return Ok((ended?, None)),
            () = timeout => Stop::Timeout,
            error = condition => Stop::Condition(error),
            () = self.shutdown.draining() => Stop::Shutdown,
        };
        child.ask_to_stop(self.shutdown.grace());
        let ended = tokio::select! {
            ended = child.wait() => ended?,
            () = self.shutdown.aborting() => child.stop(Duration::ZERO).await?,
        };
        Ok((ended, Some(stop)))
    }

    fn stdout(&self, stdout: Stdout) -> (Output, impl Future<Output = ()> + Send + use<>) {
        let (to, mut from) = mpsc::channel::<Vec<u8>>(64);
        let (output, each) = match stdout {
            Stdout::Pass => (Output::Tee { keep: self.tail }, None),
            Stdout::Capture { max } => (Output::Head { keep: max }, None),
            Stdout::Lines(each) => (Output::Lines { to, longest: LONGEST_LINE }, Some(each)),
        };
        let follow = async move {
            let Some(mut each) = each else { return };
            while let Some(line) = from.recv().await {
                each(&line);
            }
        };
        (output, follow)
    }

    fn note(&mut self, ended: Ended, captures: bool) -> Exit {
        let (code, signal) = match ended.exit {
            process::Exit::Code(code) => (Some(i32::from(code)), None),
            process::Exit::Signal(signal) => (None, Some(signal)),
        };
        let stderr_whole = ended.stderr.is_whole();
        let all = self.environment.masked(tail(&ended.stderr));
        let stderr_tail = last_lines(&all, self.tail).to_owned();
        let (stdout, stdout_tail) = if captures {
            (ended.stdout.bytes, String::new())
        } else {
            (Vec::new(), self.environment.masked(tail(&ended.stdout)))
        };
        self.last = LastCommand { code, signal, stdout_tail, stderr_tail };
        Exit { code, signal, stdout, stderr_tail: all, stderr_whole }
    }

    fn stopped(&self, stop: Stop) -> JobError {
        match stop {
            Stop::Timeout => {
                let timeout = humantime::format_duration(self.timeout.unwrap_or_default());
                JobError::new(
                    exit::TIMEOUT,
                    "Timeout",
                    format!("the command ran longer than --timeout {timeout} and was stopped"),
                )
            }
            Stop::Shutdown => cancelled(),
            Stop::Condition(error) => error,
        }
    }
}

/// The worker was told to stop before the item was done.
pub(crate) fn cancelled() -> JobError {
    const SIGTERM: u8 = 15;
    JobError::new(exit::SIGNAL_BASE + SIGTERM, "Cancelled", "the worker was told to stop before the item was done")
}

/// What a fault point told to fail is to a worker.
pub(crate) fn passing(error: std::io::Error) -> JobError {
    JobError::new(exit::IO, "IoError", error.to_string())
}

fn unspawned(error: &SpawnError) -> JobError {
    let (code, reason) = match error {
        SpawnError::NotFound { .. } => (exit::NOT_FOUND, "CommandNotFound"),
        SpawnError::NotExecutable { .. } => (exit::NOT_EXECUTABLE, "CommandNotExecutable"),
        SpawnError::Directory { .. } | SpawnError::Arguments { .. } => (exit::CONFIG, "CommandUnusable"),
        SpawnError::Exhausted { .. } => (exit::TEMPORARY, "Exhausted"),
        SpawnError::Other { .. } => (exit::IO, "SpawnFailed"),
    };
    JobError::new(code, reason, chain(error))
}

/// The end of an output as text, from the beginning of a line where it was cut.
fn tail(kept: &process::Kept) -> String {
    let text = String::from_utf8_lossy(&kept.bytes);
    match text.split_once('\n') {
        Some((_, whole)) if !kept.is_whole() => whole.to_owned(),
        _ => text.into_owned(),
    }
}

/// At most the last `max` bytes of a text, from the beginning of a line where it is cut.
fn last_lines(text: &str, max: usize) -> &str {
    let cut = text.len().saturating_sub(max);
    if cut == 0 {
        return text;
    }
    // What is cut off ends with the newline that the rest must follow.
    let newline = text.as_bytes().iter().skip(cut - 1).position(|byte| *byte == b'\n');
    newline.and_then(|at| text.get(cut + at..)).unwrap_or_default()
}

/// What a command said that was not passed through as it came. Nobody reading it is no concern of the item's.
fn show(text: &str) {
    use std::io::Write;
    let _ = std::io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests;
