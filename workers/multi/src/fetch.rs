//! `multi-worker fetch`, the first container of layout B: gets the item's inputs for the stages that follow.

use clap::Args;
use worker_kit::{Relay, WorkerArgs};

use crate::pipeline::fixed::Fixed;
use crate::settings::Shared;

pub(crate) const EXAMPLES: &str = "\
Examples:
  The first init container of a pod whose other init containers are the stages, given its settings as variables:
    LONGSHORE_ALLOW_INPUT=s3://videos/ LONGSHORE_OUTPUT='s3://results/{key}/' multi-worker fetch
  What puts all of that into a pod:
    multi-worker render pipeline.yaml --layout B";

/// Flags of `fetch`.
#[derive(Debug, Args)]
pub(crate) struct FetchArgs {
    #[command(flatten)]
    shared: Shared,
    #[command(flatten)]
    worker: WorkerArgs,
}

impl FetchArgs {
    /// What every worker has, and where the item goes.
    pub(crate) fn split(self) -> (WorkerArgs, Relay) {
        (self.worker, Fixed::new(self.shared.root).relay())
    }
}
