//! Where things stand in a pipeline's text, for errors that are found only when it is used.

use std::collections::BTreeMap;

use stage::StageName;

use super::PipelineError;
use super::error::Place;
use super::wire::At;

/// Where the fields of a pipeline, and of each stage, stand in its text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    origin: String,
    fields: BTreeMap<(Option<StageName>, String), Place>,
}

impl Places {
    /// Of a text that came from `origin`.
    pub(crate) fn new(origin: &str) -> Self {
        Self { origin: origin.to_owned(), ..Self::default() }
    }

    /// What is wrong with something in that text.
    pub(crate) fn wrong<T>(&self, at: &At<T>, message: impl Into<String>) -> PipelineError {
        PipelineError::new(&self.origin, at.place, message)
    }

    /// What is wrong with a field, of a stage or of the pipeline; said of the stage where the field does not stand in the text.
    pub(crate) fn error(&self, stage: Option<&StageName>, field: &str, message: String) -> PipelineError {
        let place = |field: &str| self.fields.get(&(stage.cloned(), field.to_owned())).copied();
        PipelineError::new(&self.origin, place(field).or_else(|| place("")), message)
    }

    /// Remembers where a field stands, if it is there.
    pub(crate) fn note<T>(&mut self, stage: Option<&StageName>, field: &str, at: Option<&At<T>>) {
        if let Some(place) = at.and_then(|at| at.place) {
            self.fields.insert((stage.cloned(), field.to_owned()), place);
        }
    }

    /// Whether somebody wrote this field.
    pub(crate) fn stands(&self, stage: Option<&StageName>, field: &str) -> bool {
        self.fields.contains_key(&(stage.cloned(), field.to_owned()))
    }
}
