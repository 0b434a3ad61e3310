//! One walk through a source's list, page by page, beside the run loop.

use std::sync::Arc;

use contract::client::{ClientError, ETag};
use tokio::sync::mpsc;

use crate::shared::Shared;
use crate::source::{Page, Source};

/// The most names that are planned at a time, however a source cuts its pages.
pub(crate) const CHUNK: usize = 1_000;

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
    /// Whether anything is in the source, or was since that runs.
    pub(crate) had_items: bool,
    /// How many were to be listed later without anyone's doing, just before the walk; asked for only where it matters.
    pub(crate) pending: u64,
}

/// What a walk came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The list's end, or where nobody took its pages any more, as if it were incomplete.
    Through(Walked),
    /// Nothing: the list is still the one that was known.
    Same {
        /// As in [`Walked`].
        pending: u64,
    },
}

/// Walks, unless the list is still the one that `known` marks, and hands each page on.
pub(crate) async fn walk<S: Source, E: Send + Sync, L: Send + Sync>(
    shared: Arc<Shared<S, E, L>>,
    pages: mpsc::Sender<Page>,
    known: Option<ETag>,
    ask_pending: bool,
) -> Result<Answer, ClientError> {
    // Asked before the list: what is withheld now and listed in a moment is then met below. The other way round, it
    // could slip from the one to the other between the two questions and be met by neither.
    let pending = if ask_pending { shared.source.pending().await? } else { 0 };
    let Some(mut page) = shared.source.list(known.as_ref()).await? else { return Ok(Answer::Same { pending }) };
    let mut walked = Walked { complete: true, promised: true, names: 0, backlog: 0, had_items: false, pending };
    loop {
        walked.complete &= page.complete;
        walked.promised &= page.promised;
        walked.names += page.names.len();
        walked.backlog = page.backlog;
        walked.had_items |= page.had_items || !page.names.is_empty();
        let next = page.next.take();
        while page.names.len() > CHUNK {
            let rest = page.names.split_off(CHUNK);
            let first = std::mem::replace(&mut page, Page { names: rest, ..Page::default() });
            if pages.send(first).await.is_err() {
                return Ok(Answer::Through(Walked { complete: false, ..walked }));
            }
        }
        if pages.send(page).await.is_err() {
            return Ok(Answer::Through(Walked { complete: false, ..walked }));
        }
        match next {
            Some(token) => page = shared.source.next_page(token).await?,
            None => return Ok(Answer::Through(walked)),
        }
    }
}
