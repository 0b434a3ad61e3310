//! `multi-worker commit`, the last container of layout B: publishes what the stages before it wrote.

use std::ffi::OsString;
use std::path::Path;

use clap::Args;
use contract::exit;
use worker_kit::{Context, Job, JobError, Relay, WorkerArgs};

use crate::pipeline::Pipeline;
use crate::pipeline::fixed::Fixed;
use crate::publish::{By, publish};
use crate::settings::{Shared, Which};

pub(crate) const EXAMPLES: &str = "\
Examples:
  The app container of a pod whose init containers are a fetch and the stages; what blur wrote is the output:
    multi-worker commit --stages detect,identify,blur --allow-input s3://videos/ --output 's3://results/{key}/'
  What puts all of that into a pod:
    multi-worker render pipeline.yaml --layout B";

/// Flags of `commit`.
#[derive(Debug, Args)]
pub(crate) struct CommitArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    shared: Shared,
    #[command(flatten)]
    worker: WorkerArgs,
}

impl CommitArgs {
    /// What every worker has, and what this one does.
    pub(crate) fn split(self) -> (WorkerArgs, Commit) {
        let fixed = Fixed::new(self.shared.root);
        (self.worker, Commit { pipeline: self.which.pipeline(), relay: fixed.relay(), fixed })
    }
}

/// A pipeline whose stages have run, one after the other, each to a good end: otherwise Kubernetes had not come here.
#[derive(Debug)]
pub(crate) struct Commit {
    pipeline: Pipeline,
    fixed: Fixed,
    relay: Relay,
}

impl Job for Commit {
    fn programs(&self) -> Vec<OsString> {
        Vec::new()
    }

    fn relay(&self) -> Option<&Relay> {
        Some(&self.relay)
    }

    async fn run(self, context: &mut Context) -> Result<(), JobError> {
        let outputs = self.pipeline.stages.iter().map(|stage| {
            let output = self.fixed.output(&stage.name);
            let is_published = self.pipeline.publish.contains(&stage.name);
            if is_published && !output.is_dir() { Err(unmounted(&output)) } else { Ok(Some(output)) }
        });
        let outputs = outputs.collect::<Result<Vec<_>, _>>()?;
        publish(&self.pipeline, &outputs, context.output_dir(), By::Copying).await
    }
}

fn unmounted(output: &Path) -> JobError {
    let message =
        format!("{} is not there: mount the volume that the stage writes to there, read-only", output.display());
    JobError::new(exit::CONFIG, "OutputNotMounted", message)
}
