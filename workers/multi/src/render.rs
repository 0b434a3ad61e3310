//! A pipeline as a pod spec: what `kubectl apply` takes, with everything a layout needs and nothing it cannot keep.

mod chain;
mod container;
mod item;
mod job;
mod pod;
mod sidecars;
mod yaml;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::Value;
use sidecar::cli::value;

use self::item::ItemFrom;
use crate::pipeline::{Pipeline, PipelineError, Places, open};
use crate::resolve::{Platform, ResolveError, Resolver};

/// The image that holds `multi-worker` and `stage-shim` of this release.
const IMAGE: &str = concat!("ghcr.io/longshore-dev/multi-worker:", env!("CARGO_PKG_VERSION"));
/// The API server and etcd take no larger object.
const LONGEST: usize = 1 << 20;

/// Ends the help of `multi-worker render`.
pub const EXAMPLES: &str = "\
Examples:
  A Job whose item a queue manager writes into the pod's annotation longshore.dev/item:
    multi-worker render faces.yaml | kubectl create -f -
  A pod for one video, to see it work:
    multi-worker render faces.yaml --as pod --item '{\"uri\": \"s3://videos/a.mp4\"}' | kubectl apply -f -
  An image whose entry point is not known here:
    podman save -o blur.tar registry.example/blur:1 && multi-worker render faces.yaml --resolve blur.tar
  Images whose entry points must stay:
    multi-worker render faces.yaml --layout B
";

/// What `multi-worker render` takes.
#[derive(Clone, Debug, Args)]
pub struct RenderArgs {
    /// The pipeline, as YAML or JSON.
    #[arg(value_name = "PIPELINE")]
    pipeline: PathBuf,
    /// A: stages are native sidecars, sequenced by the multi-worker (Kubernetes 1.29 or later). B: a plain chain of init containers, for images
    /// whose entry point must stay.
    #[arg(long, value_enum, ignore_case = true, default_value_t = Layout::A)]
    layout: Layout,
    /// What is printed.
    #[arg(long = "as", id = "as", value_enum, default_value_t = Kind::Job)]
    kind: Kind,
    /// The namespace it is for; kubectl's own without it.
    #[arg(long, value_name = "NAME", value_parser = label)]
    namespace: Option<String>,
    /// Where the item comes from: `annotation` (whoever creates the pod writes it into the annotation longshore.dev/item, as a queue manager does),
    /// `configmap/NAME` or `secret/NAME` (under the key item.json), a JSON object, or a file that holds one.
    #[arg(long, value_name = "FROM", default_value = "annotation")]
    item: ItemFrom,
    /// An OCI layout directory, or an archive as `podman save` or `docker save` writes it, from which the entry points of images are taken for stages that have
    /// no command (layout A); repeatable.
    #[arg(long, value_name = "PATH")]
    resolve: Vec<PathBuf>,
    /// For which platform the images are that --resolve looks into, as linux/arm64; this machine's without it.
    #[arg(long, value_name = "OS/ARCH", default_value_t = Platform::here())]
    platform: Platform,
    /// The image that holds multi-worker and stage-shim, where the pipeline names none.
    #[arg(long, value_name = "IMAGE", default_value = IMAGE)]
    image: String,
    /// How long the pod may live: a stage whose image cannot be pulled keeps the multi-worker from starting, and nobody else would notice.
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = value::positive_duration)]
    deadline: Duration,
}

/// Where stages run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Layout {
    /// Native sidecars.
    #[value(name = "A")]
    A,
    /// Init containers.
    #[value(name = "B")]
    B,
}

/// What is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A pod, run once.
    Pod,
    /// A Job: pods until one succeeds, or says that no other will.
    Job,
}

/// Why no manifest could be made.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// The pipeline is none, or the layout cannot keep what it says.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// The item cannot be had.
    #[error("--item {0}")]
    Item(String),
    /// No entry point was found for a stage.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// It would be more than an API server takes.
    #[error(
        "the manifest has {0} bytes, and Kubernetes takes less than 1 MiB; put what is long into a ConfigMap or an image"
    )]
    TooLong(usize),
}

/// A pipeline on its way into a manifest.
struct Rendering<'a> {
    args: &'a RenderArgs,
    pipeline: &'a Pipeline,
    places: &'a Places,
}

impl RenderArgs {
    /// The manifest, as YAML.
    ///
    /// # Errors
    /// What the pipeline says that the layout cannot keep, with its place; and whatever is missing.
    pub fn render(&self) -> Result<String, RenderError> {
        let (pipeline, places) = open(&self.pipeline)?;
        let rendering = Rendering { args: self, pipeline: &pipeline, places: &places };
        let manifest = rendering.manifest()?;
        let layout = match self.layout {
            Layout::A => "A",
            Layout::B => "B",
        };
        let origin: String = self.pipeline.display().to_string().chars().filter(|c| !c.is_control()).collect();
        let text = format!("# multi-worker render {origin} --layout {layout}\n{}", yaml::text(&manifest));
        if text.len() > LONGEST { Err(RenderError::TooLong(text.len())) } else { Ok(text) }
    }

    /// Prints the manifest.
    pub fn main(&self) -> ExitCode {
        use std::io::Write;
        match self.render() {
            Ok(text) => match std::io::stdout().write_all(text.as_bytes()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::from(contract::exit::IO),
            },
            Err(error) => {
                let _ = writeln!(std::io::stderr(), "error: {}", sidecar::chain(&error));
                ExitCode::from(contract::exit::CONFIG)
            }
        }
    }
}

impl Rendering<'_> {
    fn manifest(&self) -> Result<Value, RenderError> {
        let item = self.args.item.read().map_err(RenderError::Item)?;
        let containers = match self.args.layout {
            Layout::A => self.sidecars(&Resolver::open(&self.args.resolve, &self.args.platform)?)?,
            Layout::B => self.chain()?,
        };
        let pod = self.pod(containers, &item)?;
        Ok(match self.args.kind {
            Kind::Pod => self.as_pod(&pod, &item),
            Kind::Job => self.as_job(&pod, &item)?,
        })
    }
}

/// A DNS-1123 label.
fn label(text: &str) -> Result<String, String> {
    let legal = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if legal && (1..=63).contains(&text.len()) && !text.starts_with('-') && !text.ends_with('-') {
        Ok(text.to_owned())
    } else {
        Err("1 to 63 lower-case letters, digits and dashes, no dash first or last".into())
    }
}

#[cfg(test)]
mod tests;
