//! The seam to where work comes from, as the run loop sees it.

use std::time::Duration;

use contract::ItemName;
use contract::client::{ClientError, ETag};
use contract::wire::{Item, WatchEvent};
use futures_util::stream::BoxStream;

mod http;

pub use http::HttpSource;

/// What happens to a list after one of its versions, as it happens; nothing follows an error.
pub type Changes = BoxStream<'static, Result<WatchEvent, ClientError>>;

/// Lists items, gives them, tells of changes, and is told what became of them.
pub trait Source: Send + Sync + 'static {
    /// The first page of the list; `None` when the list is still the one that `known` marks. Forgets what it took for
    /// granted when it is asked after a failure.
    fn list(&self, known: Option<&ETag>) -> impl Future<Output = Result<Option<Page>, ClientError>> + Send;

    /// The page that begins where another said the rest does.
    fn next_page(&self, token: String) -> impl Future<Output = Result<Page, ClientError>> + Send;

    /// What changes from a version of the list on; `None` where that is not offered.
    fn changes(&self, since: &str) -> impl Future<Output = Result<Option<Changes>, ClientError>> + Send;

    /// One item, read anew.
    fn item(&self, name: &ItemName) -> impl Future<Output = Result<Item, ClientError>> + Send;

    /// The item is done, or dead for the reason given.
    fn settle(&self, name: &ItemName, failed: Option<&str>) -> impl Future<Output = Result<(), ClientError>> + Send;

    /// How many native items are not listed now and will be without anyone's doing, as a file that still grows.
    fn pending(&self) -> impl Future<Output = Result<u64, ClientError>> + Send;

    /// Whether it wants to know what became of its items. Known once a page was listed.
    fn settles(&self) -> bool;
}

/// Part of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In the list's order.
    pub names: Vec<ItemName>,
    /// Where the rest begins.
    pub next: Option<String>,
    /// Whether the whole source could be seen.
    pub complete: bool,
    /// Whether the source knows the contract, so that its `complete` is a promise and not a default.
    pub promised: bool,
    /// How many wait behind the window of a queue.
    pub backlog: u64,
    /// Whether the source says that anything was in it since it runs.
    pub had_items: bool,
    /// Of a first page: from where the list's changes can be followed.
    pub version: Option<String>,
    /// Of a first page: what marks the list as it was then.
    pub mark: Option<ETag>,
}

/// The shortest and the longest wait after a source has failed.
pub(crate) const SOURCE_BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
