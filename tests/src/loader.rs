//! A program that loads a queue with what it is fed.

use std::fs::File;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};

use crate::supervised::until;

/// A loader with its lines still to come (`--load -`); killed when dropped.
#[derive(Debug)]
pub struct Loader {
    child: Child,
    lines: Option<Sender<String>>,
    dir: tempfile::TempDir,
}

impl Loader {
    /// Starts it.
    pub fn start(mut command: Command) -> Self {
        let dir = tempfile::Builder::new().prefix("longshore-loader-").tempdir().expect("a folder");
        let file = |name: &str| File::create(dir.path().join(name)).expect("a file");
        command.stdin(Stdio::piped()).stdout(file("said")).stderr(file("log"));
        let mut child = command.spawn().expect("the program starts");
        let mut stdin = child.stdin.take().expect("piped");
        let (lines, fed) = channel::<String>();
        // It reads when it likes.
        std::thread::spawn(move || {
            for text in fed {
                // One that fails reads no more.
                let _ = stdin.write_all(text.as_bytes());
            }
        });
        Self { child, lines: Some(lines), dir }
    }

    /// Gives it more lines, whether it reads them now or not.
    pub fn feed(&self, lines: impl IntoIterator<Item = String>) {
        let text = lines.into_iter().map(|line| line + "\n").collect();
        self.lines.as_ref().expect("it is fed until its end").send(text).expect("it has read all so far");
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.text("log")
    }

    /// Waits until it has logged this.
    ///
    /// # Panics
    /// If it ends instead.
    pub async fn says(&mut self, what: &str) {
        until(what, async || {
            assert!(self.child.try_wait().expect("a child").is_none(), "it ended: {}", self.log());
            self.log().contains(what).then_some(())
        })
        .await;
    }

    /// There is no more to load: it ends by itself. What it said on its standard output.
    ///
    /// # Panics
    /// If it fails.
    pub async fn ends(mut self) -> String {
        self.lines = None;
        let ended = until("its end", async || self.child.try_wait().expect("a child")).await;
        assert!(ended.success(), "{}", self.log());
        self.text("said")
    }

    /// Waits until it fails, whatever it may still be fed. Its exit code, and what it has logged.
    ///
    /// # Panics
    /// If it succeeds.
    pub async fn fails(mut self) -> (Option<i32>, String) {
        let ended = until("its end", async || self.child.try_wait().expect("a child")).await;
        assert!(!ended.success(), "{}", self.log());
        (ended.code(), self.log())
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name)).expect("a file")
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
