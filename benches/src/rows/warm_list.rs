//! The list of a million names when it is there already: whole, and as the answer that it has not changed.

use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::harness::{Aim, Bench, Row};
use crate::program::Ambassador;
use crate::sample::Sample;
use crate::{http, tree};

/// Asked so often for what takes less than a millisecond.
const SHORT_RUNS: usize = 200;

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let files = bench.scaled(1_000_000);
    let root = tree::of(bench.scratch(), files)?;
    let ambassador = Ambassador::start(bench, &root, &["--rescan", "1h"])?;
    ambassador.list(files)?;
    let mut whole = Vec::new();
    for _ in 0..bench.runs() {
        let began = Instant::now();
        let list = http::get(ambassador.contract, "/v1/items", &[])?;
        whole.push(began.elapsed());
        ensure!(list.status == 200, "the list is answered {}", list.status);
    }
    let list = http::get(ambassador.contract, "/v1/items", &[])?;
    let tag = list.header("etag").context("a list has an ETag")?.to_owned();
    let mut unchanged = Vec::new();
    for _ in 0..SHORT_RUNS {
        let began = Instant::now();
        let answer = http::get(ambassador.contract, "/v1/items", &[("if-none-match", &tag)])?;
        unchanged.push(began.elapsed());
        ensure!(answer.status == 304, "an unchanged list is answered {}", answer.status);
    }
    Ok(vec![
        Row {
            work: format!("warm list of {files} names"),
            ours: Sample::seconds(&whole),
            peer: None,
            aim: Aim::AtMost(0.150),
        },
        Row {
            work: "the same, unchanged: 304".into(),
            ours: Sample::seconds(&unchanged),
            peer: None,
            aim: Aim::AtMost(1e-3),
        },
    ])
}
