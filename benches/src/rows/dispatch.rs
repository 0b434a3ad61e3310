//! Running `true` for each of thousands of items: listed, written down before and after in a ledger that survives a kill, and
//! held as long as anything of it runs; beside xargs and GNU parallel, which remember nothing.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::clock::in_turn;
use crate::harness::{Aim, Bench, Row};
use crate::program::Ambassador;
use crate::sample::{Sample, Unit};

const ITEMS: usize = 5_000;
/// GNU parallel takes milliseconds for each: its rate is known after fewer.
const FEWER: usize = 1_000;

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let (items, fewer) = (bench.scaled(ITEMS), bench.scaled(FEWER));
    let root = bench.scratch().join("dispatch");
    fs::create_dir_all(&root).context("make a folder")?;
    for n in 0..items {
        File::create(root.join(format!("item-{n:05}"))).context("make a file")?;
    }
    let ambassador = Ambassador::start(bench, &root, &["--rescan", "1h"])?;
    ambassador.list(items)?;
    let names = |count: usize| -> Result<_> {
        let path = bench.scratch().join(format!("names-{count}"));
        fs::write(&path, (0..count).map(|n| format!("item-{n:05}\n")).collect::<String>()).context("write names")?;
        Ok(path)
    };
    let (all, some) = (names(items)?, names(fewer)?);
    let mut rows = Vec::new();
    for parallelism in ["8", "2"] {
        let ours = || manager(bench, &ambassador, items, parallelism);
        let xargs = || {
            let mut xargs = Command::new("xargs");
            time(xargs.arg("-a").arg(&all).args(["-P", parallelism, "-n", "1", "true"]))
        };
        let (our_times, xargs) = in_turn(bench.runs(), ours, xargs)?;
        let parallel = || {
            let mut parallel = Command::new("parallel");
            time(parallel.args(["-j", parallelism, "-a"]).arg(&some).arg("true"))
        };
        let parallel = (0..bench.runs().min(3)).map(|_| parallel()).collect::<Result<Vec<Duration>>>()?;
        let parallel = Sample::seconds(&parallel);
        let work = format!("true × {items} with a ledger, {parallelism} at a time");
        let row = |peer, times: &Sample, count, aim| Row {
            work: work.clone(),
            ours: rate(&our_times, items),
            peer: Some((peer, rate(times, count))),
            aim: Aim::RateTimes(aim),
        };
        rows.extend([row("xargs -P", &xargs, items, 0.9), row("GNU parallel", &parallel, fewer, 5.0)]);
    }
    Ok(rows)
}

/// How many a second.
fn rate(times: &Sample, count: usize) -> Sample {
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    let rates = times.values().iter().map(|seconds| count as f64 / seconds).collect();
    Sample::new(Unit::PerSecond, rates)
}

/// From the start of a manager with an empty ledger to its end, with everything done.
fn manager(bench: &Bench, ambassador: &Ambassador, items: usize, parallelism: &str) -> Result<Duration> {
    let state = bench.scratch().join("dispatch-state");
    if state.exists() {
        fs::remove_dir_all(&state).context("remove the last ledger")?;
    }
    let log = bench.scratch().join("dispatch.log");
    let mut manager = Command::new(bench.program("queue-manager")?);
    manager
        .args(["local", "--until-empty", "--probe-listen", "127.0.0.1:0", "--parallelism", parallelism, "--state"])
        .arg(&state)
        .args(["--source", &format!("http://{}", ambassador.contract), "--", "true"])
        .stderr(File::create(&log).context("make a file for the log")?);
    let took = time(&mut manager).with_context(|| tail(&log))?;
    let said = fs::read_to_string(&log).context("read the log")?;
    ensure!(said.contains(&format!("{items} done, 0 failed")), "not all were done: {}", tail(&log));
    Ok(took)
}

fn time(command: &mut Command) -> Result<Duration> {
    let name = command.get_program().to_string_lossy().into_owned();
    let began = Instant::now();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    let took = began.elapsed();
    let status = status.with_context(|| format!("run {name} (scripts/setup {name})"))?;
    ensure!(status.success(), "{name} ends with {status}");
    Ok(took)
}

fn tail(log: &Path) -> String {
    let said = fs::read_to_string(log).unwrap_or_default();
    said.lines().next_back().unwrap_or_default().to_owned()
}
