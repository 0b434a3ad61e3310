//! Serves a Redis list or stream through the source contract.

use std::process::ExitCode;

fn main() -> ExitCode {
    sidecar::cli::main::<redis_ambassador::Args>(redis_ambassador::run)
}
