//! One walk through a source's list, page by page, beside the run loop.

use std::sync::Arc;

use contract::client::ClientError;
use tokio::sync::mpsc;

use crate::shared::Shared;
use crate::source::{Page, Source};

/// The most names that are planned at a time, however a source cuts its pages.
const CHUNK: usize = 1_000;

/// What is known of a list once it has been walked to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Walked {
    /// Whether the whole source could be seen.
    pub(crate) complete: bool,
    /// Whether the source knows what that means.
    pub(crate) promised: bool,
    /// How many names there were.
    pub(crate) names: usize,
    /// How many wait behind the window of a queue.
    pub(crate) backlog: u64,
    /// How many were to be listed later without anyone's doing, just before the walk; asked for only where it matters.
    pub(crate) pending: u64,
}

/// Walks, and hands each page on. Ends early, as if incomplete, when nobody takes them any more.
pub(crate) async fn walk<S: Source, E: Send + Sync, L: Send + Sync>(
    shared: Arc<Shared<S, E, L>>,
    pages: mpsc::Sender<Page>,
    ask_pending: bool,
) -> Result<Walked, ClientError> {
    // Asked before the list: what is withheld now and listed in a moment is then met below. The other way round, it
    // could slip from the one to the other between the two questions and be met by neither.
    let pending = if ask_pending { shared.source.pending().await? } else { 0 };
    let mut walked = Walked { complete: true, promised: true, names: 0, backlog: 0, pending };
    let mut token = None;
    loop {
        let mut page = shared.source.list(token.clone()).await?;
        walked.complete &= page.complete;
        walked.promised &= page.promised;
        walked.names += page.names.len();
        walked.backlog = page.backlog;
        let next = page.next.take();
        while page.names.len() > CHUNK {
            let rest = page.names.split_off(CHUNK);
            if pages.send(page.clone()).await.is_err() {
                return Ok(Walked { complete: false, ..walked });
            }
            page.names = rest;
        }
        if pages.send(page).await.is_err() {
            return Ok(Walked { complete: false, ..walked });
        }
        token = next;
        if token.is_none() {
            return Ok(walked);
        }
    }
}
