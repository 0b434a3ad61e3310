//! The program as a child process, and what is asked of it.

use std::fs::File;
use std::io::Write;
use std::process::{Child, Command, Stdio};

use reqwest::Method;
use serde_json::Value;

use crate::queue::{Queue, until};

/// The program.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_rabbitmq-ambassador");

/// A running ambassador; killed when dropped.
pub(crate) struct Program {
    child: Child,
    pub(crate) url: String,
    http: reqwest::Client,
    dir: tempfile::TempDir,
}

/// The program, for a queue; patient, unless a flag says otherwise: whatever stands still here, the broker is not lost.
pub(crate) fn command(queue: &Queue<'_>, flags: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.env("LONGSHORE_URL", queue.rabbit.url()).env("LONGSHORE_HEARTBEAT", "2m");
    command.args(["--queue", &queue.name, "--poll", "100ms"]).args(flags);
    command
}

impl Program {
    /// Of this queue.
    pub(crate) async fn of(queue: &Queue<'_>, flags: &[&str]) -> Self {
        Self::start(command(queue, flags)).await
    }

    /// Started, and serving.
    pub(crate) async fn start(mut command: Command) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let log = File::create(dir.path().join("log")).expect("a log");
        command.args(["--listen", "127.0.0.1:0", "--probe-listen", "127.0.0.1:0", "--log-format", "json"]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("the program starts");
        let mut this = Self { child, url: String::new(), http: reqwest::Client::new(), dir };
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

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).expect("a log")
    }

    /// An answer of the probes' listener: the status and the text.
    pub(crate) async fn probe(&self, path: &str) -> Option<(u16, String)> {
        let log = self.log();
        let line = log.lines().find(|line| line.contains("\"message\":\"probes and metrics\""))?;
        let line: Value = serde_json::from_str(line).ok()?;
        let answer = self.http.get(format!("http://{}{path}", line["address"].as_str()?)).send().await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    }

    /// A metric, summed over those of its labels that hold this text.
    pub(crate) async fn figure(&self, name: &str, label: &str) -> f64 {
        let (_, metrics) = self.probe("/metrics").await.expect("metrics");
        let lines = metrics.lines().filter(|line| line.starts_with(name) && line.contains(label));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Waits until readiness is this, and says why it is.
    pub(crate) async fn ready(&self, status: u16) -> String {
        until(&format!("/readyz {status}"), async || {
            self.probe("/readyz").await.filter(|(is, _)| *is == status).map(|(_, why)| why)
        })
        .await
    }

    /// Waits until it is not ready, and says this.
    pub(crate) async fn is_red(&self, says: &str) {
        until(says, async || {
            self.probe("/readyz").await.filter(|(is, why)| *is == 503 && why.contains(says)).map(drop)
        })
        .await;
    }

    /// The status and the body.
    pub(crate) async fn ask(&self, path: &str) -> Option<(u16, Value)> {
        let answer = self.http.get(format!("{}{path}", self.url)).send().await.ok()?;
        let status = answer.status().as_u16();
        let body = answer.text().await.ok()?;
        Some((status, serde_json::from_str(&body).unwrap_or(Value::Null)))
    }

    /// The list, unless it has none to give.
    pub(crate) async fn list(&self) -> Option<Value> {
        self.ask("/v1/items").await.filter(|(status, _)| *status == 200).map(|(_, list)| list)
    }

    /// The names of the list.
    pub(crate) async fn names(&self) -> Option<Vec<String>> {
        let list = self.list().await?;
        Some(list["items"].as_array()?.iter().filter_map(|name| Some(name.as_str()?.to_owned())).collect())
    }

    /// Waits for a list of so many names.
    pub(crate) async fn holds(&self, count: usize) -> Vec<String> {
        until(&format!("{count} items"), async || self.names().await.filter(|names| names.len() == count)).await
    }

    /// Waits until so many are withheld, and gives them.
    pub(crate) async fn withholds(&self, count: usize) -> Vec<Value> {
        until(&format!("{count} withheld"), async || {
            let (_, list) = self.ask("/v1/withheld").await?;
            list["items"].as_array().filter(|all| all.len() == count).cloned()
        })
        .await
    }

    /// The data of an item.
    pub(crate) async fn data(&self, name: &str) -> Value {
        let (status, item) = self.ask(&format!("/v1/items/{name}")).await.expect("an answer");
        assert_eq!(status, 200, "{name}: {item}");
        item["data"].clone()
    }

    /// The values of these, in their order.
    pub(crate) async fn values(&self, names: &[String]) -> Vec<String> {
        let mut values = Vec::new();
        for name in names {
            values.push(self.data(name).await["value"].as_str().expect("text").to_owned());
        }
        values
    }

    /// Waits until it says that there is nothing left, in its window or behind it.
    pub(crate) async fn is_empty(&self) {
        until("nothing left", async || {
            let list = self.list().await?;
            let empty = list["items"].as_array()?.is_empty() && list["metadata"]["backlog"] == 0;
            (empty && list["metadata"]["complete"] == true).then_some(())
        })
        .await
    }

    /// The answer to a settle, if there is one.
    pub(crate) async fn settle(&self, name: &str) -> Option<u16> {
        let url = format!("{}/v1/items/{name}", self.url);
        Some(self.http.request(Method::DELETE, url).send().await.ok()?.status().as_u16())
    }

    /// How many threads it has.
    pub(crate) fn threads(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("it runs").count()
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn terminate(&mut self) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), rustix::process::Signal::TERM)
            .expect("signalled");
        let ended = until("the end of the process", async || self.child.try_wait().expect("a child")).await;
        assert!(ended.success(), "{ended}: {}", self.log());
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
