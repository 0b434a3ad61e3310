//! Serves a folder through the source contract.

use std::process::ExitCode;

fn main() -> ExitCode {
    sidecar::cli::main::<files_ambassador::Args>(files_ambassador::run)
}
