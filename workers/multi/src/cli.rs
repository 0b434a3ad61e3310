//! The command line.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use worker_kit::{Asked, Context, Job, JobError, Relay, WorkerArgs};

use crate::commit::{self, Commit, CommitArgs};
use crate::fetch::{self, FetchArgs};
use crate::local::{self, Local, LocalArgs};
use crate::render::{self, RenderArgs};
use crate::run::{self, Presence, Run, RunArgs};
use crate::schema;

const EXAMPLES: &str = "\
Examples:
  The only app container of a pod whose init containers are the stages:
    multi-worker run --stages detect,identify,blur --allow-input s3://videos/ --output 's3://results/{key}/'
  A pipeline over one video, its stages as processes of this machine:
    WORK_ITEM_FILE=item.json multi-worker local pipeline.yaml --allow-input /videos/ --output '/results/{key}/'
  The pod of that pipeline:
    multi-worker render pipeline.yaml --layout A";

/// Makes several unmodified images, or several commands, look like one worker: fetches one work item's input, runs the
/// stages of a pipeline over it, and publishes what they write, all or nothing.
#[derive(Debug, Parser)]
#[command(name = "multi-worker", version, after_help = EXAMPLES)]
struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Have the stages of a pipeline run in the other containers of this pod, over one work item.
    #[command(after_help = run::EXAMPLES)]
    Run(Box<RunArgs>),
    /// Run the stages of a pipeline as this machine's own processes, over one work item.
    #[command(after_help = local::EXAMPLES)]
    Local(Box<LocalArgs>),
    /// Get one work item's input for stages that are the init containers after this one.
    #[command(after_help = fetch::EXAMPLES)]
    Fetch(Box<FetchArgs>),
    /// Publish what stages wrote that were the init containers before this one.
    #[command(after_help = commit::EXAMPLES)]
    Commit(Box<CommitArgs>),
    /// Print a pipeline as a Job or a pod.
    #[command(after_help = render::EXAMPLES)]
    Render(Box<RenderArgs>),
    /// Print the JSON Schema of pipelines.
    #[command(after_help = schema::EXAMPLES)]
    Schema,
}

/// Whichever does an item.
enum Chosen {
    Run(Run),
    Local(Local),
    Commit(Commit),
}

impl Job for Chosen {
    fn programs(&self) -> Vec<OsString> {
        match self {
            Self::Run(job) => job.programs(),
            Self::Local(job) => job.programs(),
            Self::Commit(job) => job.programs(),
        }
    }

    async fn check(&self) -> Vec<JobError> {
        match self {
            Self::Run(job) => job.check().await,
            Self::Local(job) => job.check().await,
            Self::Commit(job) => job.check().await,
        }
    }

    fn relay(&self) -> Option<&Relay> {
        match self {
            Self::Run(_) | Self::Local(_) => None,
            Self::Commit(job) => job.relay(),
        }
    }

    async fn run(self, context: &mut Context) -> Result<(), JobError> {
        match self {
            Self::Run(job) => job.run(context).await,
            Self::Local(job) => job.run(context).await,
            Self::Commit(job) => job.run(context).await,
        }
    }
}

/// The whole program, from the command line to the exit code.
pub fn main() -> ExitCode {
    let presence = Presence::default();
    let item = |(worker, job): (WorkerArgs, Chosen)| Asked::Item(Box::new(worker), job);
    let code = worker_kit::main_or_errand(|args: Args| match args.verb {
        Verb::Run(args) => {
            let (worker, job) = args.split(presence.clone());
            item((worker, Chosen::Run(job)))
        }
        Verb::Local(args) => {
            let (worker, job) = args.split();
            item((worker, Chosen::Local(job)))
        }
        Verb::Fetch(args) => {
            let (worker, relay) = args.split();
            Asked::Fetch(Box::new(worker), relay)
        }
        Verb::Commit(args) => {
            let (worker, job) = args.split();
            item((worker, Chosen::Commit(job)))
        }
        Verb::Render(args) => Asked::Errand(Box::new(move || args.main())),
        Verb::Schema => Asked::Errand(Box::new(schema::main)),
    });
    presence.end();
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        sidecar::cli::command::<Args>().debug_assert();
    }
}
