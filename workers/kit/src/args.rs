//! Flags that every worker has.

use clap::Args;
use sidecar::ProcessArgs;

/// Flags that every worker has; flatten it into the worker's own.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Worker")]
pub struct WorkerArgs {
    #[command(flatten)]
    pub(crate) process: ProcessArgs,
}
