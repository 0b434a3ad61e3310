//! One folder of work, an ambassador, a manager and script-workers over it, killed wherever a test says and started
//! again, and what must be true of it afterwards.

mod checks;
mod store;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;
use test_servers::S3Server;

pub use self::checks::whole;
use self::store::Store;
use crate::marked::{Marked, marked};
use crate::programs::program;
use crate::supervised::{Daemon, Ended};

/// What befalls each successive start of each program: `LONGSHORE_FAULT` of the first, the second, ….
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Of queue-manager.
    pub manager: Vec<String>,
    /// Of script-worker.
    pub worker: Vec<String>,
    /// Of files-ambassador.
    pub ambassador: Vec<String>,
}

/// The script that every item gets. It logs a line at its start and at its end, and holds a lock in between, so that an
/// overlap is seen even when a run is killed and leaves no end.
const SCRIPT: &str = r#"#!/bin/sh
exec 8>>"$WORLD/locks/$WORK_ITEM_NAME"
flock -n 8 || echo "overlap $WORK_ITEM_NAME $LONGSHORE_ATTEMPT_ID" >>"$WORLD/runs"
echo "start $WORK_ITEM_NAME $LONGSHORE_ATTEMPT_ID" >>"$WORLD/runs"
die() { if rmdir "$WORLD/kill-script/$1" 2>/dev/null; then kill -9 $$; fi; }
die start
case $INPUT_FILE in
    *poison*) echo "this one is poison" >&2; exit 3 ;;
    *flaky*) mkdir "$WORLD/flaky" 2>/dev/null && { echo "not yet" >&2; exit 1; } ;;
esac
cp "$INPUT_FILE" "$OUTPUT_DIR/copy"
: >"$WORLD/copied"
sleep "$(cat "$WORLD/pace")"
die middle
mkdir "$OUTPUT_DIR/sub"
echo "$LONGSHORE_ATTEMPT_ID" >"$OUTPUT_DIR/sub/attempt"
echo "end $WORK_ITEM_NAME $LONGSHORE_ATTEMPT_ID" >>"$WORLD/runs"
die end
"#;

/// Gives each successive worker the next fault of the list.
const WRAPPER: &str = r#"#!/bin/sh
for fault in $(ls "$WORLD/worker-faults" 2>/dev/null | sort); do
    if mv "$WORLD/worker-faults/$fault" "$WORLD/taken/$fault" 2>/dev/null; then
        LONGSHORE_FAULT=$(cat "$WORLD/taken/$fault")
        export LONGSHORE_FAULT
        break
    fi
done
export LONGSHORE_FAULT_LOG="$WORLD/hits"
exec "$@"
"#;

/// What becomes of the files of settled items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settling {
    /// They stay where they are.
    Nowhere,
    /// They are moved to a folder of the same file system.
    Beside,
    /// They are moved to another file system, by copy.
    Across,
}

/// The folders of one test.
#[derive(Debug)]
pub struct World {
    dir: tempfile::TempDir,
    port: u16,
    settling: Settling,
    settled: tempfile::TempDir,
    keys: BTreeSet<Vec<u8>>,
    store: Option<Store>,
}

impl World {
    /// A world with an empty source.
    ///
    /// # Panics
    /// When the machine has no second file system to settle to.
    pub fn new(settling: Settling) -> Self {
        let dir = tempfile::Builder::new().prefix("longshore-world-").tempdir().expect("a directory");
        for folder in ["source", "out", "state", "tmp", "locks", "worker-faults", "taken"] {
            fs::create_dir(dir.path().join(folder)).expect("a folder");
        }
        for (name, text) in [("script", SCRIPT), ("wrapper", WRAPPER)] {
            fs::write(dir.path().join(name), text).expect("a script");
            fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(0o755)).expect("made executable");
        }
        fs::write(dir.path().join("pace"), "0.02").expect("a pace");
        fs::write(dir.path().join("runs"), "").expect("a log");
        fs::write(dir.path().join("hits"), "").expect("a log");
        let port = test_servers::free_port();
        let settled = match settling {
            Settling::Nowhere | Settling::Beside => tempfile::tempdir_in(dir.path()),
            Settling::Across => tempfile::tempdir_in("/dev/shm"),
        };
        let settled = settled.expect("a directory");
        let device = |path: &Path| fs::metadata(path).expect("is there").dev();
        assert_eq!(device(settled.path()) != device(dir.path()), settling == Settling::Across, "where /dev/shm lies");
        Self { dir, port, settling, settled, keys: BTreeSet::new(), store: None }
    }

    /// A world with an empty source, whose outputs go to a bucket of the server.
    pub fn with_bucket(settling: Settling, server: &S3Server) -> Self {
        Self { store: Some(Store::new(server)), ..Self::new(settling) }
    }

    /// How workers publish to the bucket from now on.
    ///
    /// # Panics
    /// In a world without one.
    pub fn set_publish(&mut self, mode: &'static str) {
        self.store.as_mut().expect("a world with a bucket").mode = mode;
    }

    /// The world's own folder.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Where the ambassador serves.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// The same, as a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Puts a file of these bytes into the source, whole from the start.
    pub fn add(&mut self, key: &[u8], content: &[u8]) {
        let path = self.path().join("source").join(OsStr::from_bytes(key));
        fs::create_dir_all(path.parent().expect("below the source")).expect("a folder");
        let staged = self.path().join("tmp-new-file");
        fs::write(&staged, content).expect("written");
        fs::rename(staged, path).expect("moved in");
        self.keys.insert(key.to_vec());
    }

    /// Files of the kinds that matter: plain, hostile names, one that fails once, one that always fails.
    pub fn add_usual_files(&mut self) {
        for key in [&b"plain.txt"[..], b"sub folder/b.txt", b"flaky.txt", b"poison.txt", b"$(rm -rf)\n\xff.txt"] {
            self.add(key, &[key, b" content"].concat());
        }
    }

    /// How long each run of the script takes from now on, in seconds.
    pub fn set_pace(&self, seconds: &str) {
        // By rename: a script that reads it meanwhile reads the one or the other.
        fs::write(self.path().join("pace.new"), seconds).expect("a pace");
        fs::rename(self.path().join("pace.new"), self.path().join("pace")).expect("renamed");
    }

    /// What has been logged by the script, a line each.
    pub fn runs(&self) -> Vec<String> {
        fs::read_to_string(self.path().join("runs")).expect("the log").lines().map(str::to_owned).collect()
    }

    /// The fault points passed by any program.
    pub fn hits(&self) -> BTreeSet<String> {
        fs::read_to_string(self.path().join("hits")).expect("the log").lines().map(str::to_owned).collect()
    }

    fn command(&self, name: &str, fault: Option<&String>) -> Command {
        let mut command = Command::new(program(name));
        command
            .env("WORLD", self.path())
            .env("TMPDIR", self.path().join("tmp"))
            .env("LONGSHORE_FAULT_LOG", self.path().join("hits"))
            .env_remove("LONGSHORE_FAULT");
        if let Some(fault) = fault {
            command.env("LONGSHORE_FAULT", fault);
        }
        command
    }

    /// Starts the ambassador.
    pub fn ambassador(&self, fault: Option<&String>) -> Daemon {
        let mut command = self.command("files-ambassador", fault);
        command
            .arg("--root")
            .arg(self.path().join("source"))
            .args(["--listen", &self.address().to_string(), "--probe-listen", "127.0.0.1:0"])
            .args(["--rescan", "200ms", "--stable-for", "50ms"]);
        if self.settling != Settling::Nowhere {
            command.arg("--on-settle").arg(format!("move:{}", self.settled.path().display()));
        }
        Daemon::start(&mut command, &self.path().join("ambassador.log"))
    }

    /// Starts the manager, over script-workers that run the script.
    pub fn manager(&self, fault: Option<&String>, parallelism: usize, revision: u64) -> Daemon {
        let mut command = self.command("queue-manager", fault);
        command
            .args(["local", "--until-empty", "--source", &self.url(), "--probe-listen", "127.0.0.1:0"])
            .arg("--state")
            .arg(self.path().join("state"))
            .args([
                "--grace",
                "0s",
                "--stop-grace",
                "100ms",
                "--poll",
                "100ms",
                "--backoff",
                "20ms..200ms",
                // However often chance kills one and the same.
                "--max-attempts",
                "1000",
                "--parallelism",
                &parallelism.to_string(),
            ])
            .args(["--revision", &revision.to_string(), "--"])
            .arg(self.path().join("wrapper"))
            .arg(program("script-worker"))
            .args(["--permanent-exit", "3", "--allow-input"])
            .arg(format!("file://{}/", self.path().join("source").display()))
            .arg("--output");
        match &self.store {
            None => command.arg(format!("{}/{{key}}/", self.path().join("out").display())),
            Some(store) => {
                let output = format!("{}{{key}}/", store.bucket.uri("out/"));
                command.arg(output).args(["--publish", store.mode]).envs(store.env.iter().cloned())
            }
        };
        command.arg("--").arg(self.path().join("script"));
        Daemon::start(&mut command, &self.path().join("manager.log"))
    }

    /// One trip of everything in the source, each program killed as `faults` says and started again, until the manager
    /// ends by itself, under `revision`. Gives the manager's exit code.
    pub fn trip(&self, faults: &Faults, parallelism: usize, revision: u64) -> i32 {
        let trip = fs::read_dir(self.path().join("taken")).map_or(0, Iterator::count);
        for (n, fault) in faults.worker.iter().enumerate() {
            let n = trip + n;
            fs::write(self.path().join(format!("worker-faults/{n:04}")), fault).expect("a fault");
        }
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| self.keep_ambassador(&faults.ambassador, &done));
            let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                self.run_manager(faults, parallelism, revision)
            }));
            done.store(true, Ordering::Relaxed);
            code.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn run_manager(&self, faults: &Faults, parallelism: usize, revision: u64) -> i32 {
        let mut faults = faults.manager.iter();
        loop {
            match self.manager(faults.next(), parallelism, revision).wait() {
                Ended::Code(code) => return code,
                Ended::Signal(9) => {}
                Ended::Signal(other) => panic!("the manager ended by signal {other}:\n{}", self.logs()),
            }
        }
    }

    fn keep_ambassador(&self, faults: &[String], done: &AtomicBool) {
        let mut faults = faults.iter();
        while !done.load(Ordering::Relaxed) {
            let mut ambassador = self.ambassador(faults.next());
            while ambassador.ended().is_none() {
                if done.load(Ordering::Relaxed) {
                    ambassador.terminate();
                    return;
                }
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
        }
    }

    /// The ends of every log, for a panic's message.
    pub fn logs(&self) -> String {
        let mut text = String::new();
        for name in ["manager.log", "ambassador.log", "runs", "hits"] {
            let log = fs::read(self.path().join(name)).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines.get(lines.len().saturating_sub(40)..).unwrap_or_default().join("\n");
            let _ = write!(text, "--- {name}\n{tail}\n");
        }
        text
    }

    /// The dead letter of a revision, a JSON text an item.
    pub fn dead(&self, revision: u64) -> Vec<String> {
        let output = self
            .command("queue-manager", None)
            .args(["ledger", "list", "--only", "dead", "-o", "json", "--revision", &revision.to_string(), "--state"])
            .arg(self.path().join("state"))
            .output()
            .expect("queue-manager runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let list: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        list.get("items").and_then(|items| items.as_array()).expect("a list").iter().map(ToString::to_string).collect()
    }

    /// Every process of this world that lives.
    pub fn processes(&self) -> Vec<Marked> {
        marked("WORLD", self.path())
    }

    /// Kills one process of this world whose command line holds `what`, chosen by chance.
    pub fn kill_one(&self, what: &str) -> bool {
        let candidates = self.processes().into_iter().filter(|process| process.command.contains(what));
        let chosen = fastrand::choice(candidates.collect::<Vec<_>>());
        chosen.is_some_and(|process| rustix::process::kill_process(process.pid, Signal::KILL).is_ok())
    }
}
