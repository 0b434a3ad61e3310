//! `multi-worker run`, layout A: the adapter of a pod whose other containers are the stages.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use clap::Args;
use clap::builder::{NonEmptyStringValueParser, PathBufValueParser, TypedValueParser};
use contract::exit;
use stage::files::{self, next_step};
use stage::protocol::Done;
use stage::{AdapterDir, Life, Root, StageName};
use tracing::warn;
use worker_kit::{Context, Job, JobError, WorkerArgs};

use self::adapter::{Adapter, remove};
use crate::engine;
use crate::inputs::Inputs;
use crate::pipeline::{Pipeline, PipelineError};
use crate::publish::{By, publish};

mod adapter;

pub(crate) const EXAMPLES: &str = "\
Examples:
  The only app container of a pod whose init containers detect, identify and blur run stage-shims, one stage after another:
    multi-worker run --stages detect,identify,blur --allow-input s3://videos/ --output 's3://results/{key}/'
  A pipeline of its own, mounted from a ConfigMap; an hour for all of it:
    multi-worker run --pipeline /config/pipeline.yaml --timeout 1h --allow-input s3://videos/ --output 's3://results/{key}/'
  What puts all of that into a pod:
    multi-worker render pipeline.yaml --layout A";

/// Flags of `run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    which: Which,
    /// The directory tree that this container and those of the stages share, at the same path in each.
    #[arg(long, value_name = "DIR", default_value = Root::DEFAULT, value_parser = NonEmptyStringValueParser::new().try_map(root))]
    root: Root,
    /// Never take the lock by which stages know at once that this process is dead; they have its heartbeat, and know it after
    /// ten seconds.
    #[arg(long)]
    no_lock: bool,
    #[command(flatten)]
    worker: WorkerArgs,
}

/// The pipeline.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// The stages, each of which reads what the one before it wrote.
    #[arg(long, value_name = "NAME,…", value_parser = NonEmptyStringValueParser::new().try_map(chain))]
    stages: Option<Pipeline>,
    /// A file with the pipeline; images and commands are passed over, since the stages' containers have them.
    #[arg(long, value_name = "FILE", value_parser = PathBufValueParser::new().try_map(|path: PathBuf| Pipeline::open(&path)))]
    pipeline: Option<Pipeline>,
    /// The pipeline itself.
    #[arg(long, value_name = "YAML", value_parser = NonEmptyStringValueParser::new().try_map(text))]
    pipeline_text: Option<Pipeline>,
}

fn root(path: String) -> Result<Root, String> {
    if path.starts_with('/') {
        Ok(Root::new(path))
    } else {
        Err("it must begin with a slash: containers change directories".into())
    }
}

fn chain(names: String) -> Result<Pipeline, Box<dyn std::error::Error + Send + Sync>> {
    let names = names.split(',').map(|name| name.trim().parse::<StageName>()).collect::<Result<Vec<_>, _>>()?;
    Ok(Pipeline::chain(&names)?)
}

fn text(text: String) -> Result<Pipeline, PipelineError> {
    Pipeline::parse(&text, "--pipeline-text")
}

impl RunArgs {
    /// What every worker has, and what this one does.
    pub(crate) fn split(self, presence: Presence) -> (WorkerArgs, Run) {
        let Which { stages, pipeline, pipeline_text } = self.which;
        let pipeline = stages.or(pipeline).or(pipeline_text).expect("one of the three is required");
        let scratch = self.root.adapter().scratch();
        // Who needs it says so if it cannot be made.
        let _ = fs::create_dir_all(&scratch);
        let run = Run { pipeline, root: self.root, locks: !self.no_lock, presence };
        (self.worker.scratch_or(scratch), run)
    }
}

/// That this process lives, for the stages to see; kept until it ends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Presence(Arc<OnceLock<(AdapterDir, Life)>>);

impl Presence {
    fn begin(&self, dir: AdapterDir, locks: bool) -> io::Result<&Life> {
        let life = Life::begin(dir.path(), concat!("multi-worker ", env!("CARGO_PKG_VERSION")), locks)?;
        Ok(&self.0.get_or_init(|| (dir, life)).1)
    }

    /// Tells the stages, if there are any, that there is no more work. To be called when all else is done: what a kubelet sees end
    /// before this process it starts again.
    pub(crate) fn end(&self) {
        let Some((dir, life)) = self.0.get() else { return };
        if let Err(error) = files::write(&dir.done(), &Done { adapter: life.boot().clone() }) {
            warn!(%error, "the stages cannot be told that there is no more work");
        }
    }
}

/// A pipeline whose stages are other containers.
#[derive(Debug)]
pub(crate) struct Run {
    pipeline: Pipeline,
    root: Root,
    locks: bool,
    presence: Presence,
}

impl Job for Run {
    fn programs(&self) -> Vec<OsString> {
        Vec::new()
    }

    async fn run(self, context: &mut Context) -> Result<(), JobError> {
        let dir = self.root.adapter();
        let boot = self.presence.begin(dir.clone(), self.locks).map_err(|error| unseen(&error))?.boot().clone();
        let failed = |act: &str| {
            let act = act.to_owned();
            move |error: io::Error| machine(&act, &error)
        };
        [dir.path(), &dir.scratch()].into_iter().try_for_each(pass).map_err(failed("let the stages in"))?;
        context.share_inputs().map_err(failed("let the stages read the item's input"))?;
        let room = dir.path().join("inputs");
        remove(&room).map_err(failed("remove what an earlier life has left"))?;
        let mut inputs = Inputs::new(room, context.environment()).map_err(failed("make room for inputs"))?;
        inputs.share().map_err(failed("let the stages read the item"))?;
        let crew = Adapter::begin(&self.pipeline, &self.root, boot, context);
        let mut crew = crew.map_err(failed("make room for orders"))?;
        let outputs = engine::run(&self.pipeline, &inputs, &mut crew, context).await?;
        publish(&self.pipeline, &outputs, context.output_dir(), By::Copying).await
    }
}

/// Lets every user into a directory, whatever the umask under which it was made.
fn pass(dir: &Path) -> io::Result<()> {
    const PASSABLE: u32 = 0o055;
    let mode = dir.metadata()?.mode();
    if mode & PASSABLE == PASSABLE {
        Ok(())
    } else {
        fs::set_permissions(dir, Permissions::from_mode(mode & 0o7777 | PASSABLE))
    }
}

/// The stages cannot see that this process lives.
fn unseen(error: &io::Error) -> JobError {
    if error.kind() == io::ErrorKind::ResourceBusy {
        return JobError::new(exit::CONFIG, "AlreadyRunning", error.to_string());
    }
    machine("say that this process lives", error)
}

fn machine(act: &str, error: &io::Error) -> JobError {
    JobError::new(exit::IO, "MachineError", format!("cannot {act}: {error}{}", next_step(error)))
}
