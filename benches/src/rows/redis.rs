//! A Redis list and a stream, emptied: beside bare loops of the redis crate.

use std::process::Command;

use anyhow::{Context, Result};
use test_servers::Redis;

use super::queue::{AIM, Broker, IN_FLIGHT, Load, Peer, emptied};
use crate::harness::{Bench, Row};
use crate::program::Ambassador;

const GROUP: &str = "bench";
/// So many values of so many bytes each, 41 at least.
const FILL: &str = "for n = 0, ARGV[1] - 1 do
    local value = string.format('s3://videos/camera-%04d/clip-%08d.mp4', n / 1000, n)
    value = value .. string.rep('x', ARGV[3] - #value)
    if ARGV[2] == '--list' then redis.call('RPUSH', KEYS[1], value) else redis.call('XADD', KEYS[1], '*', 'value', value) end
end";

/// Keys of one kind.
pub(super) struct Field<'a> {
    pub(super) bench: &'a Bench,
    pub(super) redis: &'a Redis,
    /// `--list` or `--stream`.
    pub(super) kind: &'static str,
}

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let redis = Redis::start(&[]);
    let (list, stream) =
        (Field { bench, redis: &redis, kind: "--list" }, Field { bench, redis: &redis, kind: "--stream" });
    let mut rows = Vec::new();
    for in_flight in IN_FLIGHT {
        let load = Load::small(bench, in_flight);
        let (alone, many) = (in_flight == 1, in_flight > 1);
        let mut peers = vec![list.peer("one loop of LMOVE and LREM", 1, 1)?];
        if many {
            peers.push(list.peer("8 loops of LMOVE and LREM on a connection", in_flight, in_flight)?);
        }
        weigh_the_last(&mut peers);
        rows.extend(emptied(bench, "a Redis list", &list, &load, &peers)?);
        let mut peers = vec![stream.peer("one loop of XREADGROUP COUNT 1 and XACK", 1, 1)?];
        if alone {
            peers.push(stream.peer("one loop of XREADGROUP COUNT 100 and an XACK each", load.window, 1)?);
        } else {
            peers.push(stream.peer("8 such loops on a connection", in_flight, in_flight)?);
            peers.push(stream.peer(
                "8 loops of XREADGROUP COUNT 13 and an XACK each, on a connection",
                load.window,
                in_flight,
            )?);
        }
        weigh_the_last(&mut peers);
        rows.extend(emptied(bench, "a Redis stream", &stream, &load, &peers)?);
    }
    Ok(rows)
}

fn weigh_the_last(peers: &mut [Peer<'_>]) {
    if let Some(last) = peers.last_mut() {
        last.is_weighed = true;
    }
}

impl Field<'_> {
    /// So many loops on one connection, which take so many entries of a stream ahead, all together.
    pub(super) fn peer(&self, name: &'static str, window: usize, loops: usize) -> Result<Peer<'_>> {
        let bare = self.bench.program("examples/bare-redis")?;
        let command = move |key: &str, count: usize| {
            let mut command = Command::new(&bare);
            command.env("LONGSHORE_URL", self.redis.url()).args([self.kind, key, "--group", GROUP]);
            command.args(["--window", &window.to_string(), "--in-flight", &loops.to_string()]);
            command.args(["--count", &count.to_string()]);
            command
        };
        Ok(Peer { name, aim: AIM, is_weighed: false, command: Box::new(command) })
    }
}

impl Broker for Field<'_> {
    fn filled(&self, load: &Load) -> Result<String> {
        let key = format!("bench-{:016x}", fastrand::u64(..));
        self.redis.ask(&["EVAL", FILL, "1", &key, &load.count.to_string(), self.kind, &load.size.to_string()]);
        if self.kind == "--stream" {
            self.redis.ask(&["XGROUP", "CREATE", &key, GROUP, "0"]);
        }
        Ok(key)
    }

    fn ambassador(&self, key: &str, load: &Load) -> Result<Ambassador> {
        Ambassador::of(self.bench, "redis-ambassador", |command| {
            command.env("LONGSHORE_URL", self.redis.url()).args([self.kind, key, "--window", &load.window.to_string()]);
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
