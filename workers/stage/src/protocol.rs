//! What the files between an adapter and a shim say. All are JSON objects, written to a temporary name and renamed, at most
//! [`LONGEST`] bytes; a reader ignores fields that it does not know, and whatever is addressed to a life that is not its own.

use std::collections::BTreeMap;

use contract::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Boot, StageName};

/// The most bytes that a file of the protocol may have.
pub const LONGEST: u64 = 1 << 20;

/// The version of this protocol. A side that meets another says so and exits with 78.
pub const VERSION: u32 = 1;

/// `hello.json` of either side: who lives here. Written once the lock `lock.<boot>` is held, so that whoever reads it may wait for
/// that lock's fall.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// [`VERSION`].
    pub protocol: u32,
    /// Which life this is.
    pub boot: Boot,
    /// The program's own version, for people.
    pub program: String,
    /// How often the number in `heartbeat` grows at the least, in milliseconds.
    pub heartbeat_ms: u64,
}

/// `<n>.go.json`, from the adapter: run the command, once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Go {
    /// Whom it is for.
    pub stage: StageName,
    /// The life of the shim that shall do it. A shim with another one does nothing: a restarted shim never runs a stage unasked.
    pub boot: Boot,
    /// The life of the adapter that asks.
    pub adapter: Boot,
    /// Which attempt at this stage this is, from 1, counted by the adapter's life.
    pub attempt: u32,
    /// Variables that the command gets beside those of its container. They name directories and files that lie at the same path in
    /// every container, and the item; none of their names comes from an item.
    pub environment: BTreeMap<String, String>,
    /// How long it may run, in milliseconds; the shim stops it then, whether or not the adapter lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// How long from TERM to KILL, in milliseconds.
    pub grace_ms: u64,
    /// How much of the end of its output is kept, in bytes, for each of stdout and stderr.
    pub tail_bytes: u64,
}

/// `<n>.cancel.json`, from the adapter: stop attempt n, if it is not over. It may be replaced by one with a shorter grace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cancel {
    /// The life of the adapter that asks.
    pub adapter: Boot,
    /// Which attempt.
    pub attempt: u32,
    /// How long from TERM to KILL, in milliseconds.
    pub grace_ms: u64,
}

/// `done.json`, from the adapter: there will be no more work; the shim exits with 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Done {
    /// The life of the adapter that says so.
    pub adapter: Boot,
}

/// `<n>.started.json`, from the shim: the command runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Started {
    /// The life of the shim.
    pub boot: Boot,
    /// The life of the adapter that asked.
    pub adapter: Boot,
    /// Which attempt.
    pub attempt: u32,
    /// The command's process, as the shim's container counts.
    pub pid: u32,
    /// When.
    pub at: Timestamp,
}

/// `<n>.result.json`, from the shim: how attempt n ended. Written last: what it says lies in `out/` lies there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Result {
    /// The life of the shim.
    pub boot: Boot,
    /// The life of the adapter that asked.
    pub adapter: Boot,
    /// Which attempt.
    pub attempt: u32,
    /// How it ended.
    #[serde(flatten)]
    pub ended: Ended,
}

/// How an attempt at a stage ended, whoever ran it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ended {
    /// In one word.
    pub reason: Reason,
    /// In one line that names the thing and, where there is one, the next step.
    pub message: String,
    /// The command's exit code, if it exited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
    /// The signal that ended it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// When its command was started; absent if it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it was over.
    pub ended_at: Timestamp,
    /// What it took of time, in seconds by a clock that does not jump.
    pub seconds: f64,
    /// The most memory that one of its processes held, in bytes, as the kernel counts (`ru_maxrss`); absent where it was no more
    /// than whoever started it has held itself (a shim: a few MiB; `multi-worker local`: some 30 MiB), since the kernel then
    /// tells that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory: Option<u64>,
    /// What it hands over.
    #[serde(default)]
    pub outputs: Outputs,
    /// The last bytes of its standard output.
    #[serde(default)]
    pub stdout_tail: String,
    /// The last bytes of its standard error.
    #[serde(default)]
    pub stderr_tail: String,
}

impl Ended {
    /// An attempt whose command never ran, or of which nobody knows how it ended; over now.
    pub fn without_command(reason: Reason, message: String) -> Self {
        Self {
            reason,
            message,
            exit_code: None,
            signal: None,
            started_at: None,
            ended_at: Timestamp::now(),
            seconds: 0.0,
            peak_memory: None,
            outputs: Outputs::default(),
            stdout_tail: String::new(),
            stderr_tail: String::new(),
        }
    }

    /// Drops the first half of the longer of the two outputs' ends, for a message that would be too long otherwise. False when
    /// there is nothing to drop.
    pub fn shorten_tails(&mut self) -> bool {
        let longer =
            if self.stdout_tail.len() > self.stderr_tail.len() { &mut self.stdout_tail } else { &mut self.stderr_tail };
        let half = longer.ceil_char_boundary(longer.len().div_ceil(2));
        longer.drain(..half);
        half > 0
    }
}

/// What a stage has written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outputs {
    /// How many regular files.
    pub files: u64,
    /// Of how many bytes in all.
    pub bytes: u64,
}

/// Why a stage is over, in one word. Words of Kubernetes are spelled as Kubernetes spells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// It exited with 0 and its output is handed over.
    Completed,
    /// It exited with another code.
    Error,
    /// A signal ended it, which nobody here sent.
    Killed,
    /// The kernel killed it, or a process of it, for want of memory.
    #[serde(rename = "OOMKilled")]
    OomKilled,
    /// It ran longer than it may.
    Timeout,
    /// It was told to stop.
    Cancelled,
    /// Its command is not there (127).
    CommandNotFound,
    /// Its command cannot be executed (126).
    CommandNotExecutable,
    /// What it wrote cannot be handed over: unreadable to others, no room, replaced directories.
    OutputUnusable,
    /// The container that ran it was killed or restarted: nobody can say how it ended.
    Lost,
    /// It was not there to be asked within its start timeout.
    StartTimeout,
    /// The shim or the adapter met a failure of the machine: a full disk, no process to be had.
    MachineError,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_one_flat_object() {
        let ended = Ended { signal: Some(9), ..Ended::without_command(Reason::OomKilled, "killed".into()) };
        let result = Result { boot: Boot::new(), adapter: Boot::new(), attempt: 2, ended };
        let json = serde_json::to_value(&result).expect("serialises");
        assert_eq!(json.get("reason"), Some(&"OOMKilled".into()));
        assert_eq!(json.get("attempt"), Some(&2.into()));
        let read: Result = serde_json::from_value(json).expect("reads");
        assert_eq!((read.attempt, read.ended.signal), (2, Some(9)));
    }

    #[test]
    fn tails_get_shorter_until_nothing_is_left() {
        let mut ended = Ended::without_command(Reason::Lost, String::new());
        (ended.stdout_tail, ended.stderr_tail) = ("ä".repeat(10), "12345".into());
        assert!(ended.shorten_tails());
        assert_eq!((ended.stdout_tail.as_str(), ended.stderr_tail.as_str()), ("äääää", "12345"));
        while ended.shorten_tails() {}
        assert_eq!((ended.stdout_tail.as_str(), ended.stderr_tail.as_str()), ("", ""));
    }
}
