//! Queues of another kind, by other windows and of larger messages; and what remembering the names of what was settled takes.

use anyhow::Result;
use test_servers::{RabbitMq, Redis};

use super::queue::{Broker, Load, beside, settle_all};
use super::{rabbitmq, redis};
use crate::harness::{Aim, Bench, Row};
use crate::sample::{Sample, Unit};

const SMALL: usize = 41;
const IN_FLIGHT: usize = 8;
/// How many names of settled messages an ambassador of a queue remembers.
const REMEMBERED: usize = 65_536;

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let (rabbit, redis) = (RabbitMq::start(&[]), Redis::start(&[]));
    let queue = |kind| rabbitmq::Field { bench, rabbit: &rabbit, kind };
    let (classic, quorum) = (queue("classic"), queue("quorum"));
    let key = |kind| redis::Field { bench, redis: &redis, kind };
    let (list, stream) = (key("--list"), key("--stream"));
    let of = |window, size| {
        let count = if size > 10_000 { 2_000 } else { 5_000 };
        Load { count: bench.scaled(count), size, window, in_flight: IN_FLIGHT }
    };
    let lapin = |field: &rabbitmq::Field<'_>, what: &str, load: Load| {
        let peer = field.lapin("bare lapin, the same window", load.window)?;
        beside(bench, named(what, &load), field, &load, &peer)
    };
    let bare = |field: &redis::Field<'_>, what: &str, load: Load| {
        let peer = field.peer("8 bare loops on a connection, the same window", load.window, IN_FLIGHT)?;
        beside(bench, named(what, &load), field, &load, &peer)
    };
    let mut rows = vec![lapin(&quorum, "a quorum queue of RabbitMQ", of(100, SMALL))?];
    for (window, size) in [(10, SMALL), (1_000, SMALL), (100, 4 << 10), (100, 64 << 10)] {
        rows.push(lapin(&classic, "a RabbitMQ queue", of(window, size))?);
        rows.push(bare(&list, "a Redis list", of(window, size))?);
        rows.push(bare(&stream, "a Redis stream", of(window, size))?);
    }
    rows.push(remembered(&list, of(100, SMALL))?);
    Ok(rows)
}

fn named(what: &str, load: &Load) -> String {
    let size = if load.size < 1_024 { format!("{} B", load.size) } else { format!("{} KiB", load.size >> 10) };
    format!("{what}, {size} each, window {}", load.window)
}

/// What memory grows by while so many names come to be remembered.
fn remembered(field: &redis::Field<'_>, load: Load) -> Result<Row> {
    // More than are counted on: whoever settles so many settles all of the last page that it was given.
    let queue = field.filled(&Load { count: load.count + REMEMBERED + load.window, ..load })?;
    let ambassador = field.ambassador(&queue, &load)?;
    ambassador.list(load.window)?;
    // What is used and given back again is there from then on.
    settle_all(ambassador.contract, load.count, load.in_flight, None)?;
    let before = ambassador.resident()?;
    settle_all(ambassador.contract, REMEMBERED, load.in_flight, None)?;
    let bytes = Sample::new(Unit::Bytes, vec![ambassador.resident()? - before]);
    Ok(Row { work: format!("memory for {REMEMBERED} names more"), ours: bytes, peer: None, aim: Aim::Stated })
}
