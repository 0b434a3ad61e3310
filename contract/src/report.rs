//! The full account of one attempt, which a worker leaves where `--report` says, and its one-line summary.

use serde::{Deserialize, Serialize};

use crate::marker::{ApiV1, Output};
use crate::{ItemName, Timestamp};

/// What became of an attempt, from the worker's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// The output was committed by this attempt.
    Published,
    /// An earlier attempt had committed this item and revision already.
    AlreadyPublished,
    /// The input no longer has the item's version, or a higher revision stands: nothing was published.
    Superseded,
    /// Nothing was published; the exit code says what kind of failure it was.
    Failed,
}

/// One attempt, in full. Written by rename, so that it is whole or absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Always `Report`.
    pub kind: ReportKind,
    /// Always `v1`.
    pub api_version: ApiV1,
    /// The item, once it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<ItemName>,
    /// The attempt's nonce.
    pub attempt: String,
    /// The revision it ran under.
    pub revision: u64,
    /// What became of it.
    pub outcome: Outcome,
    /// The worker's exit code.
    pub exit_code: u8,
    /// Whether the same item would fail the same way again.
    pub permanent: bool,
    /// One word for metrics and `kubectl`: `Published`, `Superseded`, `CommandFailed`, `Timeout`, `BadItem`, ….
    pub reason: String,
    /// One line for people: what failed, on what, and what to do.
    pub message: String,
    /// The command's own exit code, where it ran and ended by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_exit_code: Option<i32>,
    /// The signal that ended the command, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_signal: Option<i32>,
    /// When the worker began.
    pub started_at: Timestamp,
    /// When the worker was done.
    pub ended_at: Timestamp,
    /// Where the output stands, as a URI, when it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// The files of the output.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<Output>,
    /// What the command wrote to `RESULT_FILE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<serde_json::Value>,
    /// The last lines of the command's standard output.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stdout_tail: String,
    /// The last lines of the command's standard error.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stderr_tail: String,
}

/// The word `Report`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReportKind {
    /// The only one.
    #[default]
    Report,
}
