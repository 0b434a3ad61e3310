//! What the manager remembers: which items there are, what became of each, and every attempt at them.
//!
//! The seam is the trait [`Ledger`]; [`SqliteLedger`] is the embedded one. Each call is one transaction: when it has
//! returned, a killed process does not lose it.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use contract::ItemName;
use serde::Serialize;

use crate::clock::Time;
use crate::executor::AttemptId;

mod desk;
mod error;
mod place;
mod schema;
mod sqlite;
mod store;

pub use desk::{AttemptRecord, Changed, ItemRecord, Selection, Standing};
pub use error::LedgerError;
pub use place::{Lock, StateDir};
pub use sqlite::SqliteLedger;

/// Keeps the manager's memory of one queue. Names are looked up under the revision the ledger was opened with.
pub trait Ledger: Clone + Send + Sync + 'static {
    /// Begins the life of a manager: what it has to know before it acts.
    fn begin(&self) -> impl Future<Output = Result<Beginning, LedgerError>> + Send;

    /// What an operator may change while the manager runs, and the mark by which a later change is noticed.
    fn control(&self) -> impl Future<Output = Result<Control, LedgerError>> + Send;

    /// The rows of those names that are known.
    fn rows(&self, names: Vec<ItemName>) -> impl Future<Output = Result<HashMap<ItemName, Row>, LedgerError>> + Send;

    /// Writes down what one page of a list has shown; gives the rows of the new names.
    fn note(&self, seen: Seen, now: Time) -> impl Future<Output = Result<HashMap<ItemName, Row>, LedgerError>> + Send;

    /// A complete list has ended: what was listed before and is not now is absent from `now` on.
    fn walked(&self, absent: Vec<ItemId>, now: Time) -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// Listed items to be done whose time has come, those due longest first.
    fn ready(&self, now: Time, max: usize) -> impl Future<Output = Result<Vec<(ItemName, Row)>, LedgerError>> + Send;

    /// When the next listed item that waits becomes ready; `None` if none waits.
    fn next_due(&self, now: Time) -> impl Future<Output = Result<Option<Time>, LedgerError>> + Send;

    /// Records, before it is started, that an attempt is. `None`, and nothing recorded, when the item is not to be done
    /// any more: an operator was faster.
    fn intend(
        &self,
        item: ItemId,
        nonce: AttemptId,
        now: Time,
    ) -> impl Future<Output = Result<Option<Intent>, LedgerError>> + Send;

    /// Records, before it is asked to end, that an attempt is to be stopped.
    fn stopping(&self, nonce: AttemptId, now: Time) -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// Records how an attempt ended and what that makes of its item. Concluding again changes nothing.
    fn conclude(
        &self,
        nonce: AttemptId,
        conclusion: Conclusion,
    ) -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// The executor has cleared away what these attempts left.
    fn cleared(&self, nonces: Vec<AttemptId>) -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// What an item's latest attempt ended with, in words: the reason a source is given for a dead one.
    fn last_words(&self, item: ItemId) -> impl Future<Output = Result<Option<String>, LedgerError>> + Send;

    /// The source has taken note of what became of an item.
    fn settled(&self, item: ItemId, now: Time) -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// An item that is to be done is not to be started before `until`, for a reason that is no attempt.
    fn put_off(&self, item: ItemId, until: Time) -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// Forgets what has been absent since before `before`, and gives how many those were.
    fn forget(&self, before: Time) -> impl Future<Output = Result<u64, LedgerError>> + Send;

    /// How many items are in which state.
    fn tally(&self) -> impl Future<Output = Result<Tally, LedgerError>> + Send;
}

/// An item's number in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ItemId(pub i64);

/// What is to be done about an item, or was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// To be started, once its time has come.
    Todo,
    /// An attempt is intended, running, or over and not yet concluded.
    Running,
    /// Done.
    Done,
    /// Given up: the dead letter.
    Dead,
    /// Not to be done.
    Skipped,
}

impl State {
    /// All of them, in the order of an item's life.
    pub const ALL: [Self; 5] = [Self::Todo, Self::Running, Self::Done, Self::Dead, Self::Skipped];

    /// The word of the table's column and of every output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Todo => "todo",
            Self::Running => "running",
            Self::Done => "done",
            Self::Dead => "dead",
            Self::Skipped => "skipped",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What the ledger knows of one item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its number.
    pub id: ItemId,
    /// What is to be done about it.
    pub state: State,
    /// How many attempts ended and count.
    pub attempts: u32,
    /// How many were lost since the last one that ended.
    pub losses: u32,
    /// It is not started before.
    pub not_before: Time,
    /// When the source last took note of what became of it.
    pub settled: Option<Time>,
    /// Since when complete lists do not show it.
    pub absent_since: Option<Time>,
}

/// What one page of a list has shown that is to be written down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Names not known before, each with the state it begins in.
    pub new: Vec<(ItemName, State)>,
    /// Items that had been absent.
    pub returned: Vec<ItemId>,
}

impl Seen {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.new.is_empty() && self.returned.is_empty()
    }
}

/// What a manager has to know before it acts.
#[derive(Clone, Debug)]
pub struct Beginning {
    /// Counts the managers of this queue, from 1.
    pub epoch: u64,
    /// Whether a complete list was seen ever before.
    pub walked: bool,
    /// Attempts that were intended and not concluded, of every revision.
    pub unconcluded: Vec<Unconcluded>,
    /// Attempts that were concluded and perhaps not cleared away.
    pub uncleared: Vec<AttemptId>,
    /// Items that were listed when last seen.
    pub listed: Vec<ItemId>,
}

/// An attempt without a conclusion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unconcluded {
    /// Its item's name.
    pub name: ItemName,
    /// Its item as of now.
    pub row: Row,
    /// The attempt.
    pub intent: Intent,
    /// Whether it was asked to stop.
    pub stopping: bool,
}

/// An attempt as it was written down before it began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// Its nonce.
    pub nonce: AttemptId,
    /// Which attempt at its item this is, from 1; lost ones are counted here.
    pub number: u32,
    /// The revision of its item.
    pub revision: u64,
    /// When it was written down.
    pub at: Time,
}

/// What an operator may change while the manager runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// Differs when another process has written to the ledger.
    pub mark: i64,
    /// Start nothing.
    pub paused: bool,
}

/// How an attempt ended, and what that makes of its item.
#[derive(Clone, Debug, PartialEq)]
pub struct Conclusion {
    /// When the manager knew.
    pub at: Time,
    /// In one word.
    pub cause: Cause,
    /// The exit code, where there is one.
    pub exit: Option<u8>,
    /// One word for metrics.
    pub reason: String,
    /// One line for people.
    pub message: String,
    /// The worker's report as JSON, where it left one.
    pub report: Option<String>,
    /// The last lines it wrote; empty where nobody needs them.
    pub log: String,
    /// What the item is now.
    pub next: Next,
}

/// What an attempt's end makes of its item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Done.
    Done,
    /// Given up.
    Dead,
    /// To be done again.
    Again {
        /// Not before.
        not_before: Time,
        /// Whether this attempt counts towards the most there may be.
        counts: bool,
    },
}

/// Why an attempt is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// It succeeded.
    Succeeded,
    /// It failed, and another attempt may not.
    Failed,
    /// It failed, and would again.
    Permanent,
    /// Nobody saw how it ended: it does not count.
    Lost,
    /// The manager stopped it: it does not count.
    Stopped,
}

impl Cause {
    /// The word of the table's column and of every output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Permanent => "permanent",
            Self::Lost => "lost",
            Self::Stopped => "stopped",
        }
    }
}

/// How many items are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Listed and to be done, whether now or after a wait.
    pub todo: u64,
    /// Being attempted.
    pub running: u64,
    /// Done.
    pub done: u64,
    /// Given up.
    pub dead: u64,
    /// Done, still listed, and the source has taken no note.
    pub done_unsettled: u64,
    /// Given up, still listed, and the source has taken no note.
    pub dead_unsettled: u64,
    /// Not to be done.
    pub skipped: u64,
    /// To be done and not listed at present.
    pub absent: u64,
}

/// How long a write waits for another process that writes.
const BUSY: Duration = Duration::from_secs(5);
