//! A queue that is emptied: by ours, asked as a manager asks, and by others, in turn.

use std::collections::{HashSet, VecDeque};
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde::Deserialize;

use super::s3::watch;
use crate::harness::{Aim, Bench, Row};
use crate::http::Connection;
use crate::program::Ambassador;
use crate::sample::{Sample, Unit};

/// What the bare loops are to be held to.
pub(super) const AIM: Aim = Aim::RateTimes(0.7);
/// How many messages are worked on at once, one measurement for each.
pub(super) const IN_FLIGHT: [usize; 2] = [1, 8];
/// How long a manager that has found nothing new does not ask.
const PAUSE: Duration = Duration::from_micros(200);

/// What is to be emptied, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// Messages in the queue.
    pub(super) count: usize,
    /// Bytes of each; 41 at least.
    pub(super) size: usize,
    /// How many are taken and not settled, by all who can be told.
    pub(super) window: usize,
    /// How many are worked on at once.
    pub(super) in_flight: usize,
}

impl Load {
    /// Small messages, and the ambassadors' own window.
    pub(super) fn small(bench: &Bench, in_flight: usize) -> Self {
        Self { count: bench.scaled(20_000), size: 41, window: 100, in_flight }
    }

    fn connections(&self) -> String {
        if self.in_flight == 1 { "a connection".to_owned() } else { format!("{} connections", self.in_flight) }
    }
}

/// A broker, and how a queue of it is filled and emptied.
pub(super) trait Broker {
    /// A queue of what nobody has taken; its name.
    fn filled(&self, load: &Load) -> Result<String>;
    /// An ambassador of it.
    fn ambassador(&self, queue: &str, load: &Load) -> Result<Ambassador>;
    /// How many messages of it are not settled.
    fn left(&self, queue: &str) -> Result<usize>;
}

/// What else empties a queue.
pub(super) struct Peer<'a> {
    pub(super) name: &'static str,
    pub(super) aim: Aim,
    /// Whether its memory is told too.
    pub(super) is_weighed: bool,
    pub(super) command: Emptying<'a>,
}

/// What empties the queue of this name and of so many messages, and writes the seconds it took to stdout.
pub(super) type Emptying<'a> = Box<dyn Fn(&str, usize) -> Command + 'a>;

/// What emptying a queue took.
struct Cost {
    /// Messages a second.
    rate: f64,
    /// Bytes, at the peak.
    memory: f64,
}

#[derive(Deserialize)]
struct List {
    items: Vec<String>,
}

/// Empties queues by so many connections of a manager, by each of the others, and the same items out of memory, in turn.
pub(super) fn emptied(
    bench: &Bench,
    what: &str,
    broker: &impl Broker,
    load: &Load,
    peers: &[Peer<'_>],
) -> Result<Vec<Row>> {
    let (mut ours, mut held) = (Vec::new(), Vec::new());
    let mut theirs = peers.iter().map(|_| Vec::new()).collect::<Vec<_>>();
    let items = bench.scratch().join("items.ndjson");
    for run in 0..=bench.runs() {
        bench.say(format_args!("{what}, {} in flight: run {run} of {}", load.in_flight, bench.runs()));
        // The first of each does not count.
        let counts = run > 0;
        for (peer, costs) in peers.iter().zip(&mut theirs) {
            let cost = by(peer, broker, load).with_context(|| peer.name)?;
            costs.extend(counts.then_some(cost));
        }
        let cost = by_ours(broker, load, (!counts).then_some(items.as_path()))?;
        ours.extend(counts.then_some(cost));
        let cost = out_of_memory(bench, &items, load)?;
        held.extend(counts.then_some(cost));
    }
    let work = format!("GET and DELETE of {} messages of {what}, {}", load.count, load.connections());
    let mut rows = Vec::new();
    for (peer, theirs) in peers.iter().zip(&theirs) {
        rows.push(Row { work: work.clone(), ours: rate(&ours), peer: Some((peer.name, rate(theirs))), aim: peer.aim });
    }
    let peer = Some(("held in memory, the same kit", rate(&held)));
    rows.push(Row { work: work.clone(), ours: rate(&ours), peer, aim: Aim::Stated });
    for (peer, theirs) in peers.iter().zip(&theirs).filter(|(peer, _)| peer.is_weighed) {
        rows.push(Row {
            work: format!("memory at most: {work}"),
            ours: memory(&ours),
            peer: Some((peer.name, memory(theirs))),
            aim: Aim::Stated,
        });
    }
    Ok(rows)
}

/// As [`emptied`], by ours and by one other, without an aim: a row.
pub(super) fn beside(bench: &Bench, what: String, broker: &impl Broker, load: &Load, peer: &Peer<'_>) -> Result<Row> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for run in 0..=bench.runs() {
        bench.say(format_args!("{what}: run {run} of {}", bench.runs()));
        let costs = (by(peer, broker, load).with_context(|| peer.name)?, by_ours(broker, load, None)?);
        if run > 0 {
            theirs.push(costs.0);
            ours.push(costs.1);
        }
    }
    Ok(Row { work: what, ours: rate(&ours), peer: Some((peer.name, rate(&theirs))), aim: Aim::Stated })
}

fn by(peer: &Peer<'_>, broker: &impl Broker, load: &Load) -> Result<Cost> {
    let queue = broker.filled(load)?;
    let mut command = (peer.command)(&queue, load.count);
    let began = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("start it")?;
    let mut out = child.stdout.take().context("it says how long it took")?;
    let (_, memory) = watch(child, began)?;
    let mut said = String::new();
    out.read_to_string(&mut said).context("read how long it took")?;
    let seconds: f64 = said.trim().parse().with_context(|| format!("it says {said:?}"))?;
    emptied_indeed(broker, &queue)?;
    Ok(Cost { rate: per_second(load.count, Duration::from_secs_f64(seconds)), memory })
}

/// Writes the items down as it tells them, a line each, where there is a path for it.
fn by_ours(broker: &impl Broker, load: &Load, items: Option<&Path>) -> Result<Cost> {
    let queue = broker.filled(load)?;
    let ambassador = broker.ambassador(&queue, load)?;
    ambassador.list(load.count.min(load.window))?;
    let items = items.map(File::create).transpose().context("make a file of items")?.map(BufWriter::new);
    let items = items.map(Mutex::new);
    let took = settle_all(ambassador.contract, load.count, load.in_flight, items.as_ref())?;
    if let Some(items) = items {
        items.into_inner().unwrap_or_else(PoisonError::into_inner).flush().context("write a file of items")?;
    }
    let memory = ambassador.peak()?;
    // What it still held would be there again.
    drop(ambassador);
    emptied_indeed(broker, &queue)?;
    Ok(Cost { rate: per_second(load.count, took), memory })
}

/// What the same costs where nobody has to be asked for it.
fn out_of_memory(bench: &Bench, items: &Path, load: &Load) -> Result<Cost> {
    let held = Ambassador::of(bench, "held-source", |command| {
        command.arg("--items").arg(items).args(["--window", &load.window.to_string()]);
    })?;
    held.ready()?;
    let took = settle_all(held.contract, load.count, load.in_flight, None)?;
    Ok(Cost { rate: per_second(load.count, took), memory: held.peak()? })
}

/// Gets and settles so many items, over so many connections; what was got is written down, a line each, where there is a place for it. How
/// long it took.
pub(super) fn settle_all(
    address: SocketAddr,
    count: usize,
    connections: usize,
    told: Option<&Mutex<BufWriter<File>>>,
) -> Result<Duration> {
    let list = Listed { found: Mutex::default(), count };
    let work = || {
        let (mut connection, mut body) = (Connection::open(address)?, Vec::new());
        while let Some(name) = list.next(&mut connection, &mut body)? {
            let path = format!("/v1/items/{name}");
            let status = connection.get(&path, &mut body)?;
            ensure!(status == 200, "{name} is answered {status}");
            if let Some(told) = told {
                // As the contract has it, with a newline behind it.
                told.lock().unwrap_or_else(PoisonError::into_inner).write_all(&body).context("write an item down")?;
            }
            let status = connection.delete(&path, &mut body)?;
            ensure!(status == 204, "to settle {name} is answered {status}");
        }
        Ok(())
    };
    let began = Instant::now();
    thread::scope(|scope| {
        let working: Vec<_> = (0..connections).map(|_| scope.spawn(work)).collect();
        let ended = working.into_iter().map(|working| working.join().map_err(|_| anyhow!("a defect of the bench"))?);
        ended.collect::<Result<()>>()
    })?;
    Ok(began.elapsed())
}

/// What a manager has seen in the list.
struct Listed {
    found: Mutex<Found>,
    /// How many there are in all.
    count: usize,
}

#[derive(Default)]
struct Found {
    waiting: VecDeque<String>,
    ever: HashSet<String>,
}

impl Listed {
    /// An item that nobody works on, from the next list if need be; none when there will be none.
    fn next(&self, connection: &mut Connection, body: &mut Vec<u8>) -> Result<Option<String>> {
        loop {
            {
                let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
                if found.waiting.is_empty() && found.ever.len() < self.count {
                    let status = connection.get("/v1/items?limit=1000", body)?;
                    ensure!(status == 200, "the list is answered {status}");
                    for name in serde_json::from_slice::<List>(body).context("read the list")?.items {
                        if found.ever.insert(name.clone()) {
                            found.waiting.push_back(name);
                        }
                    }
                }
                if let Some(name) = found.waiting.pop_front() {
                    return Ok(Some(name));
                }
                if found.ever.len() >= self.count {
                    return Ok(None);
                }
            }
            thread::sleep(PAUSE);
        }
    }
}

/// Nobody is done before nothing is left; what was settled last may be on its way.
fn emptied_indeed(broker: &impl Broker, queue: &str) -> Result<()> {
    let began = Instant::now();
    loop {
        match broker.left(queue)? {
            0 => return Ok(()),
            left => ensure!(began.elapsed() < Duration::from_secs(30), "{left} messages are left"),
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn per_second(count: usize, took: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "far less than 2^52")]
    let count = count as f64;
    count / took.as_secs_f64()
}

fn rate(costs: &[Cost]) -> Sample {
    Sample::new(Unit::PerSecond, costs.iter().map(|cost| cost.rate).collect())
}

fn memory(costs: &[Cost]) -> Sample {
    Sample::new(Unit::Bytes, costs.iter().map(|cost| cost.memory).collect())
}
