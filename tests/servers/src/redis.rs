//! Redis as a process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::certificates::Certificates;
use crate::kept::{Kept, end_of, free_port, made_by};

/// Longest that it may take to answer: a moment on a quiet machine, and longer where much is in its log.
const READY: Duration = Duration::from_secs(120);

/// Longest that it may take to stop in an orderly way.
const STOP: Duration = Duration::from_secs(30);

/// A Redis of its own, ready when it is returned, which writes everything to its append-only file: what it has answered it still has
/// when it was killed. Dropped, it is killed and its data removed; so too when this process ends, however it ends.
#[derive(Debug)]
pub struct Redis {
    folder: PathBuf,
    port: u16,
    tls_port: u16,
    password: String,
    certificates: Certificates,
    arguments: Vec<String>,
    running: Option<Kept>,
}

impl Redis {
    /// The Redis of this process, for tests that only need keys of their own.
    pub fn shared() -> &'static Self {
        static SHARED: LazyLock<Redis> = LazyLock::new(|| Redis::start(&[]));
        &SHARED
    }

    /// With more of `redis-server`'s arguments: `["--maxmemory", "8mb"]`.
    ///
    /// # Panics
    /// If it does not come up, with its log.
    pub fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("longshore-redis-").tempdir().expect("a folder for Redis").keep();
        let mut redis = Self {
            certificates: Certificates::make(folder.join("certificates")),
            folder,
            port: 0,
            tls_port: 0,
            // Another server that answers on a port that this one did not get is found out by it.
            password: format!("redis-{:016x}", fastrand::u64(..)),
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            running: None,
        };
        // Users that a test makes stay over a restart if it says `ACL SAVE`.
        let users = format!("user default on >{} ~* &* +@all\n", redis.password);
        std::fs::write(redis.folder.join("users.acl"), users).expect("its users are written");
        loop {
            (redis.port, redis.tls_port) = (free_port(), free_port());
            match redis.launch() {
                Ok(()) => return redis,
                // Somebody else has taken a port that was free when it was looked at.
                Err(log) if taken(&log) => {}
                Err(log) => panic!("Redis does not start; its log:\n{log}"),
            }
        }
    }

    /// How the user `default`, who may do everything, reaches it: `redis://:PASSWORD@127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("redis://:{}@{}", self.password, self.address())
    }

    /// The same over TLS: `rediss://:PASSWORD@127.0.0.1:PORT`. It shows a certificate of [`certificates`](Self::certificates), and a
    /// client may show one too.
    pub fn tls_url(&self) -> String {
        format!("rediss://:{}@127.0.0.1:{}", self.password, self.tls_port)
    }

    /// `127.0.0.1:PORT`, without TLS.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `127.0.0.1:PORT`, with TLS.
    pub fn tls_address(&self) -> String {
        format!("127.0.0.1:{}", self.tls_port)
    }

    /// The password of the user `default`.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// What signed its certificate, and signs clients'.
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// `redis-cli`, which is to be told what to ask: `["LRANGE", "list", "0", "-1"]`. It answers raw, a value a line, and fails where the
    /// server does; what it reads from its input are commands, unless `-x` says that it is the last argument.
    pub fn cli(&self) -> Command {
        let mut command = Command::new(made_by("redis/setup").join("redis-cli"));
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-e"]).env("REDISCLI_AUTH", &self.password);
        command
    }

    /// What `redis-cli` answers, without the end of its last line.
    ///
    /// # Panics
    /// If it fails.
    pub fn ask(&self, words: &[&str]) -> String {
        let asked = self.cli().args(words).output().expect("redis-cli runs");
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches('\n').to_owned();
        assert!(asked.status.success(), "{words:?}: {}{}", said(&asked.stdout), said(&asked.stderr));
        said(&asked.stdout)
    }

    /// Stops it as it stands (SIGSTOP): connections stay open and nobody answers.
    ///
    /// # Panics
    /// If it does not run.
    pub fn pause(&mut self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on after [`pause`](Self::pause).
    ///
    /// # Panics
    /// If it does not run.
    pub fn resume(&mut self) {
        self.signal(Signal::CONT);
    }

    /// Kills it with SIGKILL; its data stay. From now on connections are refused.
    pub fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            running.kill();
        }
    }

    /// Stops it in an orderly way (SIGTERM); its data stay.
    ///
    /// # Panics
    /// If it does not run.
    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
        if let Some(running) = self.running.take() {
            running.wait(STOP);
        }
    }

    /// Starts it again where it was, with the data it had; kills it first if it runs.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn restart(&mut self) {
        let begun = Instant::now();
        loop {
            self.kill();
            match self.launch() {
                Ok(()) => return,
                // What took the port in between, if anything did, holds it for no longer than a connection.
                Err(log) if taken(&log) && begun.elapsed() < READY => {}
                Err(log) => panic!("Redis does not start again; its log:\n{log}"),
            }
        }
    }

    fn launch(&mut self) -> Result<(), String> {
        let log = self.folder.join("log");
        let data = self.folder.join("data");
        std::fs::create_dir_all(&data).expect("a folder for its data");
        let _ = std::fs::rename(&log, self.folder.join("log.before"));
        let identity = self.certificates.server();
        let path = |path: &Path| path.display().to_string();
        let mut program = Command::new(made_by("redis/setup").join("redis-server"));
        for (name, value) in [
            ("bind", "127.0.0.1".to_owned()),
            ("port", self.port.to_string()),
            ("tls-port", self.tls_port.to_string()),
            ("tls-cert-file", path(&identity.certificate)),
            ("tls-key-file", path(&identity.key)),
            ("tls-ca-cert-file", path(&self.certificates.authority())),
            ("tls-auth-clients", "optional".to_owned()),
            ("aclfile", path(&self.folder.join("users.acl"))),
            ("dir", path(&data)),
            ("save", String::new()),
            ("appendonly", "yes".to_owned()),
            // Of a process alone that is killed, what was written stays; with any other, Redis answers before it writes while the disk is slow.
            ("appendfsync", "no".to_owned()),
            ("daemonize", "no".to_owned()),
        ] {
            program.arg(format!("--{name}")).arg(value);
        }
        program.args(&self.arguments);
        let running = Kept::start(&program, &self.folder, &log);
        let begun = Instant::now();
        loop {
            if self.answers() {
                self.running = Some(running);
                return Ok(());
            }
            if running.over() || begun.elapsed() > READY {
                running.kill();
                return Err(end_of(&log));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether this very server, which alone knows the password, answers and has read its data.
    fn answers(&self) -> bool {
        // An own exchange, for redis-cli costs more than the start.
        crate::kept::converse(self.port, &format!("AUTH {}\r\nPING\r\n", self.password), "+OK\r\n+PONG\r\n")
    }

    fn signal(&self, signal: Signal) {
        self.running.as_ref().expect("the server runs").signal(signal);
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn taken(log: &str) -> bool {
    log.contains("Address already in use")
}
