//! Reading and writing pipelines as text.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_saphyr::Options;
use stage::StageName;

use super::check::{START_TIMEOUT, check};
use super::places::Places;
use super::values::{Code, Name, Retryable, Span};
use super::wire::{ApiVersion, At, Kind, WireAdapter, WireOnError, WirePipeline, WireRetries, WireStage, WireWhen};
use super::{OnError, Pipeline, PipelineError, Retries, Stage, When};

/// The most bytes that a pipeline may have.
const LONGEST: usize = 1 << 20;

impl Pipeline {
    /// Reads a pipeline from a text, YAML or JSON, that came from `origin`: a file's path, or a flag's name.
    ///
    /// # Errors
    /// What is wrong, where, and the next step.
    pub fn parse(text: &str, origin: &str) -> Result<Self, PipelineError> {
        parse(text, origin).map(|(pipeline, _)| pipeline)
    }

    /// Reads a pipeline from a file.
    ///
    /// # Errors
    /// As [`Self::parse`], or that the file cannot be read.
    pub fn open(path: &Path) -> Result<Self, PipelineError> {
        open(path).map(|(pipeline, _)| pipeline)
    }

    /// One stage after another, each reading what the one before it wrote; the last one's output is the item's.
    ///
    /// # Errors
    /// When there is no name, or one twice.
    pub fn chain(names: &[StageName]) -> Result<Self, PipelineError> {
        let mut before: Option<StageName> = None;
        let stages = names.iter().map(|name| {
            let needs = before.replace(name.clone()).map(Name).map(At::nowhere).into_iter().collect();
            At::nowhere(WireStage { needs, ..bare(name) })
        });
        let stages = At::nowhere(stages.collect());
        let name = At::nowhere(Name("pipeline".parse().expect("a name")));
        let wire = WirePipeline { name, stages, ..empty() };
        check(wire, "--stages").map(|(pipeline, _)| pipeline)
    }

    /// What an adapter must know of it, as YAML that [`Self::parse`] reads: all but images, commands and manifests.
    pub fn to_text(&self) -> String {
        let name = At::nowhere(Name(self.name.clone()));
        let stages = At::nowhere(self.stages.iter().map(|stage| At::nowhere(told(stage))).collect());
        let publish = Some(At::nowhere(self.publish.iter().cloned().map(Name).map(At::nowhere).collect()));
        let wire = WirePipeline { name, stages, publish, ..empty() };
        serde_saphyr::to_string(&wire).expect("names, numbers and words can always be written")
    }
}

pub(crate) fn open(path: &Path) -> Result<(Pipeline, Places), PipelineError> {
    let origin = path.display().to_string();
    let unreadable = |why: String| PipelineError::new(&origin, None, format!("this file cannot be read: {why}"));
    let file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
    let mut bytes = Vec::new();
    // One byte more tells a file that is too long from one that just is not.
    let most = u64::try_from(LONGEST).unwrap_or(u64::MAX) + 1;
    file.take(most).read_to_end(&mut bytes).map_err(|error| unreadable(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        unreadable(format!("it is not UTF-8 from byte {at} on"))
    })?;
    parse(&text, &origin)
}

pub(crate) fn parse(text: &str, origin: &str) -> Result<(Pipeline, Places), PipelineError> {
    if text.len() > LONGEST {
        return Err(PipelineError::new(origin, None, "this is longer than 1 MiB, and so no pipeline"));
    }
    let wire =
        serde_saphyr::from_str_with_options(text, options()).map_err(|error| PipelineError::of_yaml(origin, &error))?;
    check(wire, origin)
}

/// YAML 1.2, but for octal numbers, which `defaultMode: 0555` means wherever Kubernetes is spoken. What unfolds to more than any pipeline
/// has, is refused.
fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_documents: 1,
            max_depth: 32,
            flow_nesting_limit: 32,
            max_events: 200_000,
            max_nodes: 100_000,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_recorded_anchor_events: 200_000,
            max_recorded_anchor_bytes: LONGEST,
            max_merge_keys: 1_000,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 100_000,
            max_replay_stack_depth: 16,
        },
        strict_booleans: true,
        legacy_octal_numbers: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

fn empty() -> WirePipeline {
    WirePipeline {
        api_version: ApiVersion::V1,
        kind: Kind::Pipeline,
        name: At::nowhere(Name("pipeline".parse().expect("a name"))),
        stages: At::nowhere(Vec::new()),
        publish: None,
        adapter: WireAdapter::default(),
        pod: BTreeMap::new(),
    }
}

fn bare(name: &StageName) -> WireStage {
    WireStage {
        name: At::nowhere(Name(name.clone())),
        image: None,
        command: None,
        args: None,
        working_dir: None,
        env: BTreeMap::new(),
        needs: Vec::new(),
        start_timeout: None,
        timeout: None,
        retries: None,
        on_error: None,
        when: None,
        permanent_exit: None,
        container: BTreeMap::new(),
    }
}

/// A stage, less what its container knows.
fn told(stage: &Stage) -> WireStage {
    let codes = || stage.permanent_exit.iter().map(|code| At::nowhere(Code(*code))).collect();
    WireStage {
        needs: stage.needs.iter().cloned().map(Name).map(At::nowhere).collect(),
        start_timeout: (stage.start_timeout != START_TIMEOUT).then(|| At::nowhere(Span(stage.start_timeout))),
        timeout: stage.timeout.map(Span).map(At::nowhere),
        retries: (stage.retries != Retries::default()).then(|| At::nowhere(retries(&stage.retries))),
        on_error: (stage.on_error != OnError::default()).then(|| At::nowhere(WireOnError::Continue)),
        when: (stage.when != When::default()).then(|| At::nowhere(WireWhen::Always)),
        permanent_exit: (!stage.permanent_exit.is_empty()).then(|| At::nowhere(codes())),
        ..bare(&stage.name)
    }
}

fn retries(retries: &Retries) -> WireRetries {
    let on: Vec<_> = retries.on.iter().cloned().map(Retryable).map(At::nowhere).collect();
    WireRetries {
        limit: At::nowhere(retries.limit),
        backoff: Some(At::nowhere(Span(retries.backoff))),
        max_backoff: Some(At::nowhere(Span(retries.max_backoff))),
        on: (!on.is_empty()).then(|| At::nowhere(on)),
    }
}
