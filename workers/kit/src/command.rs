//! A command as a job wants it run, and how it ended.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;

use process::Limits;

use crate::JobError;

/// A command to run in the worker's stated environment, started by [`Context::run`](crate::Context::run).
pub struct Command {
    pub(crate) program: OsString,
    pub(crate) args: Vec<OsString>,
    pub(crate) envs: Vec<(OsString, OsString)>,
    pub(crate) unset: Vec<OsString>,
    pub(crate) stdout: Stdout,
    /// `None`: passed through.
    pub(crate) keep_stderr: Option<usize>,
    pub(crate) cwd: Option<PathBuf>,
    pub(crate) limits: Limits,
    pub(crate) stop_when: Option<StopWhen>,
}

/// Is ready when a command must end, with the reason.
pub(crate) type StopWhen = Pin<Box<dyn Future<Output = JobError> + Send>>;

/// Takes one line of standard output, without its newline.
pub(crate) type OnLine = Box<dyn FnMut(&[u8]) + Send>;

pub(crate) enum Stdout {
    Pass,
    Capture { max: usize },
    Lines(OnLine),
}

impl Command {
    /// `program` is looked up in `PATH` when it has no slash.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            envs: Vec::new(),
            unset: Vec::new(),
            stdout: Stdout::Pass,
            keep_stderr: None,
            cwd: None,
            limits: Limits::default(),
            stop_when: None,
        }
    }

    /// One argument more.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Several arguments more.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// One variable more than (or instead of) what every command of a worker gets.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.envs.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// A variable that it does not get, although other commands of the worker do.
    #[must_use]
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.unset.push(name.as_ref().to_owned());
        self
    }

    /// Standard output is not passed through: its first `max` bytes are kept for [`Exit::stdout`], the rest is read and
    /// dropped.
    #[must_use]
    pub fn capture_stdout(mut self, max: usize) -> Self {
        self.stdout = Stdout::Capture { max };
        self
    }

    /// Standard output is not passed through: each line, without its newline and cut at 64 KiB, goes to `each` as it
    /// comes. `each` must be quick, since the command waits for it.
    #[must_use]
    pub fn stdout_lines(mut self, each: impl FnMut(&[u8]) + Send + 'static) -> Self {
        self.stdout = Stdout::Lines(Box::new(each));
        self
    }

    /// Standard error is not passed through: its last `max` bytes (`--tail-bytes`, where that is more) are kept for
    /// [`Exit::stderr_tail`], and at the end `--tail-bytes` of it are shown. So what a command says can be judged whatever the
    /// settings, and cannot flood the log.
    #[must_use]
    pub fn capture_stderr(mut self, max: usize) -> Self {
        self.keep_stderr = Some(max);
        self
    }

    /// The directory it runs in; the worker's own without it.
    #[must_use]
    pub fn cwd(mut self, directory: impl Into<PathBuf>) -> Self {
        self.cwd = Some(directory.into());
        self
    }

    /// What it may use at the most.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// It is asked to end, as on the timeout, once `condition` is ready; what that gives is the error of
    /// [`Context::run`](crate::Context::run) then.
    #[must_use]
    pub fn stop_when(mut self, condition: impl Future<Output = JobError> + Send + 'static) -> Self {
        self.stop_when = Some(Box::pin(condition));
        self
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command").field("program", &self.program).field("args", &self.args).finish_non_exhaustive()
    }
}

/// How a command ended by itself. One that could not be started, ran into the timeout or was cancelled with the worker is
/// a [`JobError`] instead.
#[derive(Clone, Debug)]
pub struct Exit {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// What [`Command::capture_stdout`] asked for.
    pub stdout: Vec<u8>,
    /// The last lines of standard error.
    pub stderr_tail: String,
    /// Whether that is all it said.
    pub stderr_whole: bool,
}

impl Exit {
    /// Whether it ended with 0.
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }

    /// Nothing when it ended with 0.
    ///
    /// # Errors
    /// Otherwise what the worker's contract makes of it: 1–63 as they are, 64 and above as 1, a signal as 128 + n, and 65 for
    /// those that `--permanent-exit` names.
    pub fn ok(self) -> Result<(), JobError> {
        match (self.code, self.signal) {
            (Some(0), _) => Ok(()),
            (Some(code), _) => {
                let message = format!("the command ended with exit code {code}{}", last_line(&self.stderr_tail));
                Err(JobError::of_command(Some(code), None, "CommandFailed", message))
            }
            (None, signal) => {
                let signal = signal.unwrap_or_default();
                let oom = if signal == 9 { " (was it out of memory?)" } else { "" };
                let message = format!("the command was killed by signal {signal}{oom}");
                Err(JobError::of_command(None, Some(signal), "CommandKilled", message))
            }
        }
    }
}

/// What the command said last, which is mostly why it failed.
fn last_line(stderr: &str) -> String {
    const LONGEST: usize = 300;
    match stderr.lines().rev().find(|line| !line.trim().is_empty()) {
        None => String::new(),
        Some(line) => {
            let text: String = line.trim().chars().filter(|c| !c.is_control()).take(LONGEST).collect();
            format!("; its last words: {text}")
        }
    }
}
