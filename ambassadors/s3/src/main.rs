//! Serves a bucket through the source contract.

use std::process::ExitCode;

fn main() -> ExitCode {
    sidecar::cli::main::<s3_ambassador::Args>(s3_ambassador::run)
}
