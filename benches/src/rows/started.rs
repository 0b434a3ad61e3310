//! From close(2) to the first thing that the worker does, through ambassador, watch, ledger and spawn; beside the same worker
//! spawned at once by whoever wrote the file.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::harness::{Aim, Bench, Row};
use crate::program::Ambassador;
use crate::sample::{Sample, Unit};

const FILES: usize = 300;
/// Between two of them: longer than it takes until nothing of the one before is left.
const PAUSE: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(30);
/// It tells that it runs, and which it is.
const WORKER: [&str; 3] = ["sh", "-c", "echo \"$WORK_ITEM_NAME\" >\"$0\""];

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let files = bench.scaled(FILES).max(20);
    let root = bench.scratch().join("started");
    fs::create_dir_all(&root).context("make a folder")?;
    let (fifo, heard) = telling(bench)?;
    let ours = {
        let ambassador = Ambassador::start(bench, &root, &["--rescan", "1h"])?;
        ambassador.ready()?;
        let _manager = Manager::start(bench, &ambassador, &fifo)?;
        // Until the first is through, all of it is starting.
        close_files(&root, "first", 20, &heard, |_| Ok(()))?;
        close_files(&root, "clip", files, &heard, |_| Ok(()))?
    };
    let spawned = close_files(&root, "bare", files, &heard, |name| {
        let [program, arguments @ ..] = WORKER;
        let mut worker = Command::new(program);
        worker.args(arguments).arg(&fifo).env("WORK_ITEM_NAME", name);
        let mut child = worker.spawn().context("spawn the worker")?;
        thread::spawn(move || child.wait());
        Ok(())
    })?;
    let at = |sample: &Sample, part| Sample::new(Unit::Seconds, vec![sample.quantile(part)]);
    let row = |word: &str, part, aim| Row {
        work: format!("close(2) → the worker's first deed, {word} of {files}"),
        ours: at(&ours, part),
        peer: Some(("posix_spawn at once", at(&spawned, part))),
        aim,
    };
    Ok(vec![row("p50", 0.5, Aim::Stated), row("p99", 0.99, Aim::AtMost(0.050))])
}

/// Closes file after file, calls `then`, and takes the time until a worker tells its name.
fn close_files(
    root: &Path,
    prefix: &str,
    files: usize,
    heard: &Receiver<(String, Instant)>,
    then: impl Fn(&str) -> Result<()>,
) -> Result<Sample> {
    let mut times = Vec::new();
    for n in 0..files {
        let name = format!("{prefix}-{n:05}");
        let mut file = File::create(root.join(&name)).context("make a file")?;
        file.write_all(b"content").context("write a file")?;
        let began = Instant::now();
        drop(file);
        then(&name)?;
        loop {
            let (told, at) = heard.recv_timeout(PATIENCE).with_context(|| format!("hear of {name}"))?;
            if told.starts_with(&name) {
                times.push(at.saturating_duration_since(began));
                break;
            }
        }
        thread::sleep(PAUSE);
    }
    Ok(Sample::seconds(&times))
}

/// A pipe with a name, and the lines that come through it.
fn telling(bench: &Bench) -> Result<(PathBuf, Receiver<(String, Instant)>)> {
    let fifo = bench.scratch().join("started.fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).context("make a named pipe")?;
    // Open for writing too, so that it has no end.
    let reader = File::options().read(true).write(true).open(&fifo).context("open a named pipe")?;
    let (tell, heard) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(reader).lines().map_while(Result::ok) {
            if tell.send((line, Instant::now())).is_err() {
                return;
            }
        }
    });
    Ok((fifo, heard))
}

/// A running queue-manager; killed when dropped.
struct Manager(Child);

impl Manager {
    fn start(bench: &Bench, ambassador: &Ambassador, fifo: &Path) -> Result<Self> {
        let log = File::create(bench.scratch().join("started.log")).context("make a file for the log")?;
        let mut manager = Command::new(bench.program("queue-manager")?);
        manager
            .args(["local", "--probe-listen", "127.0.0.1:0", "--parallelism", "2", "--state"])
            .arg(bench.scratch().join("started-state"))
            .args(["--source", &format!("http://{}", ambassador.contract), "--"])
            .args(WORKER)
            .arg(fifo);
        let started = manager.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        Ok(Self(started.context("start queue-manager")?))
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        // Fails when it has ended by itself; either way it is reaped.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
