//! A Redis list and a stream, emptied: beside bare loops of the redis crate.

use std::process::Command;

use anyhow::{Context, Result};
use test_servers::Redis;

use super::queue::{Broker, IN_FLIGHT, Peer, WINDOW, emptied};
use crate::harness::{Aim, Bench, Row};
use crate::program::Ambassador;

const GROUP: &str = "bench";
/// So many values of 41 bytes each.
const FILL: &str = "for n = 0, ARGV[1] - 1 do
    local value = string.format('s3://videos/camera-%04d/clip-%08d.mp4', n / 1000, n)
    if ARGV[2] == '--list' then redis.call('RPUSH', KEYS[1], value) else redis.call('XADD', KEYS[1], '*', 'value', value) end
end";

/// Keys of one kind.
struct Field<'a> {
    bench: &'a Bench,
    redis: &'a Redis,
    /// `--list` or `--stream`.
    kind: &'static str,
}

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let bare = bench.program("examples/bare-redis")?;
    let redis = Redis::start(&[]);
    let kinds = [("a Redis list", "--list", "LMOVE and LREM"), ("a Redis stream", "--stream", "XREADGROUP and XACK")];
    let mut rows = Vec::new();
    for (what, kind, name) in kinds {
        let field = Field { bench, redis: &redis, kind };
        for in_flight in IN_FLIGHT {
            let command = |key: &str, count: usize| {
                let mut command = Command::new(&bare);
                command.env("LONGSHORE_URL", redis.url()).args([kind, key, "--group", GROUP]);
                command.args(["--window", &WINDOW.to_string(), "--in-flight", &in_flight.to_string()]);
                command.args(["--count", &count.to_string()]);
                command
            };
            let peers = [Peer { name, aim: Aim::RateTimes(0.7), command: Box::new(command) }];
            rows.extend(emptied(bench, what, &field, in_flight, &peers)?);
        }
    }
    Ok(rows)
}

impl Broker for Field<'_> {
    fn filled(&self, count: usize) -> Result<String> {
        let key = format!("bench-{:016x}", fastrand::u64(..));
        self.redis.ask(&["EVAL", FILL, "1", &key, &count.to_string(), self.kind]);
        if self.kind == "--stream" {
            self.redis.ask(&["XGROUP", "CREATE", &key, GROUP, "0"]);
        }
        Ok(key)
    }

    fn ambassador(&self, key: &str) -> Result<Ambassador> {
        Ambassador::of(self.bench, "redis-ambassador", |command| {
            command.env("LONGSHORE_URL", self.redis.url()).args([self.kind, key, "--window", &WINDOW.to_string()]);
            if self.kind == "--stream" {
                command.args(["--group", GROUP]);
            }
        })
    }

    fn left(&self, key: &str) -> Result<usize> {
        let number = |words: &[&str]| -> Result<usize> {
            let said = self.redis.ask(words);
            said.lines().next().and_then(|line| line.trim().parse().ok()).with_context(|| format!("{words:?}: {said}"))
        };
        Ok(match self.kind {
            "--list" => number(&["LLEN", key])? + number(&["HLEN", &format!("{{{key}}}:longshore:values")])?,
            _ => number(&["XPENDING", key, GROUP])?,
        })
    }
}
