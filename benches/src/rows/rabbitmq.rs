//! A RabbitMQ queue, emptied: beside a bare loop of lapin, and beside a Python processor that takes one message at a time.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use test_servers::{RabbitMq, queue_client};

use super::queue::{AIM, Broker, IN_FLIGHT, Load, Peer, emptied};
use crate::harness::{Aim, Bench, Row};
use crate::program::Ambassador;

/// Queues of one kind.
pub(super) struct Field<'a> {
    pub(super) bench: &'a Bench,
    pub(super) rabbit: &'a RabbitMq,
    /// `classic`, which costs the broker least, or `quorum`.
    pub(super) kind: &'static str,
}

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let rabbit = RabbitMq::start(&[]);
    let field = Field { bench, rabbit: &rabbit, kind: "classic" };
    let mut rows = Vec::new();
    for in_flight in IN_FLIGHT {
        let load = Load::small(bench, in_flight);
        let pika = Peer {
            name: "pika, one at a time",
            aim: Aim::Stated,
            is_weighed: true,
            command: Box::new(|queue, count| field.pika("process", queue, count, 0)),
        };
        let mut peers = vec![field.lapin("bare lapin, one in flight", 1)?];
        if in_flight > 1 {
            peers.push(field.lapin("bare lapin, 8 in flight", in_flight)?);
        }
        peers.push(Peer { is_weighed: true, ..field.lapin("bare lapin, 100 in flight", load.window)? });
        peers.push(pika);
        rows.extend(emptied(bench, "a RabbitMQ queue", &field, &load, &peers)?);
    }
    Ok(rows)
}

impl Field<'_> {
    /// A loop to which so many are on the way.
    pub(super) fn lapin(&self, name: &'static str, prefetch: usize) -> Result<Peer<'_>> {
        let bare = self.bench.program("examples/bare-lapin")?;
        let command = move |queue: &str, count: usize| {
            let mut command = Command::new(&bare);
            command.env("LONGSHORE_URL", self.rabbit.url()).args([
                "--queue",
                queue,
                "--prefetch",
                &prefetch.to_string(),
            ]);
            command.args(["--count", &count.to_string()]);
            command
        };
        Ok(Peer { name, aim: AIM, is_weighed: false, command: Box::new(command) })
    }

    fn pika(&self, what: &str, queue: &str, count: usize, size: usize) -> Command {
        let mut command = Command::new(queue_client("python"));
        command.args([
            "-c",
            include_str!("../../peers/pika_queue.py"),
            what,
            queue,
            &count.to_string(),
            &size.to_string(),
        ]);
        command.args([self.kind]).env("LONGSHORE_URL", self.rabbit.url()).stdin(Stdio::null());
        command
    }
}

impl Broker for Field<'_> {
    fn filled(&self, load: &Load) -> Result<String> {
        let queue = format!("bench-{:016x}", fastrand::u64(..));
        let ended = self.pika("fill", &queue, load.count, load.size).status().context("start pika")?;
        ensure!(ended.success(), "pika ends with {ended}");
        Ok(queue)
    }

    fn ambassador(&self, queue: &str, load: &Load) -> Result<Ambassador> {
        Ambassador::of(self.bench, "rabbitmq-ambassador", |command| {
            let (url, window) = (self.rabbit.url(), load.window.to_string());
            command.env("LONGSHORE_URL", url).args(["--queue", queue, "--window", &window]);
        })
    }

    fn left(&self, queue: &str) -> Result<usize> {
        let asked = self.pika("left", queue, 0, 0).output().context("start pika")?;
        ensure!(asked.status.success(), "pika ends with {}", asked.status);
        String::from_utf8_lossy(&asked.stdout).trim().parse().context("pika says how many are left")
    }
}
