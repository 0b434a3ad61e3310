//! `multi-worker run`, layout A: the adapter of a pod whose other containers are the stages.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clap::Args;
use contract::exit;
use sidecar::fault;
use stage::files::{self, next_step};
use stage::protocol::Done;
use stage::{AdapterDir, Life, Root, StageDir};
use tracing::warn;
use worker_kit::{Context, Job, JobError, WorkerArgs};

use self::adapter::{Adapter, remove};
use crate::engine;
use crate::inputs::Inputs;
use crate::pipeline::Pipeline;
use crate::publish::{By, publish};
use crate::settings::{Shared, Which};

mod adapter;
mod roll_call;

pub(crate) const EXAMPLES: &str = "\
Examples:
  The only app container of a pod whose init containers detect, identify and blur run stage-shims, one stage after another:
    multi-worker run --stages detect,identify,blur --allow-input s3://videos/ --output 's3://results/{key}/'
  A pipeline of its own, mounted from a ConfigMap; an hour for all of it:
    multi-worker run --pipeline /config/pipeline.yaml --timeout 1h --allow-input s3://videos/ --output 's3://results/{key}/'
  See whether the stores can be reached and every stage's shim is there; it is waited for, 10 seconds in all:
    multi-worker run --check --stages detect,identify,blur --allow-input s3://videos/ --output 's3://results/{key}/'
  What puts all of that into a pod:
    multi-worker render pipeline.yaml --layout A";

/// Flags of `run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    shared: Shared,
    /// Never take the lock by which stages know at once that this process is dead; they have its heartbeat, and know it after
    /// ten seconds.
    #[arg(long)]
    no_lock: bool,
    /// How long the shim of a stage that runs may go on without a heartbeat while it holds its lock. It hangs then, and the
    /// attempt is lost.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = sidecar::cli::value::duration)]
    hang_timeout: Duration,
    #[command(flatten)]
    worker: WorkerArgs,
}

impl RunArgs {
    /// What every worker has, and what this one does.
    pub(crate) fn split(self, presence: Presence) -> (WorkerArgs, Run) {
        let (pipeline, root) = (self.which.pipeline(), self.shared.root);
        let scratch = root.adapter().scratch();
        // Who needs it says so if it cannot be made.
        let _ = fs::create_dir_all(&scratch);
        let run = Run { pipeline, root, locks: !self.no_lock, hang_timeout: self.hang_timeout, presence };
        (self.worker.scratch_or(scratch), run)
    }
}

/// That this process lives, for the stages to see; kept until it ends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Presence(Arc<OnceLock<Present>>);

#[derive(Debug)]
struct Present {
    dir: AdapterDir,
    stages: Vec<StageDir>,
    life: Life,
}

impl Presence {
    /// From now on nobody else lives there; the stages do not know it yet.
    fn begin(&self, root: &Root, pipeline: &Pipeline, locks: bool) -> io::Result<&Present> {
        let dir = root.adapter();
        let life = Life::begin_quietly(dir.path(), concat!("multi-worker ", env!("CARGO_PKG_VERSION")), locks)?;
        let stages = pipeline.stages.iter().map(|stage| root.stage(&stage.name)).collect();
        Ok(self.0.get_or_init(|| Present { dir, stages, life }))
    }

    /// Tells the stages, if there are any, that there is no more work. To be called when all else is done: what a kubelet sees end
    /// before this process it starts again.
    pub(crate) fn end(&self) {
        let Some(present) = self.0.get() else { return };
        let Present { dir, life, .. } = present;
        let told = fault::point("multi.done.before");
        match told.and_then(|()| files::write(&dir.done(), &Done { adapter: life.boot().clone() })) {
            Ok(()) => present.ring(),
            Err(error) => warn!(%error, "the stages cannot be told that there is no more work"),
        }
    }
}

impl Present {
    /// Tells the stages who lives here.
    fn greet(&self) -> io::Result<()> {
        self.life.greet()?;
        self.ring();
        Ok(())
    }

    fn ring(&self) {
        self.stages.iter().for_each(|stage| stage::ring(stage.path()));
    }
}

/// A pipeline whose stages are other containers.
#[derive(Debug)]
pub(crate) struct Run {
    pipeline: Pipeline,
    root: Root,
    locks: bool,
    hang_timeout: Duration,
    presence: Presence,
}

impl Job for Run {
    fn programs(&self) -> Vec<OsString> {
        Vec::new()
    }

    async fn check(&self) -> Vec<JobError> {
        roll_call::missing(&self.pipeline, &self.root).await
    }

    async fn run(self, context: &mut Context) -> Result<(), JobError> {
        let dir = self.root.adapter();
        let present = self.presence.begin(&self.root, &self.pipeline, self.locks).map_err(|error| unseen(&error))?;
        let failed = |act: &str| {
            let act = act.to_owned();
            move |error: io::Error| machine(&act, &error)
        };
        [dir.path(), &dir.scratch()].into_iter().try_for_each(pass).map_err(failed("let the stages in"))?;
        let crew = Adapter::begin(&self.pipeline, &self.root, present.life.boot().clone(), self.hang_timeout, context);
        let mut crew = crew.map_err(failed("make room for orders"))?;
        // Only now: who comes finds where orders will appear, and none of an earlier life's. He comes while the rest is done.
        present.greet().map_err(|error| unseen(&error))?;
        fault::point("multi.hello.after").map_err(|error| unseen(&error))?;
        context.share_inputs().map_err(failed("let the stages read the item's input"))?;
        let room = dir.path().join("inputs");
        remove(&room).map_err(failed("remove what an earlier life has left"))?;
        let mut inputs = Inputs::new(room, context.environment()).map_err(failed("make room for inputs"))?;
        inputs.share().map_err(failed("let the stages read the item"))?;
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
