//! Flags that several commands have: which pipeline it is, and where the containers of a pod meet.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{NonEmptyStringValueParser, PathBufValueParser, TypedValueParser};
use stage::{Root, StageName};

use crate::pipeline::{Pipeline, PipelineError};

/// The pipeline.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Which {
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

impl Which {
    /// The one that was said.
    pub(crate) fn pipeline(self) -> Pipeline {
        self.stages.or(self.pipeline).or(self.pipeline_text).expect("one of the three is required")
    }
}

/// Where the containers of a pod meet.
#[derive(Debug, Args)]
pub(crate) struct Shared {
    /// The directory tree that this container and those of the stages share, at the same path in each.
    #[arg(long, value_name = "DIR", default_value = Root::DEFAULT, value_parser = NonEmptyStringValueParser::new().try_map(root))]
    pub(crate) root: Root,
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
