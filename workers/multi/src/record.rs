//! What is known of each stage: the report's `result`, and what a failure means for the item.

use std::collections::BTreeMap;

use contract::{Timestamp, exit};
use serde::Serialize;
use stage::protocol::{Ended, Outputs, Reason};
use worker_kit::JobError;

use crate::pipeline::{Pipeline, Stage};
use crate::plan::Outcome;

/// What became of the stages, in the order of the pipeline.
#[derive(Debug)]
pub(crate) struct Records(Vec<Record>);

/// The attempts at one stage.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    /// How many were begun.
    pub(crate) attempts: u32,
    /// How the last of those that are over ended.
    pub(crate) last: Option<Ended>,
}

/// A stage in the report's `result`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    reason: Word,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_memory: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outputs: Option<&'a Outputs>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Word {
    Ended(Reason),
    Never(&'static str),
}

/// More of a message is in the log.
const LONGEST_MESSAGE: usize = 300;

impl Records {
    pub(crate) fn new(pipeline: &Pipeline) -> Self {
        Self(vec![Record::default(); pipeline.stages.len()])
    }

    pub(crate) fn begun(&mut self, stage: usize, attempt: u32) {
        if let Some(record) = self.0.get_mut(stage) {
            record.attempts = attempt;
        }
    }

    pub(crate) fn over(&mut self, stage: usize, ended: Ended) {
        if let Some(record) = self.0.get_mut(stage) {
            record.last = Some(ended);
        }
    }

    pub(crate) fn of(&self, stage: usize) -> Option<&Record> {
        self.0.get(stage)
    }

    /// As JSON: `{"stages": {"detect": {"reason": "Completed", …}}}`.
    pub(crate) fn to_json(&self, pipeline: &Pipeline) -> Vec<u8> {
        let told = |record: &Record| serde_json::to_value(record.told()).expect("words and numbers serialise");
        let names = pipeline.stages.iter().map(|stage| stage.name.as_str());
        let stages: BTreeMap<_, _> = names.zip(self.0.iter().map(told)).collect();
        serde_json::to_vec(&BTreeMap::from([("stages", stages)])).expect("words and numbers serialise")
    }
}

impl Record {
    fn told(&self) -> Told<'_> {
        let last = self.last.as_ref();
        let failed = last.filter(|ended| ended.reason != Reason::Completed);
        Told {
            reason: last.map_or(Word::Never("Skipped"), |ended| Word::Ended(ended.reason)),
            message: failed.map(|ended| cut(&ended.message)),
            exit_code: last.and_then(|ended| ended.exit_code),
            signal: last.and_then(|ended| ended.signal),
            attempts: self.attempts,
            started_at: last.and_then(|ended| ended.started_at),
            seconds: last.map(|ended| (ended.seconds * 1000.0).round() / 1000.0),
            peak_memory: last.and_then(|ended| ended.peak_memory),
            outputs: last.filter(|ended| ended.reason == Reason::Completed).map(|ended| &ended.outputs),
        }
    }
}

fn cut(message: &str) -> &str {
    message.char_indices().nth(LONGEST_MESSAGE).and_then(|(at, _)| message.get(..at)).unwrap_or(message)
}

/// What the failure of a stage is to the item.
pub(crate) fn failure(stage: &Stage, record: &Record) -> JobError {
    let name = &stage.name;
    let Some(ended) = &record.last else {
        return JobError::new(exit::BUG, "Bug", format!("stage {name} failed, and nobody knows how"));
    };
    let tried = if record.attempts > 1 { format!(" (attempt {})", record.attempts) } else { String::new() };
    let message = format!("stage {name}{tried}: {}", ended.message);
    let code = |code, word| JobError::new(code, word, message.clone());
    match ended.reason {
        Reason::Error if ended.exit_code.is_some_and(|code| stage.permanent_exit.contains(&code)) => {
            code(exit::BAD_ITEM, "CommandGaveUp").with_hint("permanentExit names that code: this item is hopeless")
        }
        // What another process says of itself must never make a failure look like success.
        Reason::Error => {
            let code = ended.exit_code.filter(|code| *code != 0).unwrap_or(exit::USER_OTHER);
            JobError::of_command(Some(code.into()), None, "CommandFailed", message)
        }
        Reason::Killed => {
            let signal = ended.signal.filter(|signal| (1..=64).contains(signal)).unwrap_or(SIGKILL.into());
            JobError::of_command(None, Some(signal), "CommandKilled", message)
        }
        Reason::OomKilled => code(exit::SIGNAL_BASE + SIGKILL, "OOMKilled"),
        Reason::Lost => code(exit::SIGNAL_BASE + SIGKILL, "Lost"),
        Reason::Cancelled => code(exit::SIGNAL_BASE + SIGTERM, "Cancelled"),
        Reason::Timeout => code(exit::TIMEOUT, "Timeout"),
        Reason::StartTimeout => code(exit::TEMPORARY, "StartTimeout"),
        Reason::CommandNotFound => code(exit::NOT_FOUND, "CommandNotFound"),
        Reason::CommandNotExecutable => code(exit::NOT_EXECUTABLE, "CommandNotExecutable"),
        Reason::OutputUnusable => code(exit::CANT_CREATE, "OutputUnusable"),
        Reason::MachineError => code(exit::IO, "MachineError"),
        Reason::Completed => code(exit::BUG, "Bug"),
    }
}

const SIGKILL: u8 = 9;
const SIGTERM: u8 = 15;

/// A word for the log.
pub(crate) fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded => "succeeded",
        Outcome::Failed => "failed",
        Outcome::Cancelled => "cancelled",
        Outcome::Skipped => "skipped",
    }
}
