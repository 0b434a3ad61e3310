//! What a pipeline is: stages, what each needs, and what becomes of the item when one fails.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use stage::StageName;
use stage::protocol::Reason;

mod check;
mod error;
pub(crate) mod fixed;
mod order;
mod places;
mod read;
mod values;
mod wire;
mod words;

pub(crate) use check::mentions;
pub use error::{PipelineError, Place};
pub(crate) use places::Places;
pub(crate) use read::open;

/// A pipeline that makes sense: at least one stage, no name twice, needs that exist and do not go in circles.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// What it is called; manifests are named after it.
    pub name: StageName,
    /// In an order in which each stage stands after those that it needs.
    pub stages: Vec<Stage>,
    /// Whose outputs are the item's output. One: what it wrote. Several: what each wrote, below its name.
    pub publish: Vec<StageName>,
    /// What `render` puts into the pod beside what it makes itself.
    pub pod: Manifest,
    /// What `render` puts into the adapter's container.
    pub adapter: Adapter,
}

/// A part of a manifest, as its author wrote it.
pub type Manifest = serde_json::Map<String, serde_json::Value>;

/// The container of the multi-worker itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Adapter {
    /// The image that holds `multi-worker` and `stage-shim`; this release's where it is not said.
    pub image: Option<String>,
    /// Settings of the adapter, as variables: `LONGSHORE_OUTPUT`, `LONGSHORE_ALLOW_INPUT`.
    pub env: BTreeMap<String, String>,
    /// What the container has beside that.
    pub container: Manifest,
}

/// One stage: an image's command, run over what the stages before it wrote.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// What it is called.
    pub name: StageName,
    /// The image that holds the command; nothing where stages are processes of this machine.
    pub image: Option<String>,
    /// The program and its arguments; `$(NAME)` is one of the variables that a stage is given. Empty: the image's own.
    pub command: Vec<String>,
    /// More arguments; they replace the image's own `CMD`, as in a pod.
    pub args: Vec<String>,
    /// Where it runs; otherwise in the image's own directory.
    pub working_dir: Option<PathBuf>,
    /// Variables that it gets.
    pub env: BTreeMap<String, String>,
    /// Which stages must have succeeded before it begins.
    pub needs: Vec<StageName>,
    /// How long it may take until the stage is there and has begun, from the moment that it is asked to.
    pub start_timeout: Duration,
    /// How long each of its attempts may run.
    pub timeout: Option<Duration>,
    /// What is tried again.
    pub retries: Retries,
    /// What its failure means for the item.
    pub on_error: OnError,
    /// When it is run at all.
    pub when: When,
    /// Its exit codes that say that the item is hopeless.
    pub permanent_exit: Vec<u8>,
    /// What its container has beside that: resources, volume mounts, a security context.
    pub container: Manifest,
}

/// Which failures of a stage are tried again within the item's attempt, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Retries {
    /// How many attempts may follow the first.
    pub limit: u32,
    /// The pause before the second attempt; it doubles from there.
    pub backoff: Duration,
    /// The longest pause.
    pub max_backoff: Duration,
    /// What is tried again; empty: every failure but those of `permanent_exit`, a cancellation and a command that is not there.
    pub on: Vec<RetryOn>,
}

/// A failure that is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RetryOn {
    /// The command exited with this code.
    Code(u8),
    /// It ended for this reason.
    Reason(Reason),
}

/// What the failure of a stage means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// The item has failed: stages that run are stopped, none begins but those of [`When::Always`].
    #[default]
    Fail,
    /// Those that need it begin all the same, and find nothing of it.
    Continue,
}

/// When a stage is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum When {
    /// Once all that it needs has succeeded.
    #[default]
    Succeeded,
    /// Once all that it needs is over or will never begin, whatever became of it, and of the item. Not after a cancellation.
    Always,
}

impl Pipeline {
    /// Where the stage of that name stands in [`Self::stages`].
    pub(crate) fn place(&self, name: &StageName) -> Option<usize> {
        self.stages.iter().position(|stage| stage.name == *name)
    }
}

/// The JSON Schema of a pipeline's text.
pub(crate) fn schema(generator: schemars::SchemaGenerator) -> schemars::Schema {
    generator.into_root_schema_for::<wire::WirePipeline>()
}

impl Default for Retries {
    fn default() -> Self {
        Self { limit: 0, backoff: Duration::from_secs(1), max_backoff: Duration::from_secs(60), on: Vec::new() }
    }
}

#[cfg(test)]
mod tests;
