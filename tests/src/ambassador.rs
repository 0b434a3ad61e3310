//! An ambassador as a child process, and what is asked of it.

use std::collections::HashSet;
use std::io::Write;
use std::process::{Command, Stdio};

use reqwest::Method;
use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::supervised::{DEADLINE, Daemon, Ended, until};

/// A running ambassador, whatever it serves; killed when dropped. A test that fails shows its log.
#[derive(Debug)]
pub struct Ambassador {
    process: Daemon,
    url: String,
    probes: String,
    http: reqwest::Client,
    _dir: tempfile::TempDir,
}

/// A client whose every question has a connection of its own: one that was kept may be given up just when it is used again.
pub fn http() -> reqwest::Client {
    reqwest::Client::builder().pool_max_idle_per_host(0).timeout(DEADLINE).build().expect("a client")
}

impl Ambassador {
    /// Starts `command`, which is told where to listen, and waits until it serves; of its backend it may know nothing yet.
    ///
    /// # Panics
    /// If it ends instead, with its log.
    pub async fn start(mut command: Command) -> Self {
        let dir = tempfile::Builder::new().prefix("longshore-ambassador-").tempdir().expect("a folder");
        command.args(["--listen", "127.0.0.1:0", "--probe-listen", "127.0.0.1:0", "--log-format", "json"]);
        let mut process = Daemon::start(command.stdout(Stdio::null()), &dir.path().join("log"));
        let url = address(&mut process, "serving /v1/items").await;
        let probes = address(&mut process, "probes and metrics").await;
        Self { process, url, probes, http: http(), _dir: dir }
    }

    /// Where it serves: `http://HOST:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// The most memory that it has had, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid().as_raw_nonzero())).expect("it runs");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
        peak.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1_024
    }

    /// How many threads it has.
    pub fn threads(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/task", self.pid().as_raw_nonzero())).expect("it runs").count()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Whether the process is gone.
    pub fn is_over(&mut self) -> bool {
        self.process.ended().is_some()
    }

    /// Waits until the process is gone.
    pub async fn ended(&mut self) -> Ended {
        until("the end of the process", async || self.process.ended()).await
    }

    /// Asks it to end, and waits until it has.
    ///
    /// # Panics
    /// If it has failed.
    pub async fn terminate(&mut self) {
        self.signal(Signal::TERM);
        assert_eq!(self.ended().await, Ended::Code(0), "{}", self.log());
    }

    /// An answer of the probes' listener: the status and the text.
    pub async fn probe(&self, path: &str) -> Option<(u16, String)> {
        let answer = self.http.get(format!("{}{path}", self.probes)).send().await.ok()?;
        Some((answer.status().as_u16(), answer.text().await.ok()?))
    }

    /// A metric, summed over those of its labels that hold this text.
    pub async fn figure(&self, name: &str, label: &str) -> f64 {
        let (_, metrics) = self.probe("/metrics").await.expect("metrics");
        let lines = metrics.lines().filter(|line| line.starts_with(name) && line.contains(label));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Waits until readiness is this, and says why it is.
    pub async fn ready(&self, status: u16) -> String {
        until(&format!("/readyz {status}"), async || {
            self.probe("/readyz").await.filter(|(is, _)| *is == status).map(|(_, why)| why)
        })
        .await
    }

    /// Waits until it is not ready, and says this.
    pub async fn is_red(&self, says: &str) {
        until(says, async || {
            self.probe("/readyz").await.filter(|(is, why)| *is == 503 && why.contains(says)).map(drop)
        })
        .await;
    }

    /// The answer to a GET, if there is one: the status and the body.
    pub async fn ask(&self, path: &str) -> Option<(u16, Value)> {
        self.tell(Method::GET, path).await
    }

    /// The answer to a request of any method, if there is one: the status, and the body where that is JSON.
    pub async fn tell(&self, method: Method, path: &str) -> Option<(u16, Value)> {
        let answer = self.http.request(method, format!("{}{path}", self.url)).send().await.ok()?;
        let status = answer.status().as_u16();
        let body = answer.text().await.ok()?;
        Some((status, serde_json::from_str(&body).unwrap_or(Value::Null)))
    }

    /// The list, unless it has none to give.
    pub async fn list(&self) -> Option<Value> {
        self.ask("/v1/items").await.filter(|(status, _)| *status == 200).map(|(_, list)| list)
    }

    /// The names of the list, unless it has none to give.
    pub async fn names(&self) -> Option<Vec<String>> {
        self.list().await.as_ref().map(names)
    }

    /// Waits for a list of so many names.
    pub async fn holds(&self, count: usize) -> Vec<String> {
        until(&format!("{count} items"), async || self.names().await.filter(|names| names.len() == count)).await
    }

    /// Waits until so many are withheld, and gives them.
    pub async fn withholds(&self, count: usize) -> Vec<Value> {
        until(&format!("{count} withheld"), async || {
            let (_, list) = self.ask("/v1/withheld").await?;
            list.get("items")?.as_array().filter(|all| all.len() == count).cloned()
        })
        .await
    }

    /// The data of an item.
    ///
    /// # Panics
    /// If there is no such item now.
    pub async fn data(&self, name: &str) -> Value {
        let (status, item) = self.ask(&format!("/v1/items/{name}")).await.expect("an answer");
        assert_eq!(status, 200, "{name}: {item}");
        item.get("data").expect("an item has data").clone()
    }

    /// The values of these, in their order.
    ///
    /// # Panics
    /// If one of them is no item now, or its value no text.
    pub async fn values(&self, names: &[String]) -> Vec<String> {
        let mut values = Vec::new();
        for name in names {
            values.push(value(&self.data(name).await).expect("text"));
        }
        values
    }

    /// Waits until it says that there is nothing left, in its window or behind it.
    pub async fn is_empty(&self) {
        until("nothing left", async || self.list().await.filter(is_nothing).map(drop)).await;
    }

    /// The answer to a settle, if there is one.
    pub async fn settle(&self, name: &str) -> Option<u16> {
        self.tell(Method::DELETE, &format!("/v1/items/{name}")).await.map(|(status, _)| status)
    }

    /// Settles it, whatever is in the way.
    pub async fn settles(&self, name: &str) {
        until("a settle", async || (self.settle(name).await == Some(204)).then_some(())).await;
    }

    /// Works on what is listed until there is nothing: the values, in the order in which they were settled. What is listed is there, or
    /// cannot be seen now, or is `otherwise` for a while.
    ///
    /// # Panics
    /// If it is anything else, or was settled and is listed again.
    pub async fn drained(&self, otherwise: &[u16]) -> Vec<String> {
        let (mut values, mut listed, mut settled) = (Vec::new(), Vec::<String>::new(), HashSet::new());
        until("nothing that is left", async || {
            for name in std::mem::take(&mut listed) {
                assert!(!settled.contains(&name), "{name} was settled, and is listed");
                let item = async || {
                    let (status, item) = self.ask(&format!("/v1/items/{name}")).await?;
                    let may_be = matches!(status, 200 | 503) || otherwise.contains(&status);
                    assert!(may_be, "{name} is listed, and is {status}");
                    value(item.get("data")?)
                };
                values.push(until("an item", item).await);
                self.settles(&name).await;
                settled.insert(name);
            }
            let list = self.list().await?;
            listed = names(&list);
            is_nothing(&list).then_some(())
        })
        .await;
        values
    }
}

impl Drop for Ambassador {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // With what else is shown of a test that failed.
            let _ = writeln!(std::io::stderr(), "its log:\n{}", self.log());
        }
    }
}

/// Where it listens, which it logs with this message.
async fn address(process: &mut Daemon, message: &str) -> String {
    until(message, async || {
        let ended = process.ended();
        let log = process.log();
        assert!(ended.is_none(), "{ended:?}: {log}");
        let line = log.lines().find(|line| line.contains(&format!("\"message\":\"{message}\"")))?;
        let line: Value = serde_json::from_str(line).ok()?;
        Some(format!("http://{}", line.get("address")?.as_str()?))
    })
    .await
}

/// The names of a list.
pub(crate) fn names(list: &Value) -> Vec<String> {
    let names = list.get("items").and_then(Value::as_array).into_iter().flatten();
    names.filter_map(|name| Some(name.as_str()?.to_owned())).collect()
}

/// The value of an item's data, where it is text.
fn value(data: &Value) -> Option<String> {
    data.get("value")?.as_str().map(str::to_owned)
}

/// Whether a list says that there is nothing behind what it names.
pub(crate) fn is_all(list: &Value) -> bool {
    let says = |pointer: &str, what: Value| list.pointer(pointer) == Some(&what);
    says("/metadata/backlog", 0.into()) && says("/metadata/complete", true.into())
}

/// Whether a list says that there is nothing at all.
pub(crate) fn is_nothing(list: &Value) -> bool {
    names(list).is_empty() && is_all(list)
}
