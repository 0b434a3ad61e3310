//! Redis as a process.

mod sentinel;

use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use tempfile::TempDir;

use crate::certificates::Certificates;
use crate::kept::{converse, free_port, made_by};
use crate::server::{Launch, Process, come_up};

pub use self::sentinel::Sentinel;

/// A Redis of its own, ready when it is returned, which writes everything to its append-only file: what it has answered it still has
/// when it was killed. Dropped, it is killed and its data removed; so too when this process ends, however it ends.
#[derive(Debug)]
pub struct Redis {
    process: Process,
    folder: TempDir,
    port: u16,
    tls_port: u16,
    password: String,
    certificates: Certificates,
    arguments: Vec<String>,
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
        // Another server that answers on a port that this one did not get is found out by it.
        Self::with_password(format!("redis-{:016x}", fastrand::u64(..)), arguments)
    }

    /// Another that has the same password, as those of a cluster have, and a primary and its replicas, which ask each other for it.
    ///
    /// # Panics
    /// If it does not come up, with its log.
    pub fn beside(&self, arguments: &[&str]) -> Self {
        Self::with_password(self.password.clone(), arguments)
    }

    fn with_password(password: String, arguments: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("longshore-redis-").tempdir().expect("a folder for Redis");
        let mut redis = Self {
            process: Process::new(folder.path(), folder.path().join("log")),
            certificates: Certificates::make(folder.path().join("certificates")),
            folder,
            port: 0,
            tls_port: 0,
            password,
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
        };
        // Users that a test makes stay over a restart if it says `ACL SAVE`.
        let users = format!("user default on >{} ~* &* +@all\n", redis.password);
        std::fs::write(redis.folder.path().join("users.acl"), users).expect("its users are written");
        come_up(Self::NAME, || {
            (redis.port, redis.tls_port) = (free_port(), free_port());
            redis.launch()
        });
        redis
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
}

impl Launch for Redis {
    const NAME: &'static str = "Redis";

    fn process(&self) -> &Process {
        &self.process
    }

    fn process_mut(&mut self) -> &mut Process {
        &mut self.process
    }

    fn begin(&mut self) -> Result<(), String> {
        let data = self.folder.path().join("data");
        std::fs::create_dir_all(&data).expect("a folder for its data");
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
            ("aclfile", path(&self.folder.path().join("users.acl"))),
            ("dir", path(&data)),
            ("save", String::new()),
            ("appendonly", "yes".to_owned()),
            // Of a process alone that is killed, what was written stays; with any other, Redis answers before it writes while the disk is slow.
            ("appendfsync", "no".to_owned()),
            ("daemonize", "no".to_owned()),
            // Of its primary, when it has one.
            ("masterauth", self.password.clone()),
        ] {
            program.arg(format!("--{name}")).arg(value);
        }
        program.args(&self.arguments);
        self.process.start(&program);
        Ok(())
    }

    /// Whether this very server, which alone knows the password, answers and has read its data.
    fn is_up(&self) -> bool {
        // An own exchange, for redis-cli costs more than the start.
        converse(self.port, &format!("AUTH {}\r\nPING\r\n", self.password), "+OK\r\n+PONG\r\n")
    }
}
