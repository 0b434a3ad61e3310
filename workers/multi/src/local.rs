//! `multi-worker local`, layout D: the stages are this process's own children, on a laptop or all in one container.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use clap::builder::{PathBufValueParser, TypedValueParser};
use contract::exit;
use sidecar::tree;
use stage::Root;
use worker_kit::{Context, Job, JobError, WorkerArgs};

use self::children::Children;
use crate::engine;
use crate::inputs::Inputs;
use crate::pipeline::{self, Pipeline, PipelineError};
use crate::publish::{By, publish};

mod children;

pub(crate) const EXAMPLES: &str = "\
Examples:
  A pipeline over one video, by hand:
    echo '{\"uri\":\"file:///videos/a.mp4\",\"key\":\"a.mp4\"}' > item.json
    WORK_ITEM_FILE=item.json multi-worker local pipeline.yaml --allow-input /videos/ --output '/results/{key}/'
  Over every video of a folder, by a queue manager:
    queue-manager local --source http://127.0.0.1:8080 --until-empty -- \\
      multi-worker local pipeline.yaml --allow-input /videos/ --output '/results/{key}/' --timeout 2h
  See whether every stage's program is there:
    multi-worker local pipeline.yaml --check --allow-input /videos/ --output '/results/{key}/'";

/// Flags of `local`.
#[derive(Debug, Args)]
pub(crate) struct LocalArgs {
    /// The pipeline. Each stage needs a command, since images are ignored.
    #[arg(value_name = "FILE", value_parser = PathBufValueParser::new().try_map(open))]
    pipeline: Pipeline,
    #[command(flatten)]
    worker: WorkerArgs,
}

impl LocalArgs {
    /// What every worker has, and what this one does.
    pub(crate) fn split(self) -> (WorkerArgs, Local) {
        (self.worker, Local { pipeline: self.pipeline })
    }
}

/// A pipeline whose stages are children of this process.
#[derive(Debug)]
pub(crate) struct Local {
    pipeline: Pipeline,
}

fn open(path: PathBuf) -> Result<Pipeline, PipelineError> {
    let (pipeline, places) = pipeline::open(&path)?;
    match pipeline.stages.iter().find(|stage| stage.command.is_empty()) {
        None => Ok(pipeline),
        Some(stage) => {
            let message =
                format!("stage {} has no command, and images are not run here: say its `command`", stage.name);
            Err(places.error(Some(&stage.name), "command", message))
        }
    }
}

impl Job for Local {
    fn programs(&self) -> Vec<OsString> {
        self.pipeline.stages.iter().filter_map(|stage| stage.command.first()).map(OsString::from).collect()
    }

    async fn run(self, context: &mut Context) -> Result<(), JobError> {
        // What is published is written where it need only be renamed; a stage that fails leaves nothing there either.
        let hidden = context.output_dir().join(format!(".stages.{}", context.nonce()));
        let (scratch, published) = (Root::new(context.scratch_dir().join("pipeline")), Root::new(&hidden));
        let room = context.scratch_dir().join("inputs");
        let inputs =
            Inputs::new(room, context.environment()).map_err(|error| machine("make room for inputs", &error))?;
        let crew = Children::new(&self.pipeline, &scratch, &published, context);
        let mut crew = crew.map_err(|error| machine("make room for the stages", &error))?;
        let outputs = engine::run(&self.pipeline, &inputs, &mut crew, context).await?;
        publish(&self.pipeline, &outputs, context.output_dir(), By::Renaming).await?;
        let removed = tokio::task::spawn_blocking(move || tree::remove(&hidden)).await;
        removed
            .map_err(std::io::Error::other)
            .flatten()
            .map_err(|error| machine("remove what stages have left", &error))
    }
}

fn machine(act: &str, error: &std::io::Error) -> JobError {
    JobError::new(exit::IO, "IoError", format!("cannot {act}: {error}"))
}
