//! The program as a child process, and what is asked of it.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

/// How long anything may take that is waited for.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_files-ambassador");

/// A running ambassador; killed when dropped.
pub(crate) struct Ambassador {
    child: Child,
    pub(crate) contract: String,
    probes: String,
    log: PathBuf,
    http: reqwest::Client,
    _dir: tempfile::TempDir,
}

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: bool,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }
}

/// Waits until `sees` gives something.
pub(crate) async fn until<T>(what: &str, sees: impl AsyncFnMut() -> Option<T>) -> T {
    until_every(Duration::from_millis(10), what, sees).await
}

/// As [`until`], for what takes long: looks only so often, and waits longer the less often it looks.
pub(crate) async fn until_every<T>(pause: Duration, what: &str, mut sees: impl AsyncFnMut() -> Option<T>) -> T {
    let (began, deadline) = (Instant::now(), DEADLINE.max(pause * 3_000));
    loop {
        if let Some(seen) = sees().await {
            return seen;
        }
        assert!(began.elapsed() < deadline, "not seen in time: {what}");
        tokio::time::sleep(pause).await;
    }
}

impl Ambassador {
    /// Started on `root` with these flags, and serving; the folder may not have been read yet.
    pub(crate) async fn start(root: &Path, flags: &[&str]) -> Self {
        Self::spawn(Command::new(PROGRAM), root, flags).await
    }

    /// Started by `command`, which ends with the program and to which the flags are added.
    pub(crate) async fn spawn(command: Command, root: &Path, flags: &[&str]) -> Self {
        Self::spawn_reading(command, Stdio::null(), root, flags).await
    }

    /// As [`spawn`](Self::spawn), with something on the command's stdin.
    pub(crate) async fn spawn_reading(mut command: Command, stdin: Stdio, root: &Path, flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let log = dir.path().join("log");
        let child = command
            .arg("--root")
            .arg(root)
            .args(["--listen", "127.0.0.1:0", "--probe-listen", "127.0.0.1:0", "--log-format", "json"])
            .args(flags)
            .stdin(stdin)
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("a log"))
            // Whatever it was started by or started with ends with it.
            .process_group(0)
            .spawn()
            .expect("the program starts");
        let mut this = Self {
            child,
            contract: String::new(),
            probes: String::new(),
            log,
            http: reqwest::Client::new(),
            _dir: dir,
        };
        this.contract = this.address("serving /v1/items").await;
        this.probes = this.address("probes and metrics").await;
        this
    }

    async fn address(&mut self, message: &str) -> String {
        until(message, async || {
            if let Some(status) = self.child.try_wait().expect("a child") {
                panic!("ended with {status}: {}", self.log());
            }
            let log = self.log();
            let line = log.lines().find(|line| line.contains(&format!("\"message\":\"{message}\"")))?;
            let line: Value = serde_json::from_str(line).ok()?;
            Some(format!("http://{}", line["address"].as_str().expect("an address")))
        })
        .await
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("a log")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) async fn ask(&self, method: &str, path: &str) -> Answer {
        self.try_ask(method, &format!("{}{path}", self.contract)).await.expect("an answer")
    }

    pub(crate) async fn probe(&self, path: &str) -> Answer {
        self.try_ask("GET", &format!("{}{path}", self.probes)).await.expect("an answer")
    }

    pub(crate) async fn try_ask(&self, method: &str, url: &str) -> Option<Answer> {
        let method = method.parse().expect("a method");
        let response = self.http.request(method, url).timeout(DEADLINE).send().await.ok()?;
        let status = response.status().as_u16();
        let retry_after = response.headers().contains_key("retry-after");
        Some(Answer { status, retry_after, text: response.text().await.ok()? })
    }

    /// How often the folder was read whole.
    pub(crate) async fn scans(&self) -> u64 {
        let metrics = self.probe("/metrics").await.text;
        let line = metrics.lines().find_map(|line| line.strip_prefix("longshore_files_scan_seconds_count "));
        line.expect("a count").parse().expect("a number")
    }

    /// The list, whatever its status.
    pub(crate) async fn list(&self) -> Answer {
        self.ask("GET", "/v1/items").await
    }

    /// The names listed; none while it is 503.
    pub(crate) async fn names(&self) -> Vec<String> {
        self.try_names().await.unwrap_or_default()
    }

    async fn try_names(&self) -> Option<Vec<String>> {
        let answer = self.list().await;
        if answer.status != 200 {
            return None;
        }
        let list = answer.json();
        let items = list["items"].as_array().expect("items");
        Some(items.iter().map(|name| name.as_str().expect("a name").to_owned()).collect())
    }

    /// Whether the list is there and says that it is complete.
    pub(crate) async fn is_complete(&self) -> bool {
        let answer = self.list().await;
        answer.status == 200 && answer.json()["metadata"]["complete"] == true
    }

    /// The data of every item listed.
    pub(crate) async fn items(&self) -> Vec<(String, Value)> {
        let mut items = Vec::new();
        for name in self.names().await {
            let answer = self.ask("GET", &format!("/v1/items/{name}")).await;
            if answer.status == 200 {
                items.push((name, answer.json()["data"].take()));
            }
        }
        items
    }

    /// The name of the item of this key, once it is listed.
    pub(crate) async fn named(&self, key: &str) -> String {
        until(key, async || self.items().await.into_iter().find(|(_, data)| data["key"] == key).map(|(name, _)| name))
            .await
    }

    /// Waits until there is a list, and it holds so many.
    pub(crate) async fn listed(&self, count: usize) -> Vec<String> {
        until(&format!("{count} items"), async || self.try_names().await.filter(|names| names.len() == count)).await
    }

    /// Why this key is withheld, if it is.
    pub(crate) async fn why(&self, key: &str) -> Option<(String, bool)> {
        let answer = self.ask("GET", "/v1/withheld").await;
        if answer.status != 200 {
            return None;
        }
        let list = answer.json();
        let entry = list["items"].as_array()?.iter().find(|entry| entry["key"] == key)?.clone();
        Some((entry["reason"].as_str()?.to_owned(), entry["pending"].as_bool()?))
    }

    /// Waits until this key is withheld for this reason.
    pub(crate) async fn withheld(&self, key: &str, reason: &str) -> bool {
        until(&format!("{key} withheld as {reason}"), async || {
            self.why(key).await.filter(|(why, _)| why == reason).map(|(_, pending)| pending)
        })
        .await
    }

    pub(crate) async fn settle(&self, name: &str) -> Answer {
        self.ask("DELETE", &format!("/v1/items/{name}")).await
    }

    /// Whether its first thread has ended, with which all others do that can.
    pub(crate) fn is_over(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("nobody has waited for it");
        // After the name, which may hold anything.
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z'))
    }

    /// Waits until the process is gone by itself.
    pub(crate) async fn ended(mut self) -> std::process::ExitStatus {
        until("the end of the process", async || self.child.try_wait().expect("a child")).await
    }
}

impl Drop for Ambassador {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        }
        // What waits for a file server of this very process ends no sooner than that answers: not to be waited for here.
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(10) && self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
