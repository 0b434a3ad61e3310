//! What is known of each stage: the report's `result`, and what a failure means for the item.

use std::collections::BTreeMap;

use contract::{Timestamp, exit};
use serde::Serialize;
use stage::protocol::{Ended, Outputs, Reason};
use worker_kit::{JobError, RESULT_MAX};

use crate::pipeline::{Pipeline, Stage};
use crate::plan::Outcome;

/// What became of the stages.
#[derive(Debug)]
pub(crate) struct Records {
    /// In the order of the pipeline.
    all: Vec<Record>,
    /// How many attempts are over.
    overs: u32,
}

/// The attempts at one stage.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    /// How many were begun.
    pub(crate) attempts: u32,
    /// How the last of those that are over ended.
    pub(crate) last: Option<Ended>,
    /// How many attempts of the pipeline were over then, this one included.
    order: u32,
}

/// A stage in the report's `result`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    reason: Word,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
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

/// All of them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct All<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    messages_left_out: Option<usize>,
    stages: BTreeMap<&'a str, Told<'a>>,
}

/// How much of a message goes into `result`, in characters. The log has all of it.
const LONGEST: usize = 300;

/// The same, of what is said of the item: what another process writes may be of any length.
const LONGEST_OF_ITEM: usize = 2_000;

/// What it takes at the most to say how many messages are left out, in bytes.
const NOTE: usize = 40;

impl Records {
    pub(crate) fn new(pipeline: &Pipeline) -> Self {
        Self { all: vec![Record::default(); pipeline.stages.len()], overs: 0 }
    }

    pub(crate) fn begun(&mut self, stage: usize, attempt: u32) {
        if let Some(record) = self.all.get_mut(stage) {
            record.attempts = attempt;
        }
    }

    pub(crate) fn over(&mut self, stage: usize, ended: Ended) {
        self.overs += 1;
        if let Some(record) = self.all.get_mut(stage) {
            (record.last, record.order) = (Some(ended), self.overs);
        }
    }

    pub(crate) fn of(&self, stage: usize) -> Option<&Record> {
        self.all.get(stage)
    }

    /// As JSON: `{"stages": {"detect": {"reason": "Completed", …}}}`, in at most [`RESULT_MAX`] bytes: where there is more, the
    /// messages of the stages that ended first are left out, and `messagesLeftOut` says of how many.
    pub(crate) fn to_json(&self, pipeline: &Pipeline) -> Vec<u8> {
        let names = pipeline.stages.iter().map(|stage| stage.name.as_str());
        let stages = names.clone().zip(self.all.iter().map(Record::told)).collect();
        let mut all = All { messages_left_out: None, stages };
        let json = all.to_json();
        let most = usize::try_from(RESULT_MAX).unwrap_or(usize::MAX);
        if json.len() <= most {
            return json;
        }
        let (mut excess, mut left_out) = (json.len() + NOTE - most, 0);
        let mut by_age: Vec<_> = names.zip(&self.all).collect();
        by_age.sort_by_key(|(_, record)| record.order);
        for (name, _) in by_age {
            if excess == 0 {
                break;
            }
            if let Some(message) = all.stages.get_mut(name).and_then(|told| told.message.take()) {
                excess = excess.saturating_sub(serde_json::to_string(&message).map_or(0, |json| json.len()));
                left_out += 1;
            }
        }
        all.messages_left_out = Some(left_out);
        all.to_json()
    }
}

impl All<'_> {
    fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("words and numbers serialise")
    }
}

impl Record {
    fn told(&self) -> Told<'_> {
        let last = self.last.as_ref();
        let failed = last.filter(|ended| ended.reason != Reason::Completed);
        Told {
            reason: last.map_or(Word::Never("Skipped"), |ended| Word::Ended(ended.reason)),
            message: failed.map(|ended| cut(&ended.message, LONGEST)),
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

fn cut(message: &str, longest: usize) -> String {
    match message.char_indices().nth(longest) {
        Some((at, _)) => format!("{}…", message.get(..at).unwrap_or_default()),
        None => message.to_owned(),
    }
}

/// What the failure of a stage is to the item.
pub(crate) fn failure(stage: &Stage, record: &Record) -> JobError {
    let name = &stage.name;
    let Some(ended) = &record.last else {
        return JobError::new(exit::BUG, "Bug", format!("stage {name} failed, and nobody knows how"));
    };
    let tried = if record.attempts > 1 { format!(" (attempt {})", record.attempts) } else { String::new() };
    let message = format!("stage {name}{tried}: {}", cut(&ended.message, LONGEST_OF_ITEM));
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
