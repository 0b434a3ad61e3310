//! A topic of its own, what is written to it, and how it is served.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use ambassador_kit::source::Source;
use clap::Parser;
use contract::ItemName;
use data_encoding::BASE64;
use kafka_ambassador::{LogSource, Settings, TopicArgs};
use longshore_tests::source::{live, names};
use longshore_tests::wait_until;
use serde_json::{Value, json};
use sidecar::metrics::registry::Registry;
use test_servers::{Kafka, KafkaListener, queue_client};

/// Looks at the topic all the time.
pub(crate) const QUICK: [&str; 2] = ["--poll", "100ms"];

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    topic: TopicArgs,
}

/// A topic, by clients that are none of ours.
pub(crate) struct Topic<'a> {
    pub(crate) kafka: &'a Kafka,
    pub(crate) name: String,
}

impl Topic<'static> {
    /// On the Kafka that tests share.
    pub(crate) fn new(partitions: u32) -> Self {
        Self::of(Kafka::shared(), partitions)
    }
}

impl<'a> Topic<'a> {
    pub(crate) fn of(kafka: &'a Kafka, partitions: u32) -> Self {
        Self { kafka, name: kafka.topic(partitions) }
    }

    pub(crate) fn named(kafka: &'a Kafka, name: &str, config: &[(&str, &str)]) -> Self {
        kafka.create_topic(name, 1, config);
        Self { kafka, name: name.to_owned() }
    }

    pub(crate) fn brokers(&self) -> String {
        self.kafka.bootstrap(KafkaListener::Plain)
    }

    /// Has kcat write a record of each line to a partition.
    pub(crate) fn kcat(&self, partition: u32, lines: impl IntoIterator<Item = String>) {
        let mut kcat = Command::new(queue_client("kcat"));
        kcat.args(["-P", "-b", &self.brokers(), "-t", &self.name, "-p", &partition.to_string()]);
        // Each line once, also where it had to be sent again.
        kcat.args(["-X", "enable.idempotence=true"]);
        let text: String = lines.into_iter().map(|line| line + "\n").collect();
        feed(&mut kcat, &text);
    }

    /// Has it have so many partitions, which are known to whoever writes there when this returns.
    pub(crate) fn extend(&self, partitions: usize) {
        let mut tool = self.kafka.tool("org.apache.kafka.tools.TopicCommand");
        tool.args(["--bootstrap-server", &self.brokers(), "--alter", "--topic", &self.name]);
        let altered = tool.args(["--partitions", &partitions.to_string()]).output().expect("the tool runs");
        assert!(altered.status.success(), "{altered:?}");
        wait_until("its partitions", || (self.kafka.end_offsets(&self.name).len() == partitions).then_some(()));
    }

    /// Has kcat write one record whose headers have names that are no text.
    pub(crate) fn kcat_with_odd_headers(&self, value: &str) {
        let mut kcat = Command::new(queue_client("kcat"));
        kcat.args(["-P", "-b", &self.brokers(), "-t", &self.name, "-p", "0"]);
        for header in [&b"x\xff=first"[..], b"x\xfe=sec\xfe"] {
            kcat.arg("-H").arg(OsStr::from_bytes(header));
        }
        feed(&mut kcat, value);
    }

    /// Has confluent-kafka write what the lines say: see produce.py.
    pub(crate) fn write(&self, lines: &[Value]) {
        let mut python = Command::new(queue_client("python"));
        python.args(["-c", include_str!("produce.py"), &self.brokers(), &self.name]);
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        feed(&mut python, &text);
    }

    /// Served, and read to its end.
    pub(crate) async fn served(&self, flags: &[&str]) -> LogSource {
        self.served_slowly(&[&QUICK[..], flags].concat()).await
    }

    /// As [`served`](Self::served), looking for what has changed only as often as the flags say.
    pub(crate) async fn served_slowly(&self, flags: &[&str]) -> LogSource {
        let source = LogSource::open(settings(&self.brokers(), &self.name, flags), &mut Registry::default());
        live(&source).await;
        source
    }
}

/// What flags come to.
pub(crate) fn settings(brokers: &str, topic: &str, flags: &[&str]) -> Settings {
    let line = [&["p", "--brokers", brokers, "--topic", topic], flags].concat();
    let parsed = Line::try_parse_from(line).unwrap_or_else(|error| panic!("{error}"));
    parsed.topic.settings().unwrap_or_else(|error| panic!("{error}"))
}

fn feed(command: &mut Command, text: &str) {
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A line of produce.py: a record of a key and a value, either of which may be none.
pub(crate) fn record(partition: u32, key: Option<&[u8]>, value: Option<&[u8]>) -> Value {
    let native = |bytes: Option<&[u8]>| bytes.map(|bytes| BASE64.encode(bytes));
    json!({"partition": partition, "key": native(key), "value": native(value)})
}

/// A setting of topics that take records of any time, as all did before Kafka 4.
pub(crate) const ANY_TIME: (&str, &str) = ("message.timestamp.after.max.ms", "9223372036854775807");

/// The same record with a time in nanoseconds where milliseconds are meant: in no year that can be written.
pub(crate) fn of_no_year(mut record: Value) -> Value {
    record["timestamp"] = json!(1_763_884_800_000_000_000_i64);
    record
}

/// A token as the broker takes it unsigned: whose it is, and for how many seconds.
pub(crate) fn token(user: &str, seconds: u64) -> String {
    let encode = |text: &str| data_encoding::BASE64URL_NOPAD.encode(text.as_bytes());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock").as_secs();
    let claims = format!(r#"{{"sub":"{user}","iat":{now},"exp":{}}}"#, now + seconds);
    format!("{}.{}.", encode(r#"{"alg":"none"}"#), encode(&claims))
}

/// The data of an item.
pub(crate) async fn data(source: &impl Source, name: &ItemName) -> Value {
    Value::Object(source.get(name).await.unwrap_or_else(|error| panic!("{name}: {error:?}")).data)
}

/// The values of all that is listed, in its order.
pub(crate) async fn values(source: &impl Source) -> Vec<String> {
    let mut values = Vec::new();
    for name in names(source).await {
        values.push(data(source, &name).await["value"].as_str().expect("text").to_owned());
    }
    values
}
