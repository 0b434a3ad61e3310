//! What it costs while nothing happens, with 100,000 files listed; and what the rescan costs, which is the rest.

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Aim, Bench, Row};
use crate::program::Ambassador;
use crate::sample::{Sample, Unit};
use crate::{http, tree};

/// How long nothing happens.
const WHILE: Duration = Duration::from_secs(10);
/// Until what the scan left to do is done: its watchdog looks once more, a quarter of `--stall-after` later.
const SETTLE: Duration = Duration::from_secs(9);
/// Between two rescans whose cost is measured.
const RESCAN: Duration = Duration::from_secs(2);

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let files = bench.scaled(100_000);
    let root = tree::of(bench.scratch(), files)?;
    let (wakeups, calls) = {
        let ambassador = Ambassador::start(bench, &root, &["--rescan", "1h"])?;
        ambassador.list(files)?;
        thread::sleep(SETTLE);
        let before = ambassador.wakeups()?;
        thread::sleep(WHILE);
        (ambassador.wakeups()? - before, system_calls(bench, &ambassador)?)
    };
    let rescan = rescan(bench, &root, files)?;
    let row = |work: String, unit, value, aim| Row { work, ours: Sample::new(unit, vec![value]), peer: None, aim };
    Ok(vec![
        row(format!("wake-ups in 10 s, {files} files listed"), Unit::Count, wakeups, Aim::AtMost(0.0)),
        row("system calls in 10 s, the same".into(), Unit::Count, calls, Aim::AtMost(0.0)),
        row("processor time of a rescan, the same".into(), Unit::Seconds, rescan, Aim::Stated),
    ])
}

/// Counts what strace sees begin.
fn system_calls(bench: &Bench, ambassador: &Ambassador) -> Result<f64> {
    let trace = bench.scratch().join("trace");
    let mut strace = Command::new("strace")
        .args(["-f", "-qq", "-o"])
        .arg(&trace)
        .args(["-p", &ambassador.pid().to_string()])
        .stdin(Stdio::null())
        .spawn()
        .context("run strace (scripts/setup strace)")?;
    thread::sleep(SETTLE);
    // The calls that were waiting when it came are told first.
    let before = lines(&trace)?;
    thread::sleep(WHILE);
    let after = lines(&trace)?;
    let pid = i32::try_from(strace.id()).ok().and_then(Pid::from_raw).context("strace has a process id")?;
    kill_process(pid, Signal::INT).context("end strace")?;
    strace.wait().context("wait for strace")?;
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
    Ok((after - before) as f64)
}

fn lines(trace: &std::path::Path) -> Result<usize> {
    Ok(fs::read_to_string(trace).context("read the trace")?.lines().count())
}

/// Processor time per rescan, of several.
fn rescan(bench: &Bench, root: &std::path::Path, files: usize) -> Result<f64> {
    let every = format!("{}ms", RESCAN.as_millis());
    let ambassador = Ambassador::start(bench, root, &["--rescan", &every])?;
    ambassador.list(files)?;
    let scans = || -> Result<f64> {
        let metrics = http::get(ambassador.probes, "/metrics", &[])?;
        let text = String::from_utf8(metrics.body).context("read the metrics")?;
        let count = text.lines().find_map(|line| line.strip_prefix("longshore_files_scan_seconds_count "));
        count.and_then(|count| count.trim().parse().ok()).context("the metrics count scans")
    };
    let (first, began, used) = (scans()?, Instant::now(), ambassador.processor_time()?);
    while scans()? < first + 3.0 {
        ensure!(began.elapsed() < 60 * RESCAN, "there are no rescans");
        thread::sleep(RESCAN / 4);
    }
    Ok((ambassador.processor_time()? - used) / (scans()? - first))
}
