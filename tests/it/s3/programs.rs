//! Our programs on a bucket, as a user runs them: flags, `AWS_*` in the environment, exit codes.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use longshore_tests::http::ask;
use longshore_tests::programs::program;
use longshore_tests::{Daemon, wait_until};
use serde_json::Value;
use test_servers::S3Server;

/// A folder for what our programs need, and the store they work on.
pub(crate) struct Site<'a> {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) server: &'a S3Server,
    pub(crate) bucket: String,
    /// More for the environment of our programs, such as other credentials.
    pub(crate) env: Vec<(String, String)>,
}

impl<'a> Site<'a> {
    /// On a new bucket.
    pub(crate) fn new(server: &'a S3Server) -> Self {
        let dir = tempfile::Builder::new().prefix("longshore-s3-site-").tempdir().expect("a folder");
        fs::create_dir(dir.path().join("tmp")).expect("a folder");
        Self { dir, server, bucket: now(server.bucket()), env: Vec::new() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A program of ours.
    pub(crate) fn command(&self, name: &str) -> Command {
        let mut command = Command::new(program(name));
        command.envs(self.server.env()).envs(self.env.iter().cloned()).env("TMPDIR", self.path().join("tmp"));
        command
    }

    /// Starts an ambassador over the bucket and waits until it has read it.
    pub(crate) fn ambassador(&self, flags: &[&str]) -> (Daemon, Source) {
        let (mut daemon, source) = self.start_ambassador(flags);
        wait_until("the ambassador to have read the bucket", || {
            assert_eq!(daemon.ended(), None, "the ambassador ended: {}", daemon.log());
            source.is_ready().then_some(())
        });
        (daemon, source)
    }

    /// Starts an ambassador over the bucket.
    pub(crate) fn start_ambassador(&self, flags: &[&str]) -> (Daemon, Source) {
        let port = test_servers::free_port();
        let source = Source { address: format!("127.0.0.1:{port}") };
        let mut command = self.command("s3-ambassador");
        command
            .args(["--bucket", &self.bucket, "--listen", &source.address, "--probe-listen", "127.0.0.1:0"])
            .args(flags);
        (Daemon::start(&mut command, &self.path().join("s3-ambassador.log")), source)
    }

    /// Runs a script-worker on one item, with a script of one line of shell.
    pub(crate) fn worker(&self, item: &Value, flags: &[&str], line: &str) -> Output {
        let file = tempfile::NamedTempFile::new_in(self.path()).expect("a file");
        fs::write(file.path(), item.to_string()).expect("written");
        let mut command = self.command("script-worker");
        command.env("WORK_ITEM_FILE", file.path()).args(flags).args(["--", "sh", "-c", line]);
        command.output().expect("script-worker runs")
    }
}

/// An ambassador that serves.
pub(crate) struct Source {
    pub(crate) address: String,
}

impl Source {
    /// Whether it lists.
    pub(crate) fn is_ready(&self) -> bool {
        ask(&self.address, "GET", "/v1/items").0 == 200
    }

    /// The names it lists.
    pub(crate) fn names(&self) -> Vec<String> {
        let list = self.get("/v1/items");
        let names = list.get("items").and_then(Value::as_array).expect("a list");
        names.iter().map(|name| name.as_str().expect("a name").to_owned()).collect()
    }

    /// Every item it lists, whole.
    pub(crate) fn items(&self) -> Vec<Value> {
        self.names().iter().map(|name| self.get(&format!("/v1/items/{name}"))).collect()
    }

    /// However often a store that is busy has to be asked.
    fn get(&self, path: &str) -> Value {
        let (status, body) = wait_until(path, || {
            let answer = ask(&self.address, "GET", path);
            (answer.0 != 503).then_some(answer)
        });
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).expect("JSON")
    }
}

/// Waits for something asynchronous in a test that is not.
pub(crate) fn now<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(future)
}

/// The text at a JSON pointer, which must be there.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no text at {pointer} in {value}"))
}
