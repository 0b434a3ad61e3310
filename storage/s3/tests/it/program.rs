//! The example `identity` as a process: what is configured is an environment, and every test has one of its own.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use tempfile::TempDir;

/// Long enough on a machine that compiles beside it, or stands still.
const DEADLINE: Duration = Duration::from_secs(300);

/// A process to be, with nothing of this machine's configuration.
pub(crate) struct Identity {
    command: Command,
    pub(crate) home: TempDir,
}

/// How it went.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) good: bool,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Identity {
    pub(crate) fn new(env: &[(&str, &str)], args: &[&str]) -> Self {
        let home = tempfile::tempdir().expect("a home");
        // Examples lie beside the folder of the tests.
        let program = std::env::current_exe().expect("we run").with_file_name("../examples/identity");
        let mut command = Command::new(program);
        command.env_clear().env("HOME", home.path()).env("PATH", "/usr/bin:/bin").args(args);
        command.envs(env.iter().copied()).stdin(Stdio::null());
        Self { command, home }
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// A file below the home.
    pub(crate) fn file(self, path: &str, text: &str) -> Self {
        let path = self.home.path().join(path);
        std::fs::create_dir_all(path.parent().expect("it is below the home")).expect("a folder");
        std::fs::write(path, text).expect("a file");
        self
    }

    pub(crate) fn run(mut self) -> Ran {
        let output = self.command.output().expect("the example is built with the tests");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran { good: output.status.success(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Runs it with `--each-line`.
    pub(crate) fn talk(mut self) -> Talk {
        self.command.arg("--each-line").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = self.command.spawn().expect("the example is built with the tests");
        let (stdin, stdout) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let (tell, lines) = mpsc::channel();
        std::thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| tell.send(line))
        });
        Talk { child, stdin, lines, _home: self.home }
    }
}

/// A process that answers each line.
pub(crate) struct Talk {
    child: Child,
    stdin: ChildStdin,
    lines: mpsc::Receiver<String>,
    _home: TempDir,
}

impl Talk {
    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(DEADLINE).expect("it answers")
    }

    /// Asks once; nothing if it has ended instead of answering.
    pub(crate) fn ask(&mut self) -> Option<String> {
        self.stdin.write_all(b"\n").ok()?;
        match self.lines.recv_timeout(DEADLINE) {
            Ok(line) => Some(line),
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("it does not answer"),
        }
    }

    /// Asks until a line holds `what`.
    pub(crate) fn until(&mut self, what: &str) -> String {
        let begun = std::time::Instant::now();
        loop {
            self.stdin.write_all(b"\n").expect("it listens");
            let line = self.line();
            if line.contains(what) {
                return line;
            }
            assert!(begun.elapsed() < DEADLINE, "no {what} in {line}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
