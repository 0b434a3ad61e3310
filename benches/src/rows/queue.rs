//! A queue that is emptied: by ours, asked as a manager asks, and by others, in turn.

use std::collections::{HashSet, VecDeque};
use std::io::Read;
use std::net::SocketAddr;
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

/// Messages in a queue.
pub(super) const MESSAGES: usize = 20_000;
/// How many are taken and not settled, by all who can be told; the ambassadors' default.
pub(super) const WINDOW: usize = 100;
/// How many are worked on at once, one measurement for each.
pub(super) const IN_FLIGHT: [usize; 2] = [1, 8];
/// How long a manager that has found nothing new does not ask.
const PAUSE: Duration = Duration::from_micros(200);

/// A broker, and how a queue of it is filled and emptied.
pub(super) trait Broker {
    /// A queue of so many messages that nobody has taken; its name.
    fn filled(&self, count: usize) -> Result<String>;
    /// An ambassador of it.
    fn ambassador(&self, queue: &str) -> Result<Ambassador>;
    /// How many messages of it are not settled.
    fn left(&self, queue: &str) -> Result<usize>;
}

/// What else empties a queue.
pub(super) struct Peer<'a> {
    pub(super) name: &'static str,
    pub(super) aim: Aim,
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

/// Empties queues by so many connections of a manager, and by each of the others, in turn.
pub(super) fn emptied(
    bench: &Bench,
    what: &str,
    broker: &impl Broker,
    in_flight: usize,
    peers: &[Peer<'_>],
) -> Result<Vec<Row>> {
    let count = bench.scaled(MESSAGES);
    let (mut ours, mut theirs) = (Vec::new(), peers.iter().map(|_| Vec::new()).collect::<Vec<_>>());
    for run in 0..=bench.runs() {
        bench.say(format_args!("{what}, {in_flight} in flight: run {run} of {}", bench.runs()));
        // The first of each does not count.
        let counts = run > 0;
        for (peer, costs) in peers.iter().zip(&mut theirs) {
            let cost = by(peer, broker, count).with_context(|| peer.name)?;
            costs.extend(counts.then_some(cost));
        }
        let cost = by_ours(broker, count, in_flight)?;
        ours.extend(counts.then_some(cost));
    }
    let connections = if in_flight == 1 { "a connection" } else { &format!("{in_flight} connections") };
    let work = format!("GET and DELETE of {count} messages of {what}, {connections}");
    let mut rows = Vec::new();
    for (peer, theirs) in peers.iter().zip(&theirs) {
        rows.push(Row { work: work.clone(), ours: rate(&ours), peer: Some((peer.name, rate(theirs))), aim: peer.aim });
    }
    for (peer, theirs) in peers.iter().zip(&theirs) {
        rows.push(Row {
            work: format!("memory at most: {work}"),
            ours: memory(&ours),
            peer: Some((peer.name, memory(theirs))),
            aim: Aim::Stated,
        });
    }
    Ok(rows)
}

fn by(peer: &Peer<'_>, broker: &impl Broker, count: usize) -> Result<Cost> {
    let queue = broker.filled(count)?;
    let mut command = (peer.command)(&queue, count);
    let began = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("start it")?;
    let mut out = child.stdout.take().context("it says how long it took")?;
    let (_, memory) = watch(child, began)?;
    let mut said = String::new();
    out.read_to_string(&mut said).context("read how long it took")?;
    let seconds: f64 = said.trim().parse().with_context(|| format!("it says {said:?}"))?;
    emptied_indeed(broker, &queue)?;
    Ok(Cost { rate: per_second(count, Duration::from_secs_f64(seconds)), memory })
}

fn by_ours(broker: &impl Broker, count: usize, in_flight: usize) -> Result<Cost> {
    let queue = broker.filled(count)?;
    let ambassador = broker.ambassador(&queue)?;
    ambassador.list(count.min(WINDOW))?;
    let took = settle_all(ambassador.contract, count, in_flight)?;
    let memory = ambassador.peak()?;
    // What it still held would be there again.
    drop(ambassador);
    emptied_indeed(broker, &queue)?;
    Ok(Cost { rate: per_second(count, took), memory })
}

/// Gets and settles so many items, over so many connections. How long it took.
fn settle_all(address: SocketAddr, count: usize, connections: usize) -> Result<Duration> {
    let list = Listed { found: Mutex::default(), count };
    let work = || {
        let (mut connection, mut body) = (Connection::open(address)?, Vec::new());
        while let Some(name) = list.next(&mut connection, &mut body)? {
            let path = format!("/v1/items/{name}");
            let status = connection.get(&path, &mut body)?;
            ensure!(status == 200, "{name} is answered {status}");
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
