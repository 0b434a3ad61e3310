//! Memory with an empty folder and with a million files, and how long it takes until an empty folder is served.

use anyhow::Result;

use crate::harness::{Aim, Bench, Row};
use crate::program::Ambassador;
use crate::sample::{Sample, Unit};
use crate::{http, tree};

/// Starts are short, and worth more than a few looks.
const STARTS: usize = 20;

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let empty = bench.scratch().join("empty");
    std::fs::create_dir_all(&empty)?;
    let (mut starts, mut idle) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let ambassador = Ambassador::start(bench, &empty, &[])?;
        starts.push(ambassador.ready()?);
        idle.push(ambassador.resident()?);
    }
    let files = bench.scaled(1_000_000);
    let root = tree::of(bench.scratch(), files)?;
    let ambassador = Ambassador::start(bench, &root, &["--rescan", "1h"])?;
    ambassador.ready()?;
    let listed = ambassador.resident()?;
    ambassador.list(files)?;
    http::get(ambassador.probes, "/metrics", &[])?;
    let served = ambassador.resident()?;
    let bytes = |value| Sample::new(Unit::Bytes, vec![value]);
    let row = |work: String, ours, aim| Row { work, ours, peer: None, aim };
    Ok(vec![
        row("start → ready, empty folder".into(), Sample::seconds(&starts), Aim::AtMost(0.050)),
        row("memory (RSS), empty folder".into(), Sample::new(Unit::Bytes, idle), Aim::AtMost(10e6)),
        row(format!("memory (RSS), {files} files listed"), bytes(listed), Aim::AtMost(150e6)),
        row("the same, after the whole list was served".into(), bytes(served), Aim::AtMost(150e6)),
    ])
}
