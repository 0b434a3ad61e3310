//! The first list: from the start of the process to the last byte of a list of everything. `find` tells size and time of
//! every file too; a Node server that reads and stats the folder when asked is what people write instead, and it does so
//! again for each list after the first.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::clock::in_turn;
use crate::harness::{Aim, Bench, Row};
use crate::program::Ambassador;
use crate::sample::Sample;
use crate::{http, tree};

/// The other server.
const LISTING: &str = include_str!("../../peers/listing.mjs");
/// More runs than this of something that takes so long tell nothing new.
const LONG_RUNS: usize = 3;

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (files, runs) in [(100_000, bench.runs()), (1_000_000, bench.runs().min(LONG_RUNS))] {
        let files = bench.scaled(files);
        bench.say(format_args!("  a folder of {files} files"));
        let root = tree::of(bench.scratch(), files)?;
        let (ours, find) = in_turn(runs, || first_list(bench, &root, files), || run_find(&root, files))?;
        let work = format!("first list of {files} files");
        rows.push(Row { work, ours, peer: Some(("find -printf", find)), aim: Aim::AtMostTimes(1.5) });
        let (mut again, mut node_again) = (Vec::new(), Vec::new());
        let (ours, node) = in_turn(
            runs,
            || {
                let ambassador = Ambassador::start(bench, &root, &[])?;
                ambassador.list(files)?;
                let first = ambassador.began().elapsed();
                again.push(timed(ambassador.contract, "/v1/items")?);
                Ok(first)
            },
            || {
                let (first, second) = run_node(bench, &root, files)?;
                node_again.push(second);
                Ok(first)
            },
        )?;
        let mut row = |work: &str, ours, node| {
            let work = format!("{work} of {files} files by HTTP");
            rows.push(Row { work, ours, peer: Some(("Node readdir+stat", node)), aim: Aim::TimesFaster(10.0) });
        };
        row("first list", ours, node);
        row("each list after it", Sample::seconds(&again), Sample::seconds(&node_again));
    }
    Ok(rows)
}

fn first_list(bench: &Bench, root: &Path, files: usize) -> Result<Duration> {
    let ambassador = Ambassador::start(bench, root, &[])?;
    let list = ambassador.list(files)?;
    let took = ambassador.began().elapsed();
    let list: serde_json::Value = serde_json::from_slice(&list.body).context("read the list")?;
    let names = list.get("items").and_then(|items| items.as_array()).map_or(0, Vec::len);
    ensure!(names == files, "{names} names are listed, not {files}");
    Ok(took)
}

fn run_find(root: &Path, files: usize) -> Result<Duration> {
    let began = Instant::now();
    let found = Command::new("find")
        .arg(root)
        .args(["-type", "f", "-printf", "%P %s %T@\\n"])
        .stdin(Stdio::null())
        .output()
        .context("run find (scripts/setup find)")?;
    let took = began.elapsed();
    let lines = found.stdout.iter().filter(|byte| **byte == b'\n').count();
    ensure!(lines == files, "find told of {lines} files, not {files}");
    Ok(took)
}

fn timed(address: SocketAddr, path: &str) -> Result<Duration> {
    let began = Instant::now();
    let answer = http::get(address, path, &[])?;
    let took = began.elapsed();
    ensure!(answer.status == 200, "{path} is answered {}", answer.status);
    Ok(took)
}

/// How long until its first list, and how long another takes.
fn run_node(bench: &Bench, root: &Path, files: usize) -> Result<(Duration, Duration)> {
    let script = bench.scratch().join("listing.mjs");
    std::fs::write(&script, LISTING).context("write the peer")?;
    let began = Instant::now();
    let mut node = Command::new("node");
    node.arg(&script).arg(root).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut server = Server(node.spawn().context("run node (scripts/setup node)")?);
    let mut address = String::new();
    BufReader::new(server.0.stdout.as_mut().context("its output is ours")?.by_ref()).read_line(&mut address)?;
    let address = address.trim().parse().context("read where it listens")?;
    let answer = http::get(address, "/", &[])?;
    let took = began.elapsed();
    let list: serde_json::Value = serde_json::from_slice(&answer.body).context("read its list")?;
    let entries = list.as_array().map_or(0, Vec::len);
    ensure!(entries == files, "Node listed {entries} files, not {files}");
    Ok((took, timed(address, "/")?))
}

/// A child that does not outlive us.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // Fails when it has ended by itself; either way it is reaped.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
