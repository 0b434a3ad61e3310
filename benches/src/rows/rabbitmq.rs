//! A RabbitMQ queue, emptied: beside a bare loop of lapin, and beside a Python processor that takes one message at a time.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use test_servers::{RabbitMq, queue_client};

use super::queue::{Broker, IN_FLIGHT, Peer, WINDOW, emptied};
use crate::harness::{Aim, Bench, Row};
use crate::program::Ambassador;

/// A classic queue, which costs the broker least.
struct Field<'a> {
    bench: &'a Bench,
    rabbit: RabbitMq,
}

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let bare = bench.program("examples/bare-lapin")?;
    let field = Field { bench, rabbit: RabbitMq::start(&[]) };
    let url = field.rabbit.url();
    let lapin = |prefetch: usize| {
        let (bare, url) = (bare.clone(), url.clone());
        move |queue: &str, count: usize| {
            let mut command = Command::new(&bare);
            command.env("LONGSHORE_URL", &url).args(["--queue", queue, "--prefetch", &prefetch.to_string()]);
            command.args(["--count", &count.to_string()]);
            command
        }
    };
    let mut rows = Vec::new();
    for in_flight in IN_FLIGHT {
        let peers = [
            Peer { name: "bare lapin, the same window", aim: Aim::RateTimes(0.7), command: Box::new(lapin(WINDOW)) },
            Peer { name: "bare lapin, as many in flight", aim: Aim::Stated, command: Box::new(lapin(in_flight)) },
            Peer {
                name: "pika, one at a time",
                aim: Aim::Stated,
                command: Box::new(|queue, count| field.pika("process", queue, count)),
            },
        ];
        rows.extend(emptied(bench, "a RabbitMQ queue", &field, in_flight, &peers)?);
    }
    Ok(rows)
}

impl Field<'_> {
    fn pika(&self, what: &str, queue: &str, count: usize) -> Command {
        let mut command = Command::new(queue_client("python"));
        command.args(["-c", include_str!("../../peers/pika_queue.py"), what, queue, &count.to_string()]);
        command.env("LONGSHORE_URL", self.rabbit.url()).stdin(Stdio::null());
        command
    }
}

impl Broker for Field<'_> {
    fn filled(&self, count: usize) -> Result<String> {
        let queue = format!("bench-{:016x}", fastrand::u64(..));
        let ended = self.pika("fill", &queue, count).status().context("start pika")?;
        ensure!(ended.success(), "pika ends with {ended}");
        Ok(queue)
    }

    fn ambassador(&self, queue: &str) -> Result<Ambassador> {
        Ambassador::of(self.bench, "rabbitmq-ambassador", |command| {
            command.env("LONGSHORE_URL", self.rabbit.url()).args(["--queue", queue, "--window", &WINDOW.to_string()]);
        })
    }

    fn left(&self, queue: &str) -> Result<usize> {
        let asked = self.pika("left", queue, 0).output().context("start pika")?;
        ensure!(asked.status.success(), "pika ends with {}", asked.status);
        String::from_utf8_lossy(&asked.stdout).trim().parse().context("pika says how many are left")
    }
}
