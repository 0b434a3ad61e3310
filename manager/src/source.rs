//! The seam to where work comes from, as the run loop sees it.

use std::time::Duration;

use contract::ItemName;
use contract::client::ClientError;
use contract::wire::Item;

mod http;

pub use http::HttpSource;

/// Lists items, gives them, and is told what became of them.
pub trait Source: Send + Sync + 'static {
    /// One page of the list, the first without `token`. Forgets what it took for granted when a first page is asked for
    /// after a failure.
    fn list(&self, token: Option<String>) -> impl Future<Output = Result<Page, ClientError>> + Send;

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
}

/// The shortest and the longest wait after a source has failed.
pub(crate) const SOURCE_BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
