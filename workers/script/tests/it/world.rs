//! A world of one's own: inputs, an output root, a scratch directory, and a worker to run in it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use contract::item::{decode_path, encode_path};
use contract::{FileVersion, Key, MARKER_FILE, Marker, Report};
use longshore_tests::marked;
use serde_json::json;
use tempfile::TempDir;

/// By which this test's processes are found, whatever they have become.
const WORLD: &str = "TEST_WORLD";

pub(crate) struct World {
    dir: TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let world = Self { dir: tempfile::tempdir().expect("a directory") };
        for name in ["in", "out", "tmp", "items"] {
            fs::create_dir(world.path(name)).expect("a directory");
        }
        fs::write(world.path("termination"), "").expect("a termination log");
        world
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }

    /// Writes an input and the item that stands for it; the item's file.
    pub(crate) fn item(&self, key: impl AsRef<[u8]>, content: &str) -> PathBuf {
        let key = key.as_ref();
        let path = self.path("in").join(OsStr::from_bytes(key));
        fs::create_dir_all(path.parent().expect("has a parent")).expect("directories");
        fs::write(&path, content).expect("an input");
        self.item_of(key)
    }

    /// The item that stands for an input as it is now.
    pub(crate) fn item_of(&self, key: &[u8]) -> PathBuf {
        let path = self.path("in").join(OsStr::from_bytes(key));
        let mut data = json!({"uri": uri(&path), "etag": version(&path)});
        let Ok(serde_json::Value::Object(key)) = serde_json::to_value(Key::new(key)) else {
            panic!("a key is an object")
        };
        data.as_object_mut().expect("it is one").extend(key);
        self.item_file(data.to_string())
    }

    /// An item file with this text.
    pub(crate) fn item_file(&self, text: impl AsRef<[u8]>) -> PathBuf {
        let n = fs::read_dir(self.path("items")).expect("lists").count();
        let path = self.path(format!("items/{n}.json"));
        fs::write(&path, text).expect("an item file");
        path
    }

    /// An executable shell script.
    pub(crate) fn script(&self, body: &str) -> PathBuf {
        let n = fs::read_dir(self.root()).expect("lists").count();
        let path = self.path(format!("script-{n}.sh"));
        // By rename: another test that forks in this instant would hold it open for writing otherwise.
        let temporary = path.with_extension("tmp");
        fs::write(&temporary, format!("#!/bin/sh\n{body}\n")).expect("a script");
        fs::set_permissions(&temporary, fs::Permissions::from_mode(0o755)).expect("executable");
        fs::rename(&temporary, &path).expect("renamed");
        path
    }

    /// A worker with `{key}` below `out`, inputs from `in`, and this script.
    pub(crate) fn worker(&self, item: &Path, script: &str) -> Worker {
        let script = self.script(script);
        self.bare(item).arg("--output").arg(self.path("out/{key}/")).script(script)
    }

    /// A worker without `--output` and command yet.
    pub(crate) fn bare(&self, item: &Path) -> Worker {
        let mut command = Command::new(env!("CARGO_BIN_EXE_script-worker"));
        let n = fs::read_dir(self.root()).expect("lists").count();
        let report = self.path(format!("report-{n}.json"));
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("TMPDIR", self.path("tmp"))
            .env(WORLD, self.root())
            .env("WORK_ITEM_FILE", item)
            .env("LONGSHORE_GRACE", "5s")
            .env("LONGSHORE_REPORT", &report)
            .env("LONGSHORE_TERMINATION_LOG", self.path("termination"))
            .arg("--allow-input")
            .arg(self.path("in"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        Worker { command, report, words: Vec::new() }
    }

    /// The marker of a key, checked against what lies there: nothing more, nothing less, nothing else.
    pub(crate) fn published(&self, key: &str) -> Marker {
        self.try_published(key).unwrap_or_else(|| panic!("nothing is published for {key:?}"))
    }

    pub(crate) fn try_published(&self, key: impl AsRef<[u8]>) -> Option<Marker> {
        let dir = self.path("out").join(OsStr::from_bytes(key.as_ref()));
        if !dir.try_exists().expect("can be looked at") {
            return None;
        }
        let json = fs::read(dir.join(MARKER_FILE)).expect("what stands at a place has a marker");
        let marker: Marker = serde_json::from_slice(&json).expect("the marker is whole");
        for output in &marker.outputs {
            let content = fs::read(dir.join(OsStr::from_bytes(&decode_path(&output.path)))).expect("is there");
            assert_eq!((content.len() as u64, sha256(&content)), (output.size, output.sha256.clone()), "{output:?}");
        }
        Some(marker)
    }

    /// Nothing is left of any run: no scratch, no staging, no process.
    pub(crate) fn assert_clean(&self) {
        let left = |dir: PathBuf| -> Vec<OsString> {
            let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
            entries.map(|entry| entry.expect("lists").file_name()).filter(|name| name != "lock").collect()
        };
        assert!(left(self.path("tmp")).is_empty(), "scratch is left: {:?}", left(self.path("tmp")));
        let staging = left(self.path("out/.longshore"));
        assert!(staging.is_empty(), "staging is left: {staging:?}");
        assert_eq!(self.processes(), Vec::<String>::new(), "processes are left");
    }

    /// The command lines of everything that was started in this world and is alive.
    pub(crate) fn processes(&self) -> Vec<String> {
        marked(WORLD, self.root()).into_iter().map(|process| process.command).collect()
    }
}

pub(crate) struct Worker {
    command: Command,
    report: PathBuf,
    words: Vec<OsString>,
}

impl Worker {
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

    pub(crate) fn env_remove(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// The command, and words of its own.
    pub(crate) fn script(mut self, word: impl Into<OsString>) -> Self {
        self.words.push(word.into());
        self
    }

    pub(crate) fn start(mut self) -> Running {
        if !self.words.is_empty() {
            self.command.arg("--").args(&self.words);
        }
        // A file, so that a test may read it while the worker writes to it.
        let log = self.report.with_extension("log");
        self.command.stderr(fs::File::create(&log).expect("a log"));
        let child = self.command.spawn().expect("the worker starts");
        Running { child: Some(child), report: self.report, log }
    }

    pub(crate) fn run(self) -> Ended {
        self.start().wait()
    }

    /// As another user, where this one may choose, from a copy of the program that user can reach.
    pub(crate) fn under_user(mut self, uid: u32) -> Self {
        if !rustix::process::geteuid().is_root() {
            return self;
        }
        let dir = self.report.parent().expect("it lies in the world");
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("changed");
        let copy = dir.join("bin");
        let installed = Command::new(self.command.get_program()).arg("install").arg(&copy).output().expect("it runs");
        assert!(installed.status.success(), "{installed:?}");
        self = self.replaced_by(&copy.join("script-worker"), &[]);
        std::os::unix::process::CommandExt::uid(&mut self.command, uid);
        self
    }

    /// The worker's command line, to be run by something else.
    pub(crate) fn under(self, program: &str, args: &[&str]) -> Self {
        let worker = self.command.get_program().to_owned();
        let args: Vec<&OsStr> = args.iter().map(OsStr::new).chain([worker.as_os_str()]).collect();
        self.replaced_by(Path::new(program), &args)
    }

    fn replaced_by(mut self, program: &Path, args: &[&OsStr]) -> Self {
        let mut outer = Command::new(program);
        outer.args(args).args(self.command.get_args()).env_clear();
        for (name, value) in self.command.get_envs() {
            if let Some(value) = value {
                outer.env(name, value);
            }
        }
        outer.stdin(Stdio::null()).stdout(Stdio::piped());
        self.command = outer;
        self
    }
}

/// A worker that runs. Dropped, it is killed.
pub(crate) struct Running {
    child: Option<Child>,
    report: PathBuf,
    log: PathBuf,
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(self.child.as_ref().expect("it runs"));
        rustix::process::kill_process(pid, signal).expect("it can be signalled");
    }

    /// What it has written to stderr so far.
    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).expect("a log")).into_owned()
    }

    /// Whether it has logged this.
    pub(crate) fn logged(&self, event: &str) -> bool {
        self.log().contains(event)
    }

    /// Whether it is stopped by a signal, with all its threads.
    pub(crate) fn is_stopped(&self) -> bool {
        self.state() == Some('T')
    }

    /// Whether it has ended; nobody has waited for it yet.
    pub(crate) fn is_over(&self) -> bool {
        self.state() == Some('Z')
    }

    fn state(&self) -> Option<char> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        stat.rsplit(')').next().and_then(|rest| rest.trim_start().chars().next())
    }

    pub(crate) fn wait(mut self) -> Ended {
        let output = self.child.take().expect("it runs").wait_with_output().expect("it ends");
        let report = fs::read(&self.report).ok().map(|json| serde_json::from_slice(&json).expect("a whole report"));
        Ended {
            code: output.status.code(),
            signal: output.status.signal(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: self.log(),
            report,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    report: Option<Report>,
}

impl Ended {
    pub(crate) fn report(&self) -> &Report {
        self.report.as_ref().unwrap_or_else(|| panic!("no report\n{}", self.stderr))
    }

    /// Ended with this code, and says so in its report.
    #[track_caller]
    pub(crate) fn expect(&self, code: i32, reason: &str) -> &Report {
        assert_eq!(self.code, Some(code), "signal {:?}\n{}", self.signal, self.stderr);
        let report = self.report();
        assert_eq!((i32::from(report.exit_code), report.reason.as_str()), (code, reason), "{}", report.message);
        report
    }

    /// As [`expect`](Self::expect), and the message names each of these.
    #[track_caller]
    pub(crate) fn expect_saying(&self, code: i32, reason: &str, says: &[&str]) {
        let report = self.expect(code, reason);
        for word in says {
            assert!(report.message.contains(word), "{:?} does not say {word:?}", report.message);
        }
        assert!(self.stderr.contains(&report.message), "the error is not on stderr: {}", self.stderr);
    }
}

pub(crate) fn uri(path: &Path) -> String {
    format!("file://{}", encode_path(path.as_os_str().as_bytes()))
}

pub(crate) fn version(path: &Path) -> String {
    let seen = fs::metadata(path).expect("is there");
    let mtime_nanos = i128::from(seen.mtime()) * 1_000_000_000 + i128::from(seen.mtime_nsec());
    FileVersion { size: seen.size(), mtime_nanos }.to_string()
}

/// Waits until something holds; fails when it does not within three minutes, as machines are loaded.
#[track_caller]
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(180), "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn sha256(content: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}
