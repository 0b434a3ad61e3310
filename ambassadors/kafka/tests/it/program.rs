//! The program as a child process, and what is asked of it.

use std::fs::File;
use std::io::Write;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::topic::{Topic, until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_kafka-ambassador");

/// A running ambassador; killed when dropped.
pub(crate) struct Program {
    child: Child,
    pub(crate) url: String,
    http: reqwest::Client,
    dir: tempfile::TempDir,
}

/// A client whose every question has a connection of its own: one that was kept may be given up just when it is used again.
pub(crate) fn http() -> reqwest::Client {
    reqwest::Client::builder().pool_max_idle_per_host(0).build().expect("a client")
}

/// The program, for a topic.
pub(crate) fn command(topic: &Topic<'_>, flags: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["--brokers", &topic.brokers(), "--topic", &topic.name]).args(flags);
    command
}

impl Program {
    /// Started, and serving.
    pub(crate) async fn start(mut command: Command) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let log = File::create(dir.path().join("log")).expect("a log");
        command.args(["--listen", "127.0.0.1:0", "--probe-listen", "127.0.0.1:0", "--log-format", "json"]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("the program starts");
        let mut this = Self { child, url: String::new(), http: http(), dir };
        this.url = until("an address", async || {
            let log = this.log();
            assert!(this.child.try_wait().expect("a child").is_none(), "it ended: {log}");
            let line = log.lines().find(|line| line.contains("\"message\":\"serving /v1/items\""))?.to_owned();
            let line: Value = serde_json::from_str(&line).ok()?;
            Some(format!("http://{}", line["address"].as_str()?))
        })
        .await;
        this
    }

    /// An answer of the probes' listener: the status and the text.
    pub(crate) async fn probe(&self, path: &str) -> Option<(u16, String)> {
        let log = self.log();
        let line = log.lines().find(|line| line.contains("\"message\":\"probes and metrics\""))?;
        let line: Value = serde_json::from_str(line).ok()?;
        let answer = self.http.get(format!("http://{}{path}", line["address"].as_str()?)).send().await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    }

    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.dir.path().join("log")).expect("a log")).into_owned()
    }

    /// The status and the body.
    pub(crate) async fn ask(&self, path: &str) -> Option<(u16, Value)> {
        let answer = self.http.get(format!("{}{path}", self.url)).send().await.ok()?;
        let status = answer.status().as_u16();
        let body = answer.text().await.ok()?;
        Some((status, serde_json::from_str(&body).unwrap_or(Value::Null)))
    }

    /// Waits for a list of so many names.
    pub(crate) async fn listed(&self, count: usize) -> Vec<String> {
        until(&format!("{count} items"), async || {
            let (status, list) = self.ask("/v1/items").await?;
            let names = list["items"].as_array().filter(|names| status == 200 && names.len() == count)?;
            Some(names.iter().map(|name| name.as_str().expect("a name").to_owned()).collect())
        })
        .await
    }

    /// Whether the process is gone.
    pub(crate) fn is_over(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_some()
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn terminate(&mut self) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), rustix::process::Signal::TERM)
            .expect("signalled");
        until("the end of the process", async || self.is_over().then_some(())).await;
    }

    /// The most memory that it has had, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
        peak.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1_024
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // With what else is shown of a test that failed.
            let _ = writeln!(std::io::stderr(), "its log:\n{}", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
