//! A world of one's own: an item, a pipeline, and a multi-worker that does the one by the other.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use contract::Report;
use longshore_tests::programs::program_alone;
use longshore_tests::{Marked, marked};
use multi_worker::pipeline::Pipeline;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use stage::Root;
use tempfile::TempDir;

/// By which this test's processes are found, whatever they have become.
const WORLD: &str = "TEST_WORLD";

/// Where the stages of a test run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Each under a shim of its own.
    Pod,
    /// As the multi-worker's children.
    Local,
}

pub(crate) const BOTH: [Layout; 2] = [Layout::Pod, Layout::Local];

pub(crate) struct World {
    dir: TempDir,
    layout: Layout,
}

impl World {
    pub(crate) fn new(layout: Layout) -> Self {
        let world = Self { dir: tempfile::tempdir().expect("a directory"), layout };
        for name in ["in", "out", "tmp", "pod", "pod/adapter", "pod/stages"] {
            fs::create_dir(world.path(name)).expect("a directory");
        }
        fs::write(world.path("in/a.txt"), "some input\n").expect("an input");
        let item = format!(r#"{{"uri":"file://{}","key":"a.txt"}}"#, world.path("in/a.txt").display());
        fs::write(world.path("item.json"), item).expect("an item");
        fs::write(world.path("termination"), "").expect("a termination log");
        world
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a pipeline of these stages, in YAML's flow style or any other, and what stands behind them.
    pub(crate) fn pipeline(&self, stages: &str) -> PathBuf {
        let path = self.path("pipeline.yaml");
        let head = "apiVersion: longshore.dev/v1\nkind: Pipeline\nname: test\nstages:\n";
        fs::write(&path, format!("{head}{stages}")).expect("a pipeline");
        path
    }

    /// Has the item done by these stages, in this world's layout.
    pub(crate) fn does(&self, stages: &str) -> Done {
        let shims = self.shims(stages);
        let ended = self.worker().run();
        Done { ended, shims }
    }

    /// Writes the pipeline and starts what its stages run under, if that is not the worker itself.
    pub(crate) fn shims(&self, stages: &str) -> Vec<Running> {
        let pipeline = Pipeline::open(&self.pipeline(stages)).expect("a pipeline");
        match self.layout {
            Layout::Local => Vec::new(),
            Layout::Pod => pipeline.stages.iter().map(|stage| self.shim(stage, &[]).start()).collect(),
        }
    }

    /// The shim of a stage, with more flags.
    pub(crate) fn shim(&self, stage: &multi_worker::pipeline::Stage, flags: &[&str]) -> Program {
        let dir = self.root().stage(&stage.name);
        fs::create_dir_all(dir.path()).expect("a directory");
        let shim = self
            .program(&program_alone("stage-shim"), stage.name.as_str())
            .args(["--stage", stage.name.as_str()])
            .args(flags);
        let shim = stage.env.iter().fold(shim, |shim, (name, value)| shim.env(name, value));
        shim.arg("--root").arg(self.path("pod")).arg("--").args(&stage.command).args(&stage.args)
    }

    /// The stages of the pipeline that was written last.
    pub(crate) fn stages(&self) -> Vec<multi_worker::pipeline::Stage> {
        Pipeline::open(&self.path("pipeline.yaml")).expect("a pipeline").stages
    }

    pub(crate) fn root(&self) -> Root {
        Root::new(self.path("pod"))
    }

    /// The multi-worker, over the pipeline that was written last.
    pub(crate) fn worker(&self) -> Program {
        let pipeline = self.path("pipeline.yaml");
        match self.layout {
            Layout::Local => self.bare(&["local"]).arg(pipeline),
            Layout::Pod => self.bare(&["run", "--pipeline"]).arg(pipeline),
        }
    }

    /// The multi-worker, with these words first.
    pub(crate) fn bare(&self, words: &[&str]) -> Program {
        let worker = self.program(Path::new(env!("CARGO_BIN_EXE_multi-worker")), "worker");
        let worker = worker.env("LONGSHORE_ROOT", self.path("pod")).env("LONGSHORE_ALLOW_INPUT", self.path("in"));
        worker.env("LONGSHORE_OUTPUT", self.path("out/{key}/")).args(words)
    }

    /// A program in mount and pid namespaces of its own, in which of all of the pod's tree only `own` can be written to, and whose end
    /// is that of all that it has started: as near to a container as it gets without one.
    pub(crate) fn contained(&self, own: &Path, program: Program) -> Program {
        const SCRIPT: &str = r#"mount --bind "$0" "$0" && mount --bind "$1" "$1" && mount -o remount,bind,ro "$0" &&
            mount -t proc proc /proc && shift && exec "$@""#;
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", SCRIPT]);
        command.arg(self.path("pod")).arg(own).arg(program.command.get_program()).args(program.command.get_args());
        command.env_clear();
        for (name, value) in program.command.get_envs() {
            command.env(name, value.expect("is set"));
        }
        command.current_dir(self.dir.path()).stdin(Stdio::null()).stdout(Stdio::null());
        Program { command, report: program.report }
    }

    pub(crate) fn program(&self, path: &Path, name: &str) -> Program {
        let mut command = Command::new(path);
        let n = fs::read_dir(self.dir.path()).expect("lists").count();
        let report = self.path(format!("{n}-{name}.report.json"));
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("TMPDIR", self.path("tmp"))
            .env(WORLD, self.dir.path())
            .env("WORK_ITEM_FILE", self.path("item.json"))
            .env("LONGSHORE_GRACE", "60s")
            .env("LONGSHORE_REPORT", &report)
            .env("LONGSHORE_TERMINATION_LOG", self.path("termination"))
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        Program { command, report }
    }

    /// A file of what was published.
    pub(crate) fn published(&self, name: &str) -> String {
        let path = self.path("out/a.txt").join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// What was published, by name, the marker apart; nothing if nothing was.
    pub(crate) fn names(&self) -> Vec<String> {
        let top = self.path("out/a.txt");
        let (mut found, mut todo) = (Vec::new(), vec![top.clone()]);
        while let Some(dir) = todo.pop() {
            for entry in fs::read_dir(dir).into_iter().flatten() {
                let path = entry.expect("lists").path();
                if path.is_dir() {
                    todo.push(path);
                } else {
                    found.push(path.strip_prefix(&top).expect("is below").display().to_string());
                }
            }
        }
        found.retain(|name| name != contract::MARKER_FILE);
        found.sort();
        found
    }

    /// Nothing is left of any run: no scratch, no staging, no process but those of `shims`.
    pub(crate) fn assert_clean(&self) {
        let left = |dir: &str| -> Vec<_> {
            let entries = fs::read_dir(self.path(dir)).into_iter().flatten();
            entries.map(|entry| entry.expect("lists").file_name()).filter(|name| name != "lock").collect()
        };
        for dir in ["tmp", "out/.longshore", "pod/adapter/scratch"] {
            assert!(left(dir).is_empty(), "{dir}: {:?}", left(dir));
        }
        until("no process is left", || self.processes().is_empty());
    }

    /// Whether nobody holds a lock on what lies in the output's staging.
    pub(crate) fn staging_is_free(&self) -> bool {
        let staged = fs::read_dir(self.path("out/.longshore")).into_iter().flatten().flatten();
        staged.map(|entry| fs::File::open(entry.path().join("lock"))).all(|staged| match staged {
            Ok(staged) => staged.try_lock().is_ok(),
            Err(_) => true,
        })
    }

    /// All that was started in this world and is alive.
    pub(crate) fn processes(&self) -> Vec<Marked> {
        marked(WORLD, self.dir.path())
    }
}

/// A program that is about to be started.
pub(crate) struct Program {
    command: Command,
    report: PathBuf,
}

impl Program {
    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub(crate) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn start(mut self) -> Running {
        let log = self.report.with_extension("log");
        self.command.stderr(fs::File::create(&log).expect("a log"));
        let child = self.command.spawn().expect("the program starts");
        Running { child, report: self.report, log, waited: false }
    }

    pub(crate) fn run(self) -> Ended {
        self.start().wait()
    }

    /// Its code alone: it reports elsewhere.
    pub(crate) fn run_unreported(self) -> i32 {
        self.start().wait_unreported()
    }
}

/// A program that runs; killed when dropped.
pub(crate) struct Running {
    child: Child,
    report: PathBuf,
    log: PathBuf,
    waited: bool,
}

impl Running {
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("is alive, or a zombie");
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for the end of one that may be killed as it writes its report: its code alone.
    pub(crate) fn wait_unreported(mut self) -> i32 {
        let status = self.child.wait().expect("can be waited for");
        self.waited = true;
        status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> Ended {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("can be waited for") {
                break status;
            }
            assert!(begun.elapsed() < LONG, "it does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(1));
        };
        self.waited = true;
        let report = fs::read(&self.report).ok();
        let report = report.map(|json| serde_json::from_slice(&json).expect("a report is whole"));
        Ended { code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)), report, log: self.log() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.waited {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    report: Option<Report>,
    pub(crate) log: String,
}

impl Ended {
    #[track_caller]
    pub(crate) fn report(&self) -> &Report {
        self.report.as_ref().unwrap_or_else(|| panic!("there is no report:\n{}", self.log))
    }

    /// What the report says of a stage.
    #[track_caller]
    pub(crate) fn stage(&self, name: &str) -> &Value {
        let result = self.report().result.as_ref().unwrap_or_else(|| panic!("no result:\n{}", self.log));
        result.pointer(&format!("/stages/{name}")).unwrap_or_else(|| panic!("nothing of {name}: {result}"))
    }

    /// The word for how a stage ended.
    #[track_caller]
    pub(crate) fn reason(&self, stage: &str) -> &str {
        self.stage(stage)["reason"].as_str().unwrap_or_else(|| panic!("{stage} has no reason:\n{}", self.log))
    }

    #[track_caller]
    pub(crate) fn assert(self, code: i32, reason: &str) -> Self {
        let found = (self.code, self.report().reason.as_str());
        assert_eq!(found, (code, reason), "{}\n{}", self.report().message, self.log);
        self
    }
}

/// A worker that has ended, and the shims that it leaves to end.
pub(crate) struct Done {
    pub(crate) ended: Ended,
    shims: Vec<Running>,
}

impl Done {
    /// Ended like this; and every shim has ended too, since there is no more work.
    #[track_caller]
    pub(crate) fn assert(self, code: i32, reason: &str) -> Ended {
        let ended = self.ended.assert(code, reason);
        for shim in self.shims {
            let shim = shim.wait();
            assert_eq!(shim.code, 0, "{}", shim.log);
        }
        ended
    }
}

/// Longer than anything takes that goes well, on a machine that has other things to do.
const LONG: Duration = Duration::from_secs(120);

/// Waits for a condition.
#[track_caller]
pub(crate) fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < LONG, "it never came about that {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
