//! The program, for a bucket.

use std::process::{Command, Output};

use longshore_tests::Ambassador;

use crate::served::Bucket;

const PROGRAM: &str = env!("CARGO_BIN_EXE_s3-ambassador");

/// The program with what it needs to reach the bucket's server, which is not this machine's own configuration.
pub(crate) fn command(bucket: &Bucket, flags: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.envs(bucket.env.iter().cloned()).env("AWS_ENDPOINT_URL", &bucket.endpoint).args(flags);
    command
}

/// An ambassador of the bucket that the flags name.
pub(crate) async fn serving(bucket: &Bucket, flags: &[&str]) -> Ambassador {
    Ambassador::start(command(bucket, flags)).await
}

/// Run to its end.
pub(crate) fn run(bucket: &Bucket, flags: &[&str]) -> Output {
    command(bucket, flags).output().expect("the program starts")
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
