//! The seam between deciding and running: one trait for child processes and for a remote that loses answers.

use std::time::Duration;

use contract::{ItemName, Report, TraceContext};
use futures_util::stream::BoxStream;

pub mod local;
pub mod simulated;

/// Runs attempts. Every call may be repeated; what it says may be late, except where it says otherwise.
pub trait Executor: Send + Sync + 'static {
    /// Starts an attempt. Starting the same attempt again is [`StartError::Conflict`], never a second run.
    fn start(&self, attempt: &Attempt) -> impl Future<Output = Result<(), StartError>> + Send;

    /// Ends an attempt: gently, then after `grace` by force. Returns when asked, not when over; an attempt that is over or
    /// absent is no error.
    fn stop(&self, id: &AttemptId, grace: Duration) -> impl Future<Output = Result<(), ExecutorError>> + Send;

    /// What runs and what is over, as far as known, again whenever that changes. May be stale and may leave attempts out:
    /// absence here proves nothing.
    fn observe(&self) -> BoxStream<'static, Snapshot>;

    /// How one attempt is, authoritatively: only this may say [`Phase::Absent`] or [`Phase::Lost`].
    fn look(&self, id: &AttemptId) -> impl Future<Output = Result<Phase, ExecutorError>> + Send;

    /// The trace that an attempt is part of, by what it was started with; `None` too where it was not, or that cannot be read
    /// now. For log lines: nothing may depend on it.
    fn trace(&self, id: &AttemptId) -> impl Future<Output = Option<TraceContext>> + Send;

    /// Clears away what attempts left behind, every one as far as that is possible. Called after their outcomes are recorded;
    /// may be repeated.
    fn forget(&self, ids: &[AttemptId]) -> impl Future<Output = Result<(), ExecutorError>> + Send;
}

/// The nonce of one attempt: unique for ever, a legal file name and DNS label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptId(pub String);

/// One attempt at one item.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Its nonce.
    pub id: AttemptId,
    /// The item's name.
    pub item: ItemName,
    /// Which attempt at the item this is, from 1.
    pub number: u32,
    /// The revision it publishes under.
    pub revision: u64,
    /// The item's `data` object, as JSON.
    pub data: String,
    /// The trace that the item is part of.
    pub trace: Option<TraceContext>,
}

/// How an attempt is.
#[derive(Clone, Debug, PartialEq)]
pub enum Phase {
    /// Never started, or forgotten.
    Absent,
    /// Accepted and not running yet.
    Pending,
    /// Running, or with descendants that still are.
    Running,
    /// Ended, with nothing of it left running.
    Over(Ended),
    /// Ended, and nobody saw how: it must run again.
    Lost,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// Exit code; `128 + n` for signal n.
    pub exit: u8,
    /// The worker's own report, where it left one.
    pub report: Option<Box<Report>>,
    /// The last lines it wrote, for the dead letter.
    pub log_tail: String,
}

/// What an executor sees, all at once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// The attempts it knows and how they are.
    pub attempts: Vec<(AttemptId, Phase)>,
}

/// Why an attempt was not started, classed by what the manager does next.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It can never start like this: the command is missing, the template invalid.
    #[error("refused: {why}")]
    Refused {
        /// The exit code that says the same (126, 127, 78).
        exit: u8,
        /// For people.
        why: String,
    },
    /// Too much at once: the same attempt later.
    #[error("throttled: {why}")]
    Throttled {
        /// For people.
        why: String,
        /// How long to wait, where known.
        retry: Option<Duration>,
    },
    /// An attempt of this id exists already: look at it.
    #[error("attempt exists already")]
    Conflict,
    /// Nobody knows whether it started: look.
    #[error("it is not known whether it started: {why}")]
    Unknown {
        /// For people.
        why: String,
    },
}

/// An executor that cannot be asked now.
#[derive(Debug, thiserror::Error)]
#[error("the executor does not answer: {why}")]
pub struct ExecutorError {
    /// For people.
    pub why: String,
}
