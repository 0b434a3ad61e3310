//! Asks a source for every promise of the contract.

use std::process::ExitCode;

fn main() -> ExitCode {
    sidecar::cli::main::<contract_check::Args>(contract_check::run)
}
