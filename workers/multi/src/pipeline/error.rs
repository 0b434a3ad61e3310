//! Why a text is no pipeline: where, what, and what to do about it.

use std::fmt;

use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::{Error as Yaml, MessageFormatter, UserMessageFormatter};

/// A place in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub line: u64,
    /// From 1, in characters.
    pub column: u64,
}

/// A text that is no pipeline, or one that cannot be used as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct PipelineError {
    /// The file's path, or the flag or variable that held the text.
    pub origin: String,
    /// Where in it, if that is one place.
    pub place: Option<Place>,
    /// What is wrong there, and the next step.
    pub message: String,
}

impl fmt::Display for PipelineError {
    /// As compilers and editors have it: `pipeline.yaml:12:7: …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)?;
        if let Some(Place { line, column }) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.message)
    }
}

impl PipelineError {
    pub(crate) fn new(origin: &str, place: Option<Place>, message: impl Into<String>) -> Self {
        Self { origin: origin.to_owned(), place, message: message.into() }
    }

    /// What the reader of YAML has met, in words for whoever wrote the file.
    pub(crate) fn of_yaml(origin: &str, error: &Yaml) -> Self {
        let location = error.location().filter(|location| location.line() > 0);
        let place = location.map(|found| Place { line: found.line(), column: found.column() });
        Self::new(origin, place, explain(error.without_snippet()))
    }
}

fn explain(error: &Yaml) -> String {
    match error {
        Yaml::AliasError { error, .. } | Yaml::WithSnippet { error, .. } => explain(error),
        Yaml::SerdeUnknownField { field, expected, .. } => {
            let known = expected.iter().copied();
            format!("there is no field {field:?} here{}", suggest(field, known))
        }
        Yaml::SerdeUnknownVariant { variant, expected, .. } => {
            format!(
                "{variant:?} is none of the words that may stand here{}",
                suggest(variant, expected.iter().copied())
            )
        }
        Yaml::SerdeMissingField { field, .. } => {
            let example = match *field {
                "apiVersion" => "`apiVersion: longshore.dev/v1`",
                "kind" => "`kind: Pipeline`",
                field => return format!("`{field}` is missing here; add it"),
            };
            format!("`{field}` is missing; add {example}")
        }
        Yaml::DuplicateMappingKey { key: Some(key), .. } => format!("{key:?} is here twice; keep one of them"),
        Yaml::DuplicateMappingKey { key: None, .. } => "the same key is here twice; keep one of them".into(),
        Yaml::NullIntoString { .. } => {
            "there is no text here; write one, or leave the field out (quote \"null\" and \"~\" where they are meant)"
                .into()
        }
        Yaml::MultipleDocuments { .. } => "a second document begins here; a file holds one pipeline".into(),
        Yaml::Eof { .. } => "the text ends before the pipeline is whole".into(),
        Yaml::Budget { breach, .. } => excess(breach),
        Yaml::AliasReplayLimitExceeded { .. }
        | Yaml::AliasExpansionLimitExceeded { .. }
        | Yaml::AliasReplayStackDepthExceeded { .. }
        | Yaml::AliasReplayCounterOverflow { .. } => {
            "the aliases of this text unfold to more than a pipeline needs; write out what they stand for".into()
        }
        Yaml::RecursiveReferencesRequireWeakTypes { .. } => "this alias stands for something that it is part of".into(),
        Yaml::SerdeInvalidType { unexpected, expected, .. } => {
            format!("here is {unexpected}, where {expected} belongs")
        }
        other => printable(&UserMessageFormatter.format_message(other)),
    }
}

fn excess(breach: &BudgetBreach) -> String {
    match breach {
        BudgetBreach::Depth { .. } => "this is nested deeper than a pipeline may be".into(),
        BudgetBreach::Documents { .. } => "a file holds one pipeline".into(),
        _ => "this text holds more than a pipeline may; is it one?".into(),
    }
}

/// `; did you mean "x"?` where one of them is near, and otherwise all of them.
pub(crate) fn suggest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let lower = word.to_lowercase();
    let far = |other: &str| strsim::damerau_levenshtein(&lower, &other.to_lowercase());
    let near = known.iter().map(|other| (far(other), *other)).min();
    match near {
        Some((distance, other)) if distance <= (word.chars().count() / 3).max(1) => {
            format!("; did you mean {other:?}?")
        }
        _ if known.is_empty() => String::new(),
        _ => format!("; there is {}", known.join(", ")),
    }
}

/// One line, whatever stands in the text.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
