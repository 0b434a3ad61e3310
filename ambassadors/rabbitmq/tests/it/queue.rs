//! Queues of a real RabbitMQ, filled and looked at by a client that others wrote (pika).

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use test_servers::{RabbitMq, queue_client};

/// A queue of its own.
pub(crate) struct Queue<'a> {
    pub(crate) rabbit: &'a RabbitMq,
    pub(crate) name: String,
}

impl Queue<'static> {
    /// A classic queue of the RabbitMQ that tests share.
    pub(crate) fn new() -> Self {
        Self::of(RabbitMq::shared(), json!({}))
    }
}

impl<'a> Queue<'a> {
    /// With these arguments.
    pub(crate) fn of(rabbit: &'a RabbitMq, arguments: Value) -> Self {
        let queue = Self::unmade(rabbit);
        queue.make(&arguments);
        queue
    }

    /// One that is not there yet.
    pub(crate) fn unmade(rabbit: &'a RabbitMq) -> Self {
        Self { rabbit, name: format!("Queue_{:016x}", fastrand::u64(..)) }
    }

    /// A queue to which everything goes that is published to an exchange of its name.
    pub(crate) fn behind_an_exchange(rabbit: &'a RabbitMq) -> Self {
        let queue = Self::unmade(rabbit);
        queue.client("exchange", &[], "");
        queue
    }

    pub(crate) fn make(&self, arguments: &Value) {
        self.client("declare", &[&arguments.to_string()], "");
    }

    pub(crate) fn delete(&self) {
        self.client("delete", &[], "");
    }

    /// Messages, each an object with `body` or `base64`, and properties by pika's names.
    pub(crate) fn publish(&self, messages: &[Value]) {
        let lines: String = messages.iter().map(|message| format!("{message}\n")).collect();
        self.client("publish", &[], &lines);
    }

    /// `item 0` …, with ids.
    pub(crate) fn fill(&self, count: usize) {
        let messages: Vec<_> =
            (0..count).map(|n| json!({"body": format!("item {n}"), "message_id": n.to_string()})).collect();
        self.publish(&messages);
    }

    /// Very many: `item-0` …, with ids, into an empty queue.
    pub(crate) fn pour(&self, count: usize) {
        self.client("pour", &[&count.to_string()], "");
    }

    /// The bodies of so many, in their order, by a consumer; and `more` for each that there is beyond them.
    pub(crate) fn take(&self, count: usize) -> Vec<String> {
        self.client("take", &[&count.to_string()], "").lines().map(str::to_owned).collect()
    }

    /// Somebody takes the first, and gives it back.
    pub(crate) fn touch(&self) {
        self.client("touch", &[], "");
    }

    /// How many messages nobody has.
    pub(crate) fn depth(&self) -> usize {
        self.client("depth", &[], "").trim().parse().expect("a number")
    }

    /// Takes all that waits.
    pub(crate) fn drain(&self) -> Vec<Value> {
        self.client("drain", &[], "").lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    fn client(&self, what: &str, words: &[&str], input: &str) -> String {
        client(&self.rabbit.url(), what, &self.name, words, input)
    }
}

/// What the client says of doing this to a queue.
fn client(url: &str, what: &str, queue: &str, words: &[&str], input: &str) -> String {
    let mut child = Command::new(queue_client("python"))
        .args(["-c", include_str!("client.py"), what, url, queue])
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("Python starts");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_owned();
    let feeding = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("Python ends");
    let _ = feeding.join();
    assert!(output.status.success(), "{what} {queue}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}
