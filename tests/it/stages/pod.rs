//! A pod: containers that share volumes and a kernel, and somebody who starts again what ends.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use contract::{MARKER_FILE, Report};
use longshore_tests::programs::program;
use longshore_tests::world::whole;
use longshore_tests::{Daemon, Ended, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// Mounts a container's volumes, and becomes its program or, where that must be able to kill itself, the program's parent.
/// Its parameters: the pod's directory, the directory that is this container's to write, `first` or `second`, a user.
const CONTAINER: &str = r#"
set -e
umask 077
pod=$1 own=$2 place=$3 user=$4
shift 4
for volume in "$pod"/bin "$pod"/adapter "$pod"/stages/*; do
    mount --bind "$volume" "$volume"
    [ "$volume" = "$pod/$own" ] || mount -o remount,bind,ro "$volume"
done
if [ "$own" = adapter ]; then
    mount --bind "$pod/../in" "$pod/../in" && mount -o remount,bind,ro "$pod/../in"
else
    mount -t tmpfs -o ro none "$pod/../out"
fi
[ -z "$MOUNTS" ] || eval "$MOUNTS"
set +e
cd /
if [ "$user" != 0 ]; then
    set -- setpriv --reuid="$user" --regid="$user" --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all "$@"
fi
[ "$place" = second ] || exec "$@"
"$@"
exit $?
"#;

/// One item, one pipeline and the volumes of the pod that does the one by the other. Removed with all in it when dropped.
pub(crate) struct Pod {
    dir: TempDir,
    stages: Vec<Stage>,
}

#[derive(Clone)]
struct Stage {
    name: &'static str,
    script: String,
    user: u32,
}

impl Pod {
    /// A chain of stages, each of which is a shell's script with fields of the pipeline.
    pub(crate) fn chain(stages: &[(&'static str, &str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("its mode");
        let mut yaml = String::from("apiVersion: longshore.dev/v1\nkind: Pipeline\nname: test\nstages:\n");
        let mut before: Option<&str> = None;
        let mut all = Vec::new();
        for (name, script, fields) in stages {
            let needs = before.map_or_else(String::new, |name| format!(", needs: [{name}]"));
            let fields = if fields.is_empty() { String::new() } else { format!(", {fields}") };
            yaml.push_str(&format!("  - {{name: {name}{needs}{fields}}}\n"));
            all.push(Stage { name, script: (*script).to_owned(), user: 0 });
            before = Some(name);
        }
        let pod = Self { dir, stages: all };
        for name in ["in", "out", "pod/bin", "pod/adapter", "pod/stages"] {
            fs::create_dir_all(pod.path(name)).expect("a directory");
        }
        for stage in &pod.stages {
            fs::create_dir_all(pod.stage(stage.name)).expect("a directory");
        }
        fs::write(pod.path("in/a.txt"), "some input\n").expect("an input");
        let item = format!(r#"{{"uri":"file://{}","key":"a.txt"}}"#, pod.path("in/a.txt").display());
        fs::write(pod.path("item.json"), item).expect("an item");
        fs::write(pod.path("pipeline.yaml"), yaml).expect("a pipeline");
        for name in ["multi-worker", "stage-shim"] {
            let (from, to) = (program(name), pod.path("pod/bin").join(name));
            // It is a hundred megabytes, and others need not be able to enter where it was built.
            fs::hard_link(&from, &to).or_else(|_| fs::copy(&from, &to).map(drop)).expect("the program");
        }
        pod
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Where a stage writes.
    pub(crate) fn stage(&self, name: &str) -> PathBuf {
        self.path("pod/stages").join(name)
    }

    /// Has every container run as a user of its own, to whom its volume belongs: the adapter's is the first of these.
    pub(crate) fn with_users(&mut self, users: &[u32]) {
        let give = |path: &Path, user| chown(path, Some(user), Some(user)).expect("given");
        let adapter = *users.first().expect("the adapter's");
        for name in ["pod/adapter", "out", "item.json"] {
            give(&self.path(name), adapter);
        }
        fs::set_permissions(self.path("item.json"), Permissions::from_mode(0o400)).expect("its mode");
        for (stage, user) in self.stages.iter_mut().zip(users.iter().skip(1)) {
            stage.user = *user;
            give(&self.dir.path().join("pod/stages").join(stage.name), *user);
        }
    }

    /// The adapter's container.
    pub(crate) fn adapter(&self) -> Container<'_> {
        let report = self.path("pod/adapter/report.json");
        let _ = fs::remove_file(&report);
        let user =
            fs::metadata(self.path("pod/adapter")).map_or(0, |found| std::os::unix::fs::MetadataExt::uid(&found));
        self.container("adapter", "multi-worker", user)
            .env("WORK_ITEM_FILE", &self.path("item.json").display().to_string())
            .env("LONGSHORE_REPORT", &report.display().to_string())
            .args(&["run", "--pipeline", &self.path("pipeline.yaml").display().to_string()])
            .args(&["--root", &self.path("pod").display().to_string()])
            .args(&["--allow-input", &self.path("in").display().to_string()])
            .args(&["--output", &format!("{}/{{key}}/", self.path("out").display())])
    }

    /// A stage's container.
    pub(crate) fn shim(&self, name: &str) -> Container<'_> {
        let stage = self.stages.iter().find(|stage| stage.name == name).expect("a stage");
        let mut shim = self
            .container(&format!("stages/{name}"), "stage-shim", stage.user)
            .env("IN", &self.path("in").display().to_string())
            .args(&["--stage", name, "--root", &self.path("pod").display().to_string()]);
        shim.command = vec!["/bin/sh".into(), "-c".into(), stage.script.clone()];
        shim
    }

    fn container(&self, own: &str, program: &'static str, user: u32) -> Container<'_> {
        Container {
            pod: self,
            own: own.to_owned(),
            program,
            place: "first",
            user,
            wrapper: Vec::new(),
            variables: Vec::new(),
            args: Vec::new(),
            command: Vec::new(),
        }
    }

    /// All stages' containers, as a kubelet keeps them: one that ends is started again.
    pub(crate) fn sidecars(&self) -> Sidecars<'_> {
        self.sidecars_but("", |shim| shim)
    }

    /// The same; the first life of one stage's is special.
    pub(crate) fn sidecars_but(&self, special: &str, change: impl Fn(Container<'_>) -> Container<'_>) -> Sidecars<'_> {
        let start = |stage: &Stage| {
            let shim = self.shim(stage.name);
            (stage.name, if stage.name == special { change(shim) } else { shim }.start())
        };
        Sidecars { pod: self, running: self.stages.iter().map(start).collect() }
    }

    /// What stages wait for whose script waits for `$IN/open`.
    pub(crate) fn open(&self) {
        fs::write(self.path("in/open"), "").expect("opened");
    }

    /// What stands at the item's place: nothing, or all of it.
    pub(crate) fn is_published(&self) -> bool {
        let place = self.path("out/a.txt");
        if !place.exists() {
            return false;
        }
        if let Err(what) = whole(&place) {
            panic!("{}: {what}", place.display());
        }
        true
    }

    /// What was published under a name.
    pub(crate) fn published(&self, name: &str) -> String {
        assert!(self.is_published(), "nothing was");
        fs::read_to_string(self.path("out/a.txt").join(name)).expect(name)
    }

    /// A file of a stage's, or the adapter's, directory, as JSON.
    pub(crate) fn said(&self, path: &str) -> Option<Value> {
        serde_json::from_slice(&fs::read(self.path("pod").join(path)).ok()?).ok()
    }

    /// Waits until a stage has said that somebody lives there who did not at `before`, and gives who.
    pub(crate) fn hello(&self, stage: &str, before: Option<&str>) -> String {
        wait_until("a stage's hello", || {
            let boot = self.said(&format!("stages/{stage}/hello.json"))?.get("boot")?.as_str()?.to_owned();
            (Some(boot.as_str()) != before).then_some(boot)
        })
    }

    /// Waits until the attempt has begun.
    pub(crate) fn started(&self, stage: &str, attempt: u32) {
        let path = self.stage(stage).join(format!("{attempt}.started.json"));
        wait_until("a stage to start", || path.exists().then_some(()));
    }

    /// All there was to say.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// The pod once more, with nothing broken: whatever happened before, it succeeds now and leaves nothing behind.
    pub(crate) fn again(&self) {
        self.again_with(Sidecars { pod: self, running: Vec::new() });
    }

    /// The same, with the stages' containers as they are.
    pub(crate) fn again_with<'a>(&'a self, mut sidecars: Sidecars<'a>) {
        self.open();
        if self.path("pod/adapter/done.json").exists() {
            // The adapter has ended in order, and with it the pod: the next one has volumes of its own.
            sidecars.running.clear();
            let stages = self.stages.iter().map(|stage| self.stage(stage.name));
            for volume in stages.chain([self.path("pod/adapter")]) {
                fs::remove_dir_all(&volume).expect("removed");
                fs::create_dir(&volume).expect("made");
            }
        }
        if sidecars.running.is_empty() {
            sidecars = self.sidecars();
        }
        let outcome = sidecars.finish(self.adapter().start());
        assert_eq!(outcome.code, 0, "the pod that came after: {}\n{}", outcome.message, self.log());
        assert!(self.is_published(), "{}", self.log());
        self.assert_clean();
    }

    /// Nothing is left in the adapter's scratch and in the output's root.
    pub(crate) fn assert_clean(&self) {
        for dir in ["pod/adapter/scratch", "out/.longshore"] {
            let entries = fs::read_dir(self.path(dir)).into_iter().flatten().flatten();
            let left: Vec<_> = entries.map(|entry| entry.file_name()).filter(|name| name != "lock").collect();
            assert!(left.is_empty(), "{dir}: {left:?}\n{}", self.log());
        }
        let others = fs::read_dir(self.path("out")).expect("lists").flatten().map(|entry| entry.file_name());
        let others: Vec<_> = others.filter(|name| name != "a.txt" && name != ".longshore").collect();
        assert!(others.is_empty(), "{others:?}");
    }
}

/// A container that is about to be started.
pub(crate) struct Container<'a> {
    pod: &'a Pod,
    own: String,
    program: &'static str,
    place: &'static str,
    user: u32,
    wrapper: Vec<String>,
    variables: Vec<(String, String)>,
    args: Vec<String>,
    command: Vec<String>,
}

impl Container<'_> {
    pub(crate) fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// More mounts, as a shell's words with `$pod` and `$own`.
    pub(crate) fn mounts(self, script: &str) -> Self {
        self.env("MOUNTS", script)
    }

    /// Something befalls it at a fault point. A container's first process is spared the signals that it sends itself, so it is
    /// the second; the container ends with it all the same.
    pub(crate) fn fault(mut self, fault: &str) -> Self {
        self.place = "second";
        self.env("LONGSHORE_FAULT", fault)
    }

    /// More namespaces, as flags of `unshare`.
    pub(crate) fn unshare(mut self, flags: &[&str]) -> Self {
        self.wrapper.extend(flags.iter().map(|flag| (*flag).to_owned()));
        self
    }

    pub(crate) fn start(self) -> Running {
        let pod = self.pod.path("pod");
        let mut command = Command::new("unshare");
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("LONGSHORE_GRACE", "5s")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .args(["--mount", "--pid", "--ipc", "--fork", "--kill-child", "--mount-proc"])
            .args(&self.wrapper)
            .args(["/bin/sh", "-c", CONTAINER, "container"])
            .arg(&pod)
            .args([&self.own, self.place, &self.user.to_string()])
            .arg(pod.join("bin").join(self.program))
            .args(&self.args);
        if !self.command.is_empty() {
            command.arg("--").args(&self.command);
        }
        command.stdout(fs::File::options().create(true).append(true).open(self.pod.path("log")).expect("a log"));
        let daemon = Daemon::start(&mut command, &self.pod.path("log"));
        Running { daemon, program: self.program }
    }
}

/// A running container; killed when dropped.
pub(crate) struct Running {
    daemon: Daemon,
    program: &'static str,
}

impl Running {
    /// Our program in it, once it is there.
    pub(crate) fn pid(&self) -> Pid {
        wait_until("a container's program", || {
            let name =
                |pid: &Pid| fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero())).unwrap_or_default();
            let mut below = children(self.daemon.pid());
            below.extend(below.clone().into_iter().flat_map(children));
            below.into_iter().find(|pid| name(pid).trim() == self.program)
        })
    }

    /// The command that a shim runs.
    pub(crate) fn child(&self) -> Pid {
        wait_until("a stage's command", || children(self.pid()).first().copied())
    }

    /// Sends our program in it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it is there");
    }

    /// Waits until it has stopped itself at a fault point.
    pub(crate) fn stopped(&self) {
        let stat = format!("/proc/{}/stat", self.pid().as_raw_nonzero());
        wait_until("a program to stop itself", || fs::read_to_string(&stat).ok()?.contains(") T ").then_some(()));
    }

    pub(crate) fn ended(&mut self) -> Option<Ended> {
        self.daemon.ended()
    }

    pub(crate) fn wait(&mut self) -> Ended {
        self.daemon.wait()
    }

    /// `kill -9` of our program, and the end of the container.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.daemon.wait();
    }
}

impl Drop for Running {
    /// Ends it from within: who started it is told only when all in it are dead, and nobody is left who writes to its volumes.
    fn drop(&mut self) {
        let begun = Instant::now();
        while self.daemon.ended().is_none() && begun.elapsed() < Duration::from_secs(60) {
            for first in children(self.daemon.pid()) {
                let _ = kill_process(first, Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// The number in the heartbeat of a side, which is in its directory.
pub(crate) fn heart(dir: &Path) -> Option<u64> {
    fs::read_to_string(dir.join("heartbeat")).ok()?.split_whitespace().nth(1)?.parse().ok()
}

fn children(pid: Pid) -> Vec<Pid> {
    let tasks = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect::<Vec<_>>())
        .collect()
}

/// The stages' containers, each started again when it ends, as `restartPolicy: Always` has it.
pub(crate) struct Sidecars<'a> {
    pod: &'a Pod,
    running: Vec<(&'static str, Running)>,
}

impl Sidecars<'_> {
    pub(crate) fn of(&mut self, name: &str) -> &mut Running {
        &mut self.running.iter_mut().find(|(stage, _)| *stage == name).expect("a stage").1
    }

    /// Starts again what has ended; but for who has heard that there is no more work, whom a kubelet that takes its time starts
    /// again too late: by then the adapter has ended, and with it the pod.
    pub(crate) fn tend(&mut self) {
        for (name, running) in &mut self.running {
            if running.ended().is_some_and(|ended| ended != Ended::Code(0)) {
                *running = self.pod.shim(name).start();
            }
        }
    }

    /// Tends the stages until the adapter has ended.
    pub(crate) fn finish(&mut self, mut adapter: Running) -> Outcome {
        let ended = wait_until("the multi-worker to end", || {
            let ended = adapter.ended();
            if ended.is_none() {
                self.tend();
            }
            ended
        });
        Outcome::new(self.pod, ended)
    }
}

/// How the adapter ended.
pub(crate) struct Outcome {
    pub(crate) code: i32,
    /// Of the report, if it wrote one.
    pub(crate) reason: String,
    pub(crate) message: String,
    stages: Value,
}

impl Outcome {
    pub(crate) fn new(pod: &Pod, ended: Ended) -> Self {
        let code = match ended {
            Ended::Code(code) => code,
            Ended::Signal(signal) => 128 + signal,
        };
        let report = fs::read(pod.path("pod/adapter/report.json")).ok();
        let report: Option<Report> = report.map(|json| serde_json::from_slice(&json).expect("a report is whole"));
        let (reason, message, result) = report
            .map(|report| (report.reason.to_string(), report.message.to_string(), report.result))
            .unwrap_or_default();
        Self {
            code,
            reason,
            message,
            stages: result.as_ref().and_then(|result| result.get("stages")).cloned().unwrap_or_default(),
        }
    }

    /// The word for how a stage ended.
    pub(crate) fn stage(&self, name: &str) -> &str {
        self.stages.get(name).and_then(|stage| stage.get("reason")?.as_str()).unwrap_or("none")
    }

    /// Ended with this code and word, and published if and only if the code says so.
    #[track_caller]
    pub(crate) fn assert(self, pod: &Pod, what: &str, code: i32, reason: &str) -> Self {
        let found = (self.code, self.reason.as_str());
        assert_eq!(found, (code, reason), "{what}: {}\n{}", self.message, pod.log());
        assert_eq!(pod.is_published(), code == 0, "{what}: {}", pod.log());
        assert_eq!(pod.path("out/a.txt").join(MARKER_FILE).exists(), code == 0, "{what}");
        self
    }
}

/// Tries all of these at once, each by itself: most of the time each only waits.
pub(crate) fn each<T: Send>(cases: impl IntoIterator<Item = T>, try_one: impl Fn(T) + Sync) {
    std::thread::scope(|scope| {
        for case in cases {
            scope.spawn(|| try_one(case));
        }
    });
}
