//! What does to a Kafka what a test asks for: `kafka/admin.py`, over a client that others wrote.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use crate::kept::{end_of, made_by};

/// Ends with its input, and so with this process.
#[derive(Debug)]
pub(super) struct Admin {
    process: Child,
    log: PathBuf,
    wires: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
}

impl Admin {
    pub(super) fn start(bootstrap: &str, log: &Path) -> Self {
        let mut process = Command::new(made_by("queue-clients/setup").join("python"))
            .args(["-X", "faulthandler"])
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("kafka/admin.py"))
            .arg(bootstrap)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(log).expect("a log"))
            .spawn()
            .expect("Python runs");
        let wires = (process.stdin.take().expect("piped"), BufReader::new(process.stdout.take().expect("piped")));
        Self { process, log: log.to_owned(), wires: Mutex::new(wires) }
    }

    /// Asks for something, and gives what comes of it or why nothing does.
    pub(super) fn ask(&self, what: &str, mut request: Value) -> Result<Value, String> {
        if let Some(fields) = request.as_object_mut() {
            fields.insert("do".to_owned(), json!(what));
        }
        let mut wires = self.wires.lock().unwrap_or_else(PoisonError::into_inner);
        let (input, output) = &mut *wires;
        let mut line = String::new();
        let asked = writeln!(input, "{request}").and_then(|()| output.read_line(&mut line));
        let Some(answer) = asked.ok().and_then(|_| serde_json::from_str::<Value>(&line).ok()) else {
            panic!("kafka/admin.py does not answer to {request}; it said:\n{}", end_of(&self.log));
        };
        match answer.get("error").and_then(Value::as_str) {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer.get("ok").cloned().unwrap_or_default()),
        }
    }

    /// As [`ask`](Self::ask), where it must not fail.
    pub(super) fn must(&self, what: &str, request: Value) -> Value {
        let shown = request.to_string();
        self.ask(what, request).unwrap_or_else(|error| panic!("{what} {shown}: {error}"))
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
