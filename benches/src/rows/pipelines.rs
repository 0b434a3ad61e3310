//! What it costs to have several programs look like one worker: chains of `true` beside the same programs run one after another,
//! beside stages that look once a second whether it is their turn; and how soon it is known that a stage was killed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Aim, Bench, Row};
use crate::sample::{Sample, Unit};

const ITEMS: usize = 100;
const LONG: usize = 100;
const KILLS: usize = 50;
const PATIENCE: Duration = Duration::from_secs(60);
/// What stages do that have no better way to know: three of them, each of which looks for a file of the one before.
const POLLED: &str = r#"
true && touch "$0/1" &
(until [ -e "$0/1" ]; do sleep 1; done; true && touch "$0/2") &
until [ -e "$0/2" ]; do sleep 1; done; true
wait
"#;
/// And what they do to know that one is dead.
const WATCHED: &str = "while kill -0 $0 2>/dev/null; do sleep 1; done";

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let work = Work::new(bench)?;
    let mut rows = Vec::new();
    for stages in [3, 1] {
        rows.extend(chain(bench, &work, stages, bench.scaled(ITEMS).max(10))?);
    }
    rows.extend(chain(bench, &work, LONG, bench.runs())?);
    rows.extend(polled(bench, &work)?);
    rows.extend(killed(bench, &work)?);
    Ok(rows)
}

/// So many `true`, one after another, `runs` times in each way.
fn chain(bench: &Bench, work: &Work, stages: usize, runs: usize) -> Result<Vec<Row>> {
    work.pipeline(stages, "true")?;
    let (mut by_hand, mut local, mut beside) = (Vec::new(), Vec::new(), Vec::new());
    // The first of each warms up.
    for n in 0..=runs {
        let began = Instant::now();
        for _ in 0..stages {
            succeed(Command::new("true").stdin(Stdio::null()).spawn(), "true")?;
        }
        let hand = began.elapsed();
        let children = work.time(work.adapter(bench, "local")?)?;
        let shims = work.shims(bench, stages, "true")?;
        let containers = work.time(work.adapter(bench, "run")?)?;
        shims.into_iter().try_for_each(Running::end)?;
        if n > 0 {
            by_hand.push(hand);
            local.push(children);
            beside.push(containers);
        }
    }
    let hand = Sample::seconds(&by_hand);
    let aim = if stages == 3 { Aim::AtMost(0.010) } else { Aim::Stated };
    let row = |layout: &str, times: &[Duration]| Row {
        work: format!("{stages} × true, layout {layout}, beyond them, p50 of {runs}"),
        ours: Sample::new(Unit::Seconds, vec![Sample::seconds(times).median() - hand.median()]),
        peer: Some(("one after another", Sample::new(Unit::Seconds, vec![hand.median()]))),
        aim,
    };
    Ok(vec![row("D", &local), row("A", &beside)])
}

/// All of a chain of three, beside one whose stages look once a second.
fn polled(bench: &Bench, work: &Work) -> Result<Vec<Row>> {
    work.pipeline(3, "true")?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for n in 0..bench.runs() {
        let shims = work.shims(bench, 3, "true")?;
        ours.push(work.time(work.adapter(bench, "run")?)?);
        shims.into_iter().try_for_each(Running::end)?;
        let dir = work.0.join(format!("polled-{n}"));
        fs::create_dir(&dir).context("make a folder")?;
        let began = Instant::now();
        succeed(Command::new("sh").args(["-c", POLLED]).arg(&dir).stdin(Stdio::null()).spawn(), "sh")?;
        theirs.push(began.elapsed());
    }
    Ok(vec![Row {
        work: "3 × true in all, layout A".to_owned(),
        ours: Sample::seconds(&ours),
        peer: Some(("a look each second", Sample::seconds(&theirs))),
        aim: Aim::Stated,
    }])
}

/// From `kill -9` of a stage that runs to the end of the adapter.
fn killed(bench: &Bench, work: &Work) -> Result<Vec<Row>> {
    work.pipeline(1, "sleep")?;
    let kills = bench.scaled(KILLS).max(10);
    let (mut shims, mut children, mut watched) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..=kills {
        for whole in [true, false] {
            let mut shim = work.shims(bench, 1, "sleep")?.pop().context("start a shim")?;
            let adapter = Running::start(work.adapter(bench, "run")?)?;
            let started = work.0.join("pod/stages/s0/1.started.json");
            let pid = wait("a stage starts", || {
                let said: serde_json::Value = serde_json::from_slice(&fs::read(&started).ok()?).ok()?;
                Pid::from_raw(said.get("pid")?.as_i64()?.try_into().ok()?)
            })?;
            let began = Instant::now();
            if whole {
                shim.0.kill().context("kill the shim")?;
            } else {
                kill_process(pid, Signal::KILL).context("kill the command")?;
            }
            let code = adapter.code()?;
            let took = began.elapsed();
            ensure!(code == Some(137), "the adapter ends with {code:?}");
            if n > 0 && whole {
                shims.push(took);
            } else if n > 0 {
                children.push(took);
            }
            if whole {
                // What a container's end would have ended.
                let _ = kill_process(pid, Signal::KILL);
            }
            let _ = shim.0.wait();
            let _ = fs::remove_file(&started);
        }
    }
    for n in 0..bench.runs() {
        let mut stage = Running::start(command("sleep", &["1000"]))?;
        let watch = Running::start(command("sh", &["-c", WATCHED, &stage.0.id().to_string()]))?;
        // At any moment between two looks.
        thread::sleep(Duration::from_millis(100 + (n as u64 * 370) % 1000));
        let began = Instant::now();
        stage.0.kill().context("kill a stage")?;
        stage.0.wait().context("wait for it")?;
        watch.code()?;
        watched.push(began.elapsed());
    }
    let peer = Sample::seconds(&watched);
    let row = |what: &str, times: &[Duration], part: f64, word: &str| Row {
        work: format!("kill -9 of the {what} → the adapter's exit, {word} of {kills}"),
        ours: Sample::new(Unit::Seconds, vec![Sample::seconds(times).quantile(part)]),
        peer: Some(("a look each second", peer.clone())),
        aim: Aim::AtMost(0.100),
    };
    Ok(vec![
        row("shim", &shims, 0.5, "p50"),
        row("shim", &shims, 0.99, "p99"),
        row("command", &children, 0.5, "p50"),
        row("command", &children, 0.99, "p99"),
    ])
}

/// One item, and the volumes of a pod.
struct Work(PathBuf);

impl Work {
    fn new(bench: &Bench) -> Result<Self> {
        let work = Self(bench.scratch().join("pipelines"));
        for folder in ["in", "out", "tmp", "pod/adapter", "pod/stages"] {
            fs::create_dir_all(work.0.join(folder)).context("make a folder")?;
        }
        let input = work.0.join("in/input");
        fs::write(&input, "hello\n").context("write the input")?;
        Ok(work)
    }

    fn pipeline(&self, stages: usize, program: &str) -> Result<()> {
        let mut yaml = String::from("apiVersion: longshore.dev/v1\nkind: Pipeline\nname: bench\nstages:\n");
        for n in 0..stages {
            let needs = if n == 0 { String::new() } else { format!(", needs: [s{}]", n - 1) };
            let words: Vec<_> = words(program).iter().map(|word| format!("'{word}'")).collect();
            yaml.push_str(&format!("  - {{name: s{n}{needs}, command: [{}]}}\n", words.join(", ")));
        }
        fs::write(self.0.join("pipeline.yaml"), yaml).context("write the pipeline")
    }

    /// The adapter over an item that was never done before.
    fn adapter(&self, bench: &Bench, role: &str) -> Result<Command> {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let key = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let item = self.0.join("item.json");
        let input = self.0.join("in/input");
        let data = serde_json::json!({"uri": format!("file://{}", input.display()), "key": key.to_string(), "size": 6});
        fs::write(&item, data.to_string()).context("write the item")?;
        let mut adapter = Command::new(bench.program("multi-worker")?);
        adapter.arg(role);
        if role == "run" {
            adapter.arg("--root").arg(self.0.join("pod")).arg("--pipeline");
        }
        adapter.arg(self.0.join("pipeline.yaml")).arg("--allow-empty").arg("--allow-input").arg(self.0.join("in"));
        adapter.arg("--output").arg(self.0.join("out/{key}")).env("WORK_ITEM_FILE", &item);
        adapter.env("TMPDIR", self.0.join("tmp")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(self.log()?);
        Ok(adapter)
    }

    /// The shims of so many stages, once each has said that it is there.
    fn shims(&self, bench: &Bench, stages: usize, program: &str) -> Result<Vec<Running>> {
        let mut shims = Vec::new();
        // As a pod begins: nobody has been there before.
        let adapter = self.0.join("pod/adapter");
        fs::remove_dir_all(&adapter).and_then(|()| fs::create_dir(&adapter)).context("make a folder")?;
        for n in 0..stages {
            let dir = self.0.join(format!("pod/stages/s{n}"));
            let _ = fs::remove_dir_all(&dir);
            fs::create_dir(&dir).context("make a folder")?;
            let mut shim = Command::new(bench.program("stage-shim")?);
            shim.args(["--stage", &format!("s{n}"), "--root"]).arg(self.0.join("pod")).arg("--").args(words(program));
            shim.stdin(Stdio::null()).stdout(Stdio::null()).stderr(self.log()?);
            shims.push(Running::start(shim)?);
        }
        for n in 0..stages {
            let hello = self.0.join(format!("pod/stages/s{n}/hello.json"));
            wait("a shim says that it lives", || hello.exists().then_some(()))?;
        }
        Ok(shims)
    }

    fn log(&self) -> Result<File> {
        File::options().create(true).append(true).open(self.0.join("log")).context("make a file for the log")
    }

    fn time(&self, adapter: Command) -> Result<Duration> {
        let began = Instant::now();
        let code = Running::start(adapter)?.code()?;
        let took = began.elapsed();
        let log = fs::read_to_string(self.0.join("log")).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(3).collect();
        ensure!(code == Some(0), "multi-worker ends with {code:?}: {last:?}");
        Ok(took)
    }
}

fn words(program: &str) -> &'static [&'static str] {
    if program == "true" { &["true"] } else { &["sleep", "1000"] }
}

fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null());
    command
}

fn succeed(child: std::io::Result<Child>, name: &str) -> Result<()> {
    let status = child.and_then(|mut child| child.wait()).with_context(|| format!("run {name}"))?;
    ensure!(status.success(), "{name} ends with {status}");
    Ok(())
}

fn wait<T>(what: &str, mut holds: impl FnMut() -> Option<T>) -> Result<T> {
    let began = Instant::now();
    loop {
        if let Some(found) = holds() {
            return Ok(found);
        }
        ensure!(began.elapsed() < PATIENCE, "waited {PATIENCE:?} until {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// A process; killed when dropped.
struct Running(Child);

impl Running {
    fn start(mut command: Command) -> Result<Self> {
        let name = Path::new(command.get_program()).display().to_string();
        command.spawn().map(Self).with_context(|| format!("start {name}"))
    }

    fn code(mut self) -> Result<Option<i32>> {
        Ok(self.0.wait().context("wait for a process")?.code())
    }

    /// A shim that was told that there is no more work.
    fn end(self) -> Result<()> {
        let code = self.code()?;
        ensure!(code == Some(0), "stage-shim ends with {code:?}");
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails when it has ended by itself; either way it is reaped.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
