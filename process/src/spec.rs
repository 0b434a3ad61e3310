//! What to run, said in full: nothing is taken over from this process but what is written here.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::child::Child;
use crate::limits::Limits;
use crate::mark::Mark;
use crate::output::{Output, Stream};
use crate::program::{SpawnError, explain, resolve};

/// How long what a child leaves behind may take to end after SIGTERM.
const LEFTOVER_GRACE: Duration = Duration::from_secs(1);

/// A program to run as a child, in a process group of its own.
#[derive(Debug)]
pub struct Spec {
    program: OsString,
    arguments: Vec<OsString>,
    environment: BTreeMap<OsString, OsString>,
    directory: Option<PathBuf>,
    stdin: Option<OwnedFd>,
    stdout: Output,
    stderr: Output,
    limits: Limits,
    pub(crate) mark: Option<Mark>,
    pub(crate) leftover_grace: Duration,
    pub(crate) outlives_us: bool,
}

impl Spec {
    /// `program`: a path when it holds a slash (relative to this process's own directory, not to the child's), else
    /// looked for along the child's `PATH`. Without anything else: no arguments, an empty environment, this process's
    /// directory, nothing on stdin, output nowhere.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            arguments: Vec::new(),
            environment: BTreeMap::new(),
            directory: None,
            stdin: None,
            stdout: Output::Null,
            stderr: Output::Null,
            limits: Limits::default(),
            mark: None,
            leftover_grace: LEFTOVER_GRACE,
            outlives_us: false,
        }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// One variable of the environment, in place of an earlier one of that name.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.insert(name.as_ref().to_owned(), value.as_ref().to_owned());
        self
    }

    /// More variables, as from [`std::env::vars_os`].
    #[must_use]
    pub fn envs(mut self, variables: impl IntoIterator<Item = (impl AsRef<OsStr>, impl AsRef<OsStr>)>) -> Self {
        for (name, value) in variables {
            self = self.env(name, value);
        }
        self
    }

    /// The directory it runs in.
    #[must_use]
    pub fn cwd(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// What it reads on stdin; this process's own copy is closed once the child has it.
    #[must_use]
    pub fn stdin(mut self, from: impl Into<OwnedFd>) -> Self {
        self.stdin = Some(from.into());
        self
    }

    /// Where its stdout goes.
    #[must_use]
    pub fn stdout(mut self, to: Output) -> Self {
        self.stdout = to;
        self
    }

    /// Where its stderr goes.
    #[must_use]
    pub fn stderr(mut self, to: Output) -> Self {
        self.stderr = to;
        self
    }

    /// What it may use at the most.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets a variable by which every descendant is known, whatever group, session or parent it has by then. The value
    /// must be unique to this child: whoever carries it is killed when the child is over.
    #[must_use]
    pub fn mark(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.mark = Some(Mark::environment(&name, &value));
        self.env(name, value)
    }

    /// How long what it leaves behind may take to end after SIGTERM, where nobody asked for a stop: 1 s if not said.
    #[must_use]
    pub fn leftover_grace(mut self, grace: Duration) -> Self {
        self.leftover_grace = grace;
        self
    }

    /// Dropping the [`Child`], or the runtime, leaves it running; otherwise that kills it.
    #[must_use]
    pub fn outlives_us(mut self) -> Self {
        self.outlives_us = true;
        self
    }

    /// Starts it. To be called within a tokio runtime that has I/O and time enabled.
    ///
    /// From the first call on, this process is a child subreaper (`prctl(2)`): descendants of its children that lose
    /// their parent become its own, so that they can be found and reaped.
    ///
    /// # Errors
    /// [`SpawnError`]; nothing runs then.
    pub fn spawn(self) -> Result<Child, SpawnError> {
        let program = resolve(&self.program, self.environment.get(OsStr::new("PATH")))?;
        let other = |source| explain(program.clone(), None, source);
        let (stdout, stdout_source) = self.stdout.open(Stream::Stdout).map_err(other)?;
        let (stderr, stderr_source) = self.stderr.open(Stream::Stderr).map_err(other)?;
        // Nothing here may need code to run between fork and exec: the standard library uses posix_spawn then.
        let mut command = Command::new(&program);
        command
            .arg0(&self.program)
            .args(&self.arguments)
            .env_clear()
            .envs(&self.environment)
            .stdin(self.stdin.map_or_else(Stdio::null, Stdio::from))
            .stdout(stdout)
            .stderr(stderr)
            .process_group(0);
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        let sources = [stdout_source, stderr_source];
        Child::start(command, sources, self.limits, self.mark, self.leftover_grace, self.outlives_us)
            .map_err(|source| explain(program, self.directory.as_deref(), source))
    }
}
