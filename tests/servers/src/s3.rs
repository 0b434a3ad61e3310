//! S3 stores as processes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use tempfile::TempDir;

use crate::kept::{converse, free_port, made_by};
use crate::server::{Launch, Process, come_up};

/// An S3 store of its own, ready when it is returned. Dropped, it is killed and its data removed; so too when this process ends.
#[derive(Debug)]
pub struct S3Server {
    process: Process,
    kind: Kind,
    env: Vec<(String, String)>,
    port: u16,
    secret_key: String,
    dir: TempDir,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Minio,
    Versity,
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
        let data = self.dir.path().join("data");
        let roots = match self.kind {
            Kind::Minio => vec![data.join(".minio.sys/multipart")],
            Kind::Versity => below(&data).iter().map(|bucket| bucket.join(".sgwtmp/multipart")).collect(),
        };
        roots.iter().flat_map(|root| below(root)).map(|object| below(&object).len()).sum()
    }

    fn start(kind: Kind, env: &[(&str, &str)]) -> Self {
        let dir = tempfile::Builder::new().prefix("longshore-s3-").tempdir().expect("a folder for the server");
        let mut server = Self {
            process: Process::new(dir.path(), dir.path().join("log")),
            kind,
            env: env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            port: 0,
            // Another server that answers on a port that this one did not get is found out by it.
            secret_key: format!("SKTEST{:016x}", fastrand::u64(..)),
            dir,
        };
        come_up(Self::NAME, || {
            server.port = free_port();
            server.launch()
        });
        server
    }

    fn program(&self) -> Command {
        let (dir, address) = (self.dir.path(), format!("127.0.0.1:{}", self.port));
        let mut command = Command::new(made_by("s3/setup").join(match self.kind {
            Kind::Minio => "minio",
            Kind::Versity => "versitygw",
        }));
        match self.kind {
            Kind::Minio => command
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
                    .args(["--port", &address, "--quiet", "--keep-alive"])
                    .args(["--access", self.access_key(), "--secret", self.secret_key(), "--iam-dir"])
                    .arg(dir.join("iam"))
                    .args(["posix", "--versioning-dir"])
                    .arg(dir.join("versions"))
                    .arg(dir.join("data"))
            }
        };
        command.envs(self.env.iter().cloned());
        command
    }
}

impl Launch for S3Server {
    const NAME: &'static str = "the S3 store";

    fn process(&self) -> &Process {
        &self.process
    }

    fn process_mut(&mut self) -> &mut Process {
        &mut self.process
    }

    fn begin(&mut self) -> Result<(), String> {
        std::fs::create_dir_all(self.dir.path().join("data")).expect("the folder of the server");
        crate::proxy::know(&format!("127.0.0.1:{}", self.port), &self.secret_key);
        let program = self.program();
        self.process.start(&program);
        Ok(())
    }

    /// Whether this very server, which alone knows the secret, answers.
    fn is_up(&self) -> bool {
        let is_up = match self.kind {
            // It answers its root user before it knows of roles and of buckets' settings.
            Kind::Minio => {
                converse(self.port, "GET /minio/health/cluster HTTP/1.1\r\nhost: minio\r\n\r\n", "HTTP/1.1 200 ")
            }
            Kind::Versity => std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok(),
        };
        if !is_up {
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
}
