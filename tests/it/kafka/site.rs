//! Our programs on a topic, as a user runs them.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use longshore_tests::http::ask;
use longshore_tests::programs::program;
use longshore_tests::{Daemon, Ended, wait_until};
use serde_json::Value;
use test_servers::{Kafka, KafkaListener, free_port, queue_client};

/// A topic and a group of its own, and a folder for what our programs need.
pub(crate) struct Site {
    dir: tempfile::TempDir,
    pub(crate) kafka: &'static Kafka,
    pub(crate) topic: String,
    pub(crate) group: String,
}

impl Site {
    /// On a new topic.
    pub(crate) fn new(partitions: u32) -> Self {
        let dir = tempfile::Builder::new().prefix("longshore-kafka-site-").tempdir().expect("a folder");
        let kafka = Kafka::shared();
        let group = format!("group-{:016x}", fastrand::u64(..));
        Self { dir, kafka, topic: kafka.topic(partitions), group }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Has kcat write a record of each line, with these headers.
    pub(crate) fn kcat(&self, partition: u32, headers: &[&str], lines: impl IntoIterator<Item = String>) {
        let mut kcat = Command::new(queue_client("kcat"));
        let brokers = self.kafka.bootstrap(KafkaListener::Plain);
        kcat.args(["-P", "-b", &brokers, "-t", &self.topic, "-p", &partition.to_string()]);
        // Each line once, also where it had to be sent again.
        kcat.args(["-X", "enable.idempotence=true"]);
        for header in headers {
            kcat.args(["-H", header]);
        }
        let text: String = lines.into_iter().map(|line| line + "\n").collect();
        let mut child = kcat.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("it reads");
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Starts an ambassador, and a manager beside it, which runs the worker for each item.
    pub(crate) fn copy(&self, name: &str, ambassador: &[&str], manager: &[&str], worker: &[&str]) -> Copy {
        let mut copy = self.prepare(name, ambassador, manager, worker);
        copy.start_ambassador();
        copy.start_manager();
        copy
    }

    /// Starts an ambassador that is a member of the group, and nobody beside it.
    pub(crate) fn alone(&self, flags: &[&str]) -> Copy {
        let flags = [&["--mode", "group", "--group", &self.group], flags].concat();
        let mut copy = self.prepare("alone", &flags, &[], &[]);
        copy.start_ambassador();
        copy
    }

    /// Both, not started yet.
    pub(crate) fn prepare(&self, name: &str, ambassador: &[&str], manager: &[&str], worker: &[&str]) -> Copy {
        let port = || format!("127.0.0.1:{}", free_port());
        let dir = self.path().join(name);
        fs::create_dir_all(dir.join("tmp")).expect("a folder");
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let brokers = self.kafka.bootstrap(KafkaListener::Plain);
        let (address, probes) = (port(), port());
        let ours = ["--brokers", &brokers, "--topic", &self.topic, "--poll", "200ms", "--log-format", "json"];
        let serving = ["--listen", &address, "--probe-listen", &probes];
        let state = dir.join("state").display().to_string();
        let source = format!("http://{address}");
        let managing = ["local", "--source", &source, "--state", &state, "--probe-listen", "127.0.0.1:0"];
        let quick = ["--poll", "200ms", "--backoff", "10ms..100ms", "--log-format", "json"];
        Copy {
            ambassador_words: [words(&ours), words(&serving), words(ambassador)].concat(),
            manager_words: [words(&managing), words(&quick), words(manager), words(&["--"]), words(worker)].concat(),
            address,
            probes,
            dir,
            ambassador: None,
            manager: None,
        }
    }

    /// As a member of the group.
    pub(crate) fn member(&self, name: &str, manager: &[&str], worker: &str) -> Copy {
        let flags = ["--mode", "group", "--group", &self.group];
        self.copy(name, &flags, manager, &["sh", "-c", worker])
    }
}

/// An ambassador and a manager beside it.
pub(crate) struct Copy {
    ambassador_words: Vec<String>,
    manager_words: Vec<String>,
    /// Where the ambassador serves, and where it is probed.
    pub(crate) address: String,
    pub(crate) probes: String,
    pub(crate) dir: PathBuf,
    pub(crate) ambassador: Option<Daemon>,
    pub(crate) manager: Option<Daemon>,
}

impl Copy {
    pub(crate) fn start_ambassador(&mut self) {
        let mut command = Command::new(program("kafka-ambassador"));
        command.args(&self.ambassador_words).stdout(Stdio::null());
        self.ambassador = Some(Daemon::start(&mut command, &self.dir.join("ambassador.log")));
    }

    pub(crate) fn start_manager(&mut self) {
        let mut command = Command::new(program("queue-manager"));
        command.args(&self.manager_words).env("TMPDIR", self.dir.join("tmp")).stdout(Stdio::null());
        self.manager = Some(Daemon::start(&mut command, &self.dir.join("manager.log")));
    }

    /// Waits for the manager to end by itself, and has the ambassador end then, as a pod does.
    pub(crate) fn ends(mut self) -> Ended {
        let ended = self.manager.take().expect("it was started").wait();
        assert_eq!(self.ambassador.take().expect("it was started").terminate(), Ended::Code(0));
        ended
    }

    /// The names of the list, if there is one.
    pub(crate) fn names(&self) -> Option<Vec<String>> {
        let list = self.list()?;
        Some(list.get("items")?.as_array()?.iter().filter_map(|name| Some(name.as_str()?.to_owned())).collect())
    }

    /// The list, if there is one.
    pub(crate) fn list(&self) -> Option<Value> {
        let (status, body) = ask(&self.address, "GET", "/v1/items");
        (status == 200).then(|| serde_json::from_str(&body).expect("JSON"))
    }

    /// Waits for a line in the log of a program, which is `ambassador` or `manager`.
    pub(crate) fn says(&self, of: &str, what: &str) -> Value {
        let log = self.dir.join(of).with_extension("log");
        let is_it =
            |line: &Value| line.get("message").and_then(Value::as_str).is_some_and(|message| message.contains(what));
        wait_until(what, || lines(&log).into_iter().find(is_it))
    }
}

/// The lines of a log that are objects.
pub(crate) fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("a log");
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}
