//! Serves a topic through the source contract.

use std::process::ExitCode;

fn main() -> ExitCode {
    sidecar::cli::main::<kafka_ambassador::Args>(kafka_ambassador::run)
}
