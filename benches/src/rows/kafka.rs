//! A topic as a list: beside kcat, which reads it; items of it, beside a source that has them in memory; and what memory it takes.

use std::fs;
use std::io::{BufWriter, Write as _};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde::Deserialize;
use test_servers::{Kafka, KafkaListener, KafkaOptions, queue_client};

use super::s3::watch;
use crate::group::Group;
use crate::harness::{Aim, Bench, Row};
use crate::http::Connection;
use crate::program::Ambassador;
use crate::sample::{Sample, Unit};

const RECORDS: usize = 1_000_000;
const MANY: usize = 10_000_000;
const IN_ORDER: usize = 100_000;
const AT_RANDOM: usize = 10_000;
const PARTITIONS: u32 = 4;
/// Those of a manager that has so many slots.
const CONNECTIONS: usize = 8;
/// What a container with this limit has for everything.
const LIMIT: u64 = 64 << 20;

/// A broker, and those who ask it.
struct Field<'a> {
    bench: &'a Bench,
    kafka: Kafka,
}

/// What reading a topic to its end took.
struct Cost {
    took: Duration,
    /// Bytes, at the peak.
    memory: f64,
}

#[derive(Deserialize)]
struct List {
    items: Vec<String>,
}

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let field = Field { bench, kafka: Kafka::start(KafkaOptions::default()) };
    let records = bench.scaled(RECORDS);
    let topic = field.filled(records)?;
    let mut rows = field.index(&topic, records)?;
    rows.extend(field.items(&topic, records)?);
    field.kafka.delete_topic(&topic);
    let many = bench.scaled(MANY);
    rows.extend(field.many(&field.filled(many)?, many)?);
    Ok(rows)
}

impl Field<'_> {
    /// A topic of so many small records.
    fn filled(&self, records: usize) -> Result<String> {
        self.bench.say(format_args!("write {records} records"));
        let topic = self.kafka.topic(PARTITIONS);
        let mut kcat = self.kcat(&["-P", "-X", "acks=all", "-X", "linger.ms=20"], &topic);
        let mut kcat = kcat.stdin(Stdio::piped()).spawn().context("start kcat")?;
        let mut lines = BufWriter::with_capacity(1 << 20, kcat.stdin.take().context("kcat reads")?);
        for n in 0..records {
            writeln!(lines, "s3://videos/camera-{:04}/clip-{n:08}.mp4", n / 1000).context("write to kcat")?;
        }
        drop(lines.into_inner().context("write to kcat")?);
        let ended = kcat.wait().context("wait for kcat")?;
        ensure!(ended.success(), "kcat ends with {ended}");
        let there: u64 = self.kafka.end_offsets(&topic).into_iter().sum();
        ensure!(there == records as u64, "{there} of {records} records were written");
        Ok(topic)
    }

    fn kcat(&self, flags: &[&str], topic: &str) -> Command {
        let mut kcat = Command::new(queue_client("kcat"));
        kcat.args(flags).args(["-q", "-b", &self.kafka.bootstrap(KafkaListener::Plain), "-t", topic]);
        kcat
    }

    fn ambassador(&self, topic: &str, group: Option<&Group>) -> Result<Ambassador> {
        let brokers = self.kafka.bootstrap(KafkaListener::Plain);
        Ambassador::of(self.bench, "kafka-ambassador", |command| {
            if let Some(group) = group {
                group.hold(command);
            }
            command.args(["--brokers", &brokers, "--topic", topic]);
        })
    }

    /// From the start to the last byte of the list.
    fn listed(&self, topic: &str, records: usize) -> Result<Cost> {
        let ambassador = self.ambassador(topic, None)?;
        ambassador.list(records)?;
        Ok(Cost { took: ambassador.began().elapsed(), memory: ambassador.peak()? })
    }

    /// From the start to the end of all partitions.
    fn consumed(&self, topic: &str) -> Result<Cost> {
        let mut kcat = self.kcat(&["-C", "-e"], topic);
        kcat.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let began = Instant::now();
        let (took, memory) = watch(kcat.spawn().context("start kcat")?, began)?;
        Ok(Cost { took, memory })
    }

    fn index(&self, topic: &str, records: usize) -> Result<Vec<Row>> {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        self.consumed(topic)?;
        self.listed(topic, records)?;
        for _ in 0..self.bench.runs() {
            theirs.push(self.consumed(topic)?);
            ours.push(self.listed(topic, records)?);
        }
        let work = format!("index and list {records} records");
        Ok(vec![
            Row {
                work: work.clone(),
                ours: time(&ours),
                peer: Some(("kcat -C -e", time(&theirs))),
                aim: Aim::AtMostTimes(1.2),
            },
            Row {
                work: format!("memory at most: {work}"),
                ours: memory(&ours),
                peer: Some(("kcat -C -e", memory(&theirs))),
                aim: Aim::Stated,
            },
        ])
    }

    fn items(&self, topic: &str, records: usize) -> Result<Vec<Row>> {
        let ambassador = self.ambassador(topic, None)?;
        let list = ambassador.list(records)?;
        let names = serde_json::from_slice::<List>(&list.body).context("read the list")?.items;
        let count = self.bench.scaled(IN_ORDER);
        let first = names.get(..count).context("there are so many")?;
        let held = self.held(&ambassador, first)?;
        ask_all(held.contract, first)?;
        let (mut ours, mut theirs, mut random) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..self.bench.runs() {
            theirs.push(ask_all(held.contract, first)?);
            ours.push(ask_all(ambassador.contract, first)?);
        }
        for _ in 0..self.bench.runs() {
            let drawn = (0..self.bench.scaled(AT_RANDOM)).filter_map(|_| names.get(fastrand::usize(..names.len())));
            random.push(ask_all(ambassador.contract, &drawn.cloned().collect::<Vec<_>>())?);
        }
        let per_second = |rates| Sample::new(Unit::PerSecond, rates);
        let bytes = |bytes| Sample::new(Unit::Bytes, vec![bytes]);
        Ok(vec![
            Row {
                work: format!("GET of {count} records in order, {CONNECTIONS} connections"),
                ours: per_second(ours),
                peer: Some(("held in memory", per_second(theirs))),
                aim: Aim::RateTimes(0.7),
            },
            Row {
                work: format!("GET of {} of {records} at random, the same", self.bench.scaled(AT_RANDOM)),
                ours: per_second(random),
                peer: None,
                aim: Aim::Stated,
            },
            Row {
                work: "memory at most: all of that".to_owned(),
                ours: bytes(ambassador.peak()?),
                peer: Some(("held in memory", bytes(held.peak()?))),
                aim: Aim::Stated,
            },
        ])
    }

    /// A source that has these items in memory, as the ambassador tells them.
    fn held(&self, ambassador: &Ambassador, names: &[String]) -> Result<Ambassador> {
        let path = self.bench.scratch().join("items.ndjson");
        let mut file = BufWriter::new(fs::File::create(&path).context("make a file of items")?);
        let (mut connection, mut body) = (Connection::open(ambassador.contract)?, Vec::new());
        for name in names {
            let status = connection.get(&format!("/v1/items/{name}"), &mut body)?;
            ensure!(status == 200, "{name} is answered {status}");
            writeln!(file, "{}", String::from_utf8_lossy(body.trim_ascii())).context("write a file of items")?;
        }
        file.flush().context("write a file of items")?;
        let held = Ambassador::of(self.bench, "held-source", |command| {
            command.arg("--items").arg(&path);
        })?;
        held.ready()?;
        Ok(held)
    }

    /// A topic that is read and listed by one who may not take more.
    fn many(&self, topic: &str, records: usize) -> Result<Vec<Row>> {
        let theirs = self.consumed(topic)?;
        let group = Group::of(LIMIT)?;
        let ambassador = self.ambassador(topic, Some(&group))?;
        ambassador.list(records)?;
        let ours = Cost { took: ambassador.began().elapsed(), memory: ambassador.peak()? };
        let all = Sample::new(Unit::Bytes, vec![group.peak()?]);
        drop(ambassador);
        let work = format!("index and list {records} records in {} MiB", LIMIT >> 20);
        #[expect(clippy::cast_precision_loss, reason = "far less than 2^52")]
        let limit = LIMIT as f64;
        Ok(vec![
            Row {
                work: work.clone(),
                ours: time(&[&ours]),
                peer: Some(("kcat -C -e", time(&[&theirs]))),
                aim: Aim::Stated,
            },
            Row {
                work: format!("memory at most: {work}"),
                ours: memory(&[&ours]),
                peer: Some(("kcat -C -e", memory(&[&theirs]))),
                aim: Aim::AtMost(limit),
            },
            Row { work: "the same, its control group".to_owned(), ours: all, peer: None, aim: Aim::AtMost(limit) },
        ])
    }
}

fn time<C: std::borrow::Borrow<Cost>>(costs: &[C]) -> Sample {
    Sample::seconds(&costs.iter().map(|cost| cost.borrow().took).collect::<Vec<_>>())
}

fn memory<C: std::borrow::Borrow<Cost>>(costs: &[C]) -> Sample {
    Sample::new(Unit::Bytes, costs.iter().map(|cost| cost.borrow().memory).collect())
}

/// Asks for these items in their order, over several connections; how many came a second.
fn ask_all(address: SocketAddr, names: &[String]) -> Result<f64> {
    let next = AtomicUsize::new(0);
    let ask = || {
        let (mut connection, mut body) = (Connection::open(address)?, Vec::new());
        while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
            let status = connection.get(&format!("/v1/items/{name}"), &mut body)?;
            ensure!(status == 200, "{name} is answered {status}");
        }
        Ok(())
    };
    let began = Instant::now();
    thread::scope(|scope| {
        let asking: Vec<_> = (0..CONNECTIONS).map(|_| scope.spawn(ask)).collect();
        let ended = asking.into_iter().map(|asking| asking.join().map_err(|_| anyhow!("a defect of the bench"))?);
        ended.collect::<Result<()>>()
    })?;
    #[expect(clippy::cast_precision_loss, reason = "far less than 2^52")]
    let count = names.len() as f64;
    Ok(count / began.elapsed().as_secs_f64())
}
