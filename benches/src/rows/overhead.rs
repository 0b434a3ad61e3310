//! What a worker costs beyond the command that it runs: a script over a small local file, published, beside the same script
//! run by hand, which leaves its output wherever it happens to be when the power fails.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::harness::{Aim, Bench, Row};
use crate::sample::{Sample, Unit};

const ITEMS: usize = 300;
const SCRIPT: &str = "#!/bin/sh\ntr a-z A-Z <\"$INPUT_FILE\" >\"$OUTPUT_DIR/upper\"\n";

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let items = bench.scaled(ITEMS).max(20);
    let at = |name: &str| bench.scratch().join("overhead").join(name);
    for folder in ["in", "out", "hand"] {
        fs::create_dir_all(at(folder)).context("make a folder")?;
    }
    let (script, input, item) = (at("script"), at("in").join("input"), at("item.json"));
    fs::write(&script, SCRIPT).context("write the script")?;
    fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).context("make the script executable")?;
    fs::write(&input, "hello\n").context("write the input")?;
    let (mut by_hand, mut by_worker) = (Vec::new(), Vec::new());
    // The first of each warms up.
    for n in 0..=items {
        let output = at("hand").join(n.to_string());
        fs::create_dir(&output).context("make a folder")?;
        let hand = time(Command::new(&script).env("INPUT_FILE", &input).env("OUTPUT_DIR", &output))?;
        let data = serde_json::json!({"uri": format!("file://{}", input.display()), "key": n.to_string(), "size": 6});
        fs::write(&item, data.to_string()).context("write the item")?;
        let mut worker = Command::new(bench.program("script-worker")?);
        worker.env("WORK_ITEM_FILE", &item).arg("--output").arg(at("out").join("{key}")).arg("--allow-input");
        let worker = time(worker.arg(at("in")).arg("--").arg(&script))?;
        ensure!(at("out").join(n.to_string()).join("_SUCCESS.json").exists(), "the worker published nothing");
        if n > 0 {
            by_hand.push(hand);
            by_worker.push(worker);
        }
    }
    let (hand, worker) = (Sample::seconds(&by_hand), Sample::seconds(&by_worker));
    let row = |word: &str, part, aim| {
        let one = |seconds| Sample::new(Unit::Seconds, vec![seconds]);
        Row {
            work: format!("worker overhead, {word} of {items}"),
            ours: one(worker.quantile(part) - hand.quantile(part)),
            peer: Some(("the script by hand", one(hand.quantile(part)))),
            aim,
        }
    };
    Ok(vec![row("p50", 0.5, Aim::AtMost(0.005)), row("p99", 0.99, Aim::Stated)])
}

fn time(command: &mut Command) -> Result<Duration> {
    let name = command.get_program().to_string_lossy().into_owned();
    let began = Instant::now();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let took = began.elapsed();
    let status = status.with_context(|| format!("run {name}"))?;
    ensure!(status.success(), "{name} ends with {status}");
    Ok(took)
}
