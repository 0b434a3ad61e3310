//! aws-cli, s5cmd and rclone as commands.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use longshore_tests::programs::root;
use test_servers::S3Server;

/// A client that nobody here wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    Aws,
    S5cmd,
    Rclone,
}

impl Client {
    pub(crate) const ALL: [Self; 3] = [Self::Aws, Self::S5cmd, Self::Rclone];

    /// The program, as the server's root user.
    pub(crate) fn command(self, server: &S3Server) -> Command {
        static PROGRAMS: LazyLock<PathBuf> = LazyLock::new(|| {
            let made = Command::new(root().join("tests/servers/s3-clients/setup"))
                .stderr(Stdio::inherit())
                .output()
                .expect("tests/servers/s3-clients/setup runs");
            assert!(made.status.success(), "tests/servers/s3-clients/setup failed");
            PathBuf::from(String::from_utf8_lossy(&made.stdout).trim())
        });
        let mut command = Command::new(PROGRAMS.join(match self {
            Self::Aws => "aws",
            Self::S5cmd => "s5cmd",
            Self::Rclone => "rclone",
        }));
        command.envs(server.env()).stdin(Stdio::null());
        // Of this machine's own; rclone fails where it finds it.
        command.env_remove("AWS_CA_BUNDLE");
        // Beside everything else that the tests do to this machine's disk a store may ask to be asked again, for longer than usual.
        command.env("AWS_RETRY_MODE", "standard").env("AWS_MAX_ATTEMPTS", "10");
        // s5cmd has a variable of its own, and rclone's S3 is made of variables.
        command.env("S3_ENDPOINT_URL", server.url());
        command.env("RCLONE_CONFIG", "/dev/null").env("RCLONE_S3_PROVIDER", "Other").env("RCLONE_S3_ENV_AUTH", "true");
        command.env("RCLONE_S3_ENDPOINT", server.url());
        command
    }

    /// Uploads all of a folder below `s3://bucket/prefix`, what is over 5 MiB in parts.
    pub(crate) fn upload(self, server: &S3Server, folder: &Path, bucket: &str, prefix: &str) {
        let mut command = self.command(server);
        let there = format!("{bucket}/{prefix}");
        match self {
            Self::Aws => command.args(["s3", "sync", "--only-show-errors"]).arg(folder).arg(format!("s3://{there}")),
            Self::S5cmd => {
                let all = format!("{}/", folder.display());
                command.args(["--log", "error", "cp", "--part-size", "5", &all, &format!("s3://{there}")])
            }
            Self::Rclone => command
                .args(["copy", "--s3-upload-cutoff", "5M", "--s3-chunk-size", "5M"])
                .arg(folder)
                .arg(format!(":s3:{there}")),
        };
        // On a busy machine aws-cli sometimes takes an answer to a part for one without an ETag, and fails with nothing but that
        // word. What it has not put, it puts when it is asked again.
        let is_without_etag = |output: &Output| String::from_utf8_lossy(&output.stderr).trim_end().ends_with("'ETag'");
        let mut output = run(&mut command);
        for _ in 0..4 {
            if is_without_etag(&output) {
                output = run(&mut command);
            }
        }
        well(&command, output);
    }

    /// Downloads all below `s3://bucket/prefix` into a folder.
    pub(crate) fn download(self, server: &S3Server, bucket: &str, prefix: &str, folder: &Path) {
        let mut command = self.command(server);
        let there = format!("{bucket}/{prefix}");
        match self {
            Self::Aws => command.args(["s3", "sync", "--only-show-errors", &format!("s3://{there}")]).arg(folder),
            Self::S5cmd => {
                command.args(["--log", "error", "cp", &format!("s3://{there}*"), &format!("{}/", folder.display())])
            }
            Self::Rclone => command.args(["copy", &format!(":s3:{there}")]).arg(folder),
        };
        ran(&mut command);
    }
}

/// Runs a command that must succeed.
pub(crate) fn ran(command: &mut Command) -> Output {
    let output = run(command);
    well(command, output)
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

fn well(command: &Command, output: Output) -> Output {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    output
}
