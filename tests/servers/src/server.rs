//! S3 stores as processes.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use rustix::process::{Pid, Signal, kill_process};

/// Longest that a server may take to answer: seconds on a quiet machine, many on one that compiles beside it.
const READY: Duration = Duration::from_secs(120);

/// Runs a server in `$1` as its only child and removes that folder when its own input ends, unless it was told `keep`.
/// The server gets SIGKILL if this shell is killed itself.
const KEEPER: &str = r#"dir=$1; shift
setpriv --pdeathsig KILL -- "$@" >>"$dir/log" 2>&1 </dev/null &
echo $!
read -r word
kill -9 $!
wait
[ "$word" = keep ] || rm -rf "$dir""#;

/// An S3 store of its own, ready when it is returned. Dropped, it is killed and its data removed; so too when this process ends.
#[derive(Debug)]
pub struct S3Server {
    kind: Kind,
    env: Vec<(String, String)>,
    port: u16,
    secret_key: String,
    dir: PathBuf,
    running: Option<Running>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Minio,
    Versity,
}

/// A server and the shell that keeps it.
#[derive(Debug)]
struct Running {
    keeper: Child,
    pid: Pid,
}

impl S3Server {
    /// MinIO: one drive, identity and access management, STS, versioning, conditional writes.
    pub fn minio() -> Self {
        Self::start(Kind::Minio, &[])
    }

    /// As [`minio`](Self::minio), with more in its environment (`MINIO_…`).
    pub fn minio_with(env: &[(&str, &str)]) -> Self {
        Self::start(Kind::Minio, env)
    }

    /// The Versity gateway over a folder, with versioning to be had.
    pub fn versity() -> Self {
        Self::start(Kind::Versity, &[])
    }

    /// The MinIO of this process, for tests that only need a bucket of their own.
    pub fn shared_minio() -> &'static Self {
        static SHARED: LazyLock<S3Server> = LazyLock::new(S3Server::minio);
        &SHARED
    }

    /// The Versity gateway of this process, for tests that only need a bucket of their own.
    pub fn shared_versity() -> &'static Self {
        static SHARED: LazyLock<S3Server> = LazyLock::new(S3Server::versity);
        &SHARED
    }

    /// Where it listens: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The root user's access key.
    pub fn access_key(&self) -> &str {
        "AKTEST"
    }

    /// The root user's secret key: another one for each server.
    pub fn secret_key(&self) -> &str {
        &self.secret_key
    }

    /// What a child process needs to reach it as its root user, and nothing of this machine's own configuration.
    pub fn env(&self) -> Vec<(String, String)> {
        [
            ("AWS_ENDPOINT_URL", self.url().as_str()),
            ("AWS_ACCESS_KEY_ID", self.access_key()),
            ("AWS_SECRET_ACCESS_KEY", self.secret_key()),
            ("AWS_REGION", "us-east-1"),
            ("AWS_DEFAULT_REGION", "us-east-1"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("AWS_CONFIG_FILE", "/dev/null"),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    /// A client of its own, for a look at the store that does not go through the code under test. Of use in the runtime that it
    /// is made in.
    pub fn client(&self) -> aws_sdk_s3::Client {
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .endpoint_url(self.url())
            .region(Region::from_static("us-east-1"))
            .force_path_style(true)
            .credentials_provider(Credentials::new(self.access_key(), self.secret_key(), None, None, "test"));
        aws_sdk_s3::Client::from_conf(config.build())
    }

    /// A new bucket with a name that no other has.
    ///
    /// # Panics
    /// If the server refuses.
    pub async fn bucket(&self) -> String {
        let name = format!("bucket-{:016x}", fastrand::u64(..));
        self.client().create_bucket().bucket(&name).send().await.expect("the server makes a bucket");
        name
    }

    /// How many uploads in parts were begun in any bucket and neither completed nor aborted, as its disk has them: MinIO lists
    /// an upload only for whom asks for its very key.
    pub fn open_uploads(&self) -> usize {
        fn below(dir: &Path) -> Vec<PathBuf> {
            let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
        }
        let data = self.dir.join("data");
        let roots = match self.kind {
            Kind::Minio => vec![data.join(".minio.sys/multipart")],
            Kind::Versity => below(&data).iter().map(|bucket| bucket.join(".sgwtmp/multipart")).collect(),
        };
        roots.iter().flat_map(|root| below(root)).map(|object| below(&object).len()).sum()
    }

    /// Stops it as it stands (SIGSTOP): connections stay open and nobody answers.
    ///
    /// # Panics
    /// If it was killed before.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on after [`pause`](Self::pause).
    ///
    /// # Panics
    /// If it was killed before.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Kills it with SIGKILL; its data stay until it is dropped. From now on connections are refused.
    pub fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            running.end("keep\n");
        }
    }

    /// Starts it again where it was, with the data it had; kills it first if it runs.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn restart(&mut self) {
        self.kill();
        // What took the port in between, if anything did, holds it for no longer than a connection.
        let begun = Instant::now();
        while !self.launch() {
            assert!(begun.elapsed() < READY, "{:?} does not start again on port {}", self.kind, self.port);
        }
    }

    fn start(kind: Kind, env: &[(&str, &str)]) -> Self {
        let dir = tempfile::Builder::new().prefix("longshore-s3-").tempdir().expect("a folder for the server").keep();
        let mut server = Self {
            kind,
            env: env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            port: 0,
            // Another server that answers on a port that this one did not get is found out by it.
            secret_key: format!("SKTEST{:016x}", fastrand::u64(..)),
            dir,
            running: None,
        };
        for _ in 0..20 {
            server.port = free_port();
            if server.launch() {
                return server;
            }
        }
        panic!("{kind:?} does not start; its log:\n{}", server.log());
    }

    /// Starts the program and waits until it answers; false if it ended instead.
    fn launch(&mut self) -> bool {
        std::fs::create_dir_all(self.dir.join("data")).expect("the folder of the server");
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, "sh"]).arg(&self.dir);
        self.program(&mut keeper);
        // In a group of its own, so that what ends the tests from a terminal leaves it the time to clean up.
        keeper.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut keeper = keeper.spawn().expect("sh runs");
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().expect("piped")).read_line(&mut line).expect("the shell tells the pid");
        let pid = line.trim().parse().ok().and_then(Pid::from_raw).expect("a pid");
        let running = Running { keeper, pid };
        let begun = Instant::now();
        while begun.elapsed() < READY {
            if self.answers() {
                crate::proxy::know(&format!("127.0.0.1:{}", self.port), &self.secret_key);
                self.running = Some(running);
                return true;
            }
            if running.over() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        running.end("keep\n");
        false
    }

    fn program(&self, command: &mut Command) {
        let (dir, address) = (&self.dir, format!("127.0.0.1:{}", self.port));
        match self.kind {
            Kind::Minio => command
                .arg(programs().join("minio"))
                .args(["server", "--quiet", "--address", &address, "--certs-dir"])
                .arg(dir.join("certs"))
                .arg(dir.join("data"))
                .env("MINIO_ROOT_USER", self.access_key())
                .env("MINIO_ROOT_PASSWORD", self.secret_key())
                .env("MINIO_BROWSER", "off")
                .env("MINIO_UPDATE", "off")
                .env("HOME", dir),
            Kind::Versity => {
                for made in ["versions", "iam"] {
                    std::fs::create_dir_all(dir.join(made)).expect("a folder of the server");
                }
                command
                    .arg(programs().join("versitygw"))
                    .args(["--port", &address, "--quiet", "--keep-alive"])
                    .args(["--access", self.access_key(), "--secret", self.secret_key(), "--iam-dir"])
                    .arg(dir.join("iam"))
                    .args(["posix", "--versioning-dir"])
                    .arg(dir.join("versions"))
                    .arg(dir.join("data"))
            }
        };
        command.envs(self.env.iter().cloned());
    }

    /// Whether this very server, which alone knows the secret, answers.
    fn answers(&self) -> bool {
        if std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            return false;
        }
        // Callers may be inside a runtime, where blocking on another is refused.
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                let listed = async { self.client().list_buckets().send().await };
                runtime.block_on(async { tokio::time::timeout(Duration::from_secs(10), listed).await })
            });
            matches!(asked.join(), Ok(Ok(Ok(_))))
        })
    }

    fn signal(&self, signal: Signal) {
        let running = self.running.as_ref().expect("the server runs");
        kill_process(running.pid, signal).expect("the server can be signalled");
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        match self.running.take() {
            Some(running) => running.end(""),
            None => drop(std::fs::remove_dir_all(&self.dir)),
        }
    }
}

impl Running {
    /// Whether the server has ended by itself. Its keeper has not reaped it, so the pid is still its own.
    fn over(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid.as_raw_nonzero())).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
    }

    fn end(mut self, word: &str) {
        let mut stdin = self.keeper.stdin.take().expect("piped");
        // The keeper is gone if somebody killed it, and so is the server then.
        let _ = stdin.write_all(word.as_bytes());
        drop(stdin);
        let _ = self.keeper.wait();
    }
}

/// A port of 127.0.0.1 that nobody listens on. Below those that connections get by themselves, so that a server that was killed
/// finds its own again.
fn free_port() -> u16 {
    loop {
        let port = fastrand::u16(10_000..32_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The folder with the servers' programs, built now if they were not.
fn programs() -> &'static Path {
    static PROGRAMS: LazyLock<PathBuf> = LazyLock::new(|| {
        let setup = Path::new(env!("CARGO_MANIFEST_DIR")).join("s3/setup");
        let made = Command::new(&setup).stderr(Stdio::inherit()).output().expect("tests/servers/s3/setup runs");
        assert!(made.status.success(), "{} failed", setup.display());
        PathBuf::from(String::from_utf8_lossy(&made.stdout).trim())
    });
    &PROGRAMS
}
