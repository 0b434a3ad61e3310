//! What an ambassador implements: one trait that a catalog, a virtual list and a leased window all fit.

use std::time::Duration;

use contract::ItemName;
use contract::wire::{Item, Settle, Withheld};
use futures_util::stream::BoxStream;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

/// A source of work: dumb and honest. Reading never consumes; "I cannot see" is an error, never an empty page.
///
/// Every future may be dropped half-way, when a deadline is over or the asker has left, except that of
/// [`settle`](Self::settle) and [`drain`](Self::drain): those run to their end.
pub trait Source: Send + Sync + 'static {
    /// A position in the list. Whatever is listed throughout a walk from the start, page by page, is met exactly once.
    /// It travels through the hands of the asker, who may have changed it: any value must be safe to ask for.
    type Cursor: Clone + Serialize + DeserializeOwned + Send + Sync;

    /// Who this is and what it offers. Cheap; may be asked on every request.
    fn about(&self) -> About;

    /// How the backend is, and every change of that.
    fn health(&self) -> watch::Receiver<Health>;

    /// What is listed and withheld, in figures. Cheap and never blocking: asked at every scrape of the metrics.
    fn tally(&self) -> Tally;

    /// Of a queue, where known: whether anything was in it since this runs, whoever took it. Never again `false` once it was `true`.
    /// By it a manager that found nothing knows whether the loader is still to come or others were faster.
    fn had_items(&self) -> Option<bool> {
        None
    }

    /// The catalog's revision now; `None` where no catalog is held: no ETag, no watch. Asked before the first page of a
    /// walk, so that [`changes`](Self::changes) since then tell of everything the walk may have missed.
    fn revision(&self) -> Option<Revision>;

    /// At most `max` names (which is at least 1) from `from` on; from the start without it. A page may be empty and not the
    /// last, where much was read of which nothing is listed: so no call need be long.
    ///
    /// # Errors
    /// [`SourceError::Expired`] for a position that means nothing any more.
    fn page(
        &self,
        from: Option<Self::Cursor>,
        max: usize,
    ) -> impl Future<Output = Result<Page<ItemName, Self::Cursor>, SourceError>> + Send;

    /// What was listed and is no more, and what is new, since a revision; without one, from now on.
    ///
    /// # Errors
    /// [`SourceError::Expired`] for a revision too old to tell from, [`SourceError::Unsupported`] without a catalog.
    fn changes(&self, since: Option<Revision>) -> Result<BoxStream<'static, Result<Change, SourceError>>, SourceError>;

    /// The item of this name, read anew.
    ///
    /// # Errors
    /// [`SourceError::Gone`] for a name that was listed and is no more, while that is remembered;
    /// [`SourceError::NotFound`] for every other name the list does not show.
    fn get(&self, name: &ItemName) -> impl Future<Output = Result<Item, SourceError>> + Send;

    /// The item is done, or dead: stop listing it. Acts on exactly the version the name stands for (or says
    /// `best-effort` in [`About`]); succeeds for every well-formed name, as often as asked.
    fn settle(&self, name: &ItemName, outcome: &Outcome) -> impl Future<Output = Result<(), SourceError>> + Send;

    /// What is not listed, and why.
    fn withheld(
        &self,
        from: Option<Self::Cursor>,
        max: usize,
    ) -> impl Future<Output = Result<Page<Withheld, Self::Cursor>, SourceError>> + Send;

    /// Stop taking; give back what is leased. Called once, when the process drains.
    fn drain(&self) -> impl Future<Output = ()> + Send;
}

/// Who a source is and what it offers.
#[derive(Clone, Debug)]
pub struct About {
    /// Program name, such as `files-ambassador`.
    pub ambassador: &'static str,
    /// Program version.
    pub version: &'static str,
    /// What names are derived with, beside key and version.
    pub source_id: String,
    /// Order of the list.
    pub order: Order,
    /// Differs whenever cursors and revisions of before mean nothing any more.
    pub incarnation: String,
    /// How it settles.
    pub settle: Settle,
}

/// Order of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// In the order in which the source came to know the items.
    Age,
    /// By native key.
    Key,
    /// By position in a log or queue.
    Position,
}

/// How the backend is, and with that, what may be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It has not been seen yet, so nothing can be said: every answer is 503.
    Starting,
    /// It is being read for the first time, in the list's order: pages can be answered as far as it was read, the whole
    /// list cannot.
    Indexing {
        /// How far it is, for people.
        why: String,
    },
    /// It is reachable and what is listed is current.
    Live,
    /// It was lost a while ago; what is listed is what was last seen.
    Stale {
        /// What is wrong, for people.
        why: String,
    },
    /// It is lost, and has been for longer than it may be answered for.
    Lost {
        /// What is wrong, for people.
        why: String,
    },
}

impl Order {
    /// As `GET /v1` says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Key => "key",
            Self::Position => "position",
        }
    }
}

/// A catalog's revision: the count of changes of its list within an incarnation.
pub type Revision = u64;

/// A text that no other process, and no earlier run of this one, uses as its incarnation.
pub fn new_incarnation() -> String {
    data_encoding::BASE32_NOPAD.encode(&fastrand::u64(..).to_be_bytes()).to_ascii_lowercase()
}

/// A source in figures, at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// How many items are listed, where known without reading the backend.
    pub listed: Option<u64>,
    /// How many native items are withheld, by reason.
    pub withheld: Vec<(&'static str, u64)>,
    /// How long the item listed longest has been listed; `None` when there is none or it is not known.
    pub oldest: Option<Duration>,
    /// How many items wait behind a queue's window, where known.
    pub backlog: Option<u64>,
}

/// Part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T, C> {
    /// In the list's order.
    pub items: Vec<T>,
    /// Where the rest begins; `None` when this is the end.
    pub next: Option<C>,
    /// Whether the whole source could be seen (not: whether this is the last page).
    pub complete: bool,
    /// How many follow, where known.
    pub remaining: Option<u64>,
    /// How many wait behind a queue's window, where known.
    pub backlog: Option<u64>,
}

/// One change of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The revision this change made.
    pub revision: Revision,
    /// Whether the item is listed now.
    pub listed: bool,
    /// Which item.
    pub name: ItemName,
}

/// What became of an item that is settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// It can never be done.
    Failed {
        /// Why, for people.
        reason: Option<String>,
    },
}

/// Why a source could not answer, classed by what the asker does next.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The list does not show this name and has not shown it.
    #[error("no item {0} is listed here")]
    NotFound(ItemName),
    /// The name was listed and is gone.
    #[error("item {0} was listed here and is gone")]
    Gone(ItemName),
    /// A cursor or revision of another incarnation, or too old.
    #[error("{0}; list again from the start")]
    Expired(&'static str),
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The backend cannot be seen now.
    #[error("{why}")]
    Unavailable {
        /// What is wrong, for people, without internals.
        why: String,
        /// When to ask again.
        retry: Duration,
    },
    /// Not offered by this source, or not switched on.
    #[error("{0}")]
    Unsupported(&'static str),
    /// A defect of ours; logged in full, told as nothing more.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}
