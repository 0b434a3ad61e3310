//! Lists a source, remembers what is done, and runs one worker per item.

use std::process::ExitCode;

use queue_manager::args::ManagerArgs;

fn main() -> ExitCode {
    sidecar::cli::main::<ManagerArgs>(queue_manager::command::run)
}
