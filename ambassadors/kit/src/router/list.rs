//! Lists: a page at a time, or whole, as pages joined into one stream.

use std::io;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use contract::ItemName;
use contract::wire::{self, ListMeta};
use futures_util::stream;
use http::{HeaderMap, StatusCode, header};
use serde::Serialize;
use tracing::warn;

use super::Options;
use super::answer::{JSON, Refusal, json};
use super::encoding::VARY;
use super::known;
use super::token::Token;
use crate::metrics::Metrics;
use crate::source::{Health, Page, Revision, Source, SourceError};

/// Names a stream takes from the source at once: what it holds in memory, and what travels as one chunk.
pub(super) const CHUNK: usize = 2_000;

/// One of the lists a source has.
pub(super) trait List: Send + 'static {
    /// What it lists.
    type Part: Serialize + Send;
    /// Its `kind`.
    const KIND: &'static str;
    /// Its word in tokens and metrics.
    const WORD: &'static str;
    /// Whether a revision is told of each of its changes.
    const HAS_REVISIONS: bool;

    /// A page of it.
    fn page<S: Source>(
        source: &S,
        from: Option<S::Cursor>,
        max: usize,
    ) -> impl Future<Output = Result<Page<Self::Part, S::Cursor>, SourceError>> + Send;

    /// A part of it, as JSON.
    fn write(part: &Self::Part, into: &mut Vec<u8>) -> serde_json::Result<()> {
        serde_json::to_writer(into, part)
    }
}

/// What is listed.
#[derive(Debug)]
pub(super) struct Items;

/// What is not.
#[derive(Debug)]
pub(super) struct Withheld;

impl List for Items {
    type Part = ItemName;
    const KIND: &'static str = "ItemList";
    const WORD: &'static str = "items";
    const HAS_REVISIONS: bool = true;

    fn page<S: Source>(
        source: &S,
        from: Option<S::Cursor>,
        max: usize,
    ) -> impl Future<Output = Result<Page<ItemName, S::Cursor>, SourceError>> + Send {
        source.page(from, max)
    }

    fn write(name: &ItemName, into: &mut Vec<u8>) -> serde_json::Result<()> {
        let text = name.as_str().as_bytes();
        // Nearly every name is JSON as it is, and a list may have millions: the loop has no way out, so that it is done
        // sixteen bytes at a time.
        if text.iter().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'!' | b'#'..=b'[' | b']'..=b'~')) {
            into.push(b'"');
            into.extend_from_slice(text);
            into.push(b'"');
            return Ok(());
        }
        serde_json::to_writer(into, name)
    }
}

impl List for Withheld {
    type Part = wire::Withheld;
    const KIND: &'static str = "WithheldList";
    const WORD: &'static str = "withheld";
    const HAS_REVISIONS: bool = false;

    fn page<S: Source>(
        source: &S,
        from: Option<S::Cursor>,
        max: usize,
    ) -> impl Future<Output = Result<Page<wire::Withheld, S::Cursor>, SourceError>> + Send {
        source.withheld(from, max)
    }
}

/// The answer to `GET` of a list, as it goes out.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a, T> {
    kind: &'static str,
    api_version: &'static str,
    metadata: ListMeta,
    items: &'a [T],
}

/// A walk through one of the lists.
pub(super) struct Walk<S: Source, L> {
    source: Arc<S>,
    metrics: Metrics,
    deadline: Duration,
    incarnation: String,
    revision: Option<Revision>,
    from: Option<S::Cursor>,
    /// The version that tells whether the answer is the one it was, if that can be told.
    tagged: Option<String>,
    list: PhantomData<fn() -> L>,
}

impl<S: Source, L: List> Walk<S, L> {
    /// From the start, or from where a token says.
    pub(super) fn start(source: Arc<S>, options: &Options, token: Option<&str>) -> Result<Self, Refusal> {
        let incarnation = source.about().incarnation;
        let (revision, from) = match token {
            None => (source.revision(), None),
            Some(text) => {
                let token = Token::<S::Cursor>::decode(text, L::WORD, &incarnation)?;
                (token.revision, Some(token.cursor))
            }
        };
        // Where a token begins, the list is that of now, and the version that of the walk's start.
        let tagged = revision.filter(|_| L::HAS_REVISIONS && token.is_none());
        let tagged = tagged.map(|revision| version(&incarnation, revision));
        let (metrics, deadline) = (options.metrics.clone(), options.deadline);
        Ok(Self { source, metrics, deadline, incarnation, revision, from, tagged, list: PhantomData })
    }

    /// 304, if whoever asks has the list as it is, and all of it can be seen.
    pub(super) async fn unchanged(&self, headers: &HeaderMap) -> Result<Option<Response>, Refusal> {
        let Some(version) = self.tagged.as_deref().filter(|version| known::is_known(headers, version)) else {
            return Ok(None);
        };
        let complete = L::page(&*self.source, None, 1).await?.complete;
        let answer = || (StatusCode::NOT_MODIFIED, [(header::VARY, VARY)]).into_response();
        Ok(complete.then(|| tag(answer(), Some(version))))
    }

    /// One page, with the token of the next.
    pub(super) async fn page(mut self, limit: usize) -> Result<Response, Refusal> {
        let page = self.next(limit).await?;
        let continue_token = match page.next {
            None => None,
            Some(cursor) => {
                let (list, incarnation) = (L::WORD.to_owned(), self.incarnation.clone());
                let token = Token { list, incarnation, revision: self.revision, cursor }.encode();
                Some(token.map_err(|error| SourceError::Internal(Box::new(error)))?)
            }
        };
        let metadata = ListMeta {
            continue_token,
            remaining_item_count: page.remaining,
            ..self.metadata(page.complete, page.backlog)
        };
        let answer = json(StatusCode::OK, &Envelope { kind: L::KIND, api_version: "v1", metadata, items: &page.items });
        Ok(tag(answer, self.tagged.as_deref().filter(|_| page.complete)))
    }

    /// Everything from here on, however much that is. The first page is awaited, so that a source that cannot be seen is
    /// told by the status; a failure after that breaks the connection, and the JSON is never closed as if whole.
    pub(super) async fn whole(mut self) -> Result<Response, Refusal> {
        let page = self.next(CHUNK).await?;
        let metadata = self.metadata(page.complete, page.backlog);
        if page.next.is_none() {
            let answer =
                json(StatusCode::OK, &Envelope { kind: L::KIND, api_version: "v1", metadata, items: &page.items });
            return Ok(tag(answer, self.tagged.as_deref().filter(|_| page.complete)));
        }
        let opening = Envelope::<L::Part> { kind: L::KIND, api_version: "v1", metadata, items: &[] };
        let mut opening = serde_json::to_vec(&opening).map_err(|error| SourceError::Internal(Box::new(error)))?;
        // Reopen the list that was closed empty: `…"items":[`.
        opening.truncate(opening.len() - 2);
        let claimed = page.complete;
        let tagged = self.tagged.take().filter(|_| claimed);
        let writer = Writer { walk: self, buffer: opening, page: Some(page), claimed, empty: true };
        let chunks = stream::try_unfold(writer, |mut writer| async move {
            let chunk = writer.chunk().await?;
            Ok::<_, io::Error>(chunk.map(|chunk| (chunk, writer)))
        });
        let answer = ([(header::CONTENT_TYPE, JSON)], Body::from_stream(chunks)).into_response();
        Ok(tag(answer, tagged.as_deref()))
    }

    pub(super) async fn next(&mut self, max: usize) -> Result<Page<L::Part, S::Cursor>, SourceError> {
        let started = Instant::now();
        let page = L::page(&*self.source, self.from.clone(), max).await?;
        self.metrics.page(L::WORD, started.elapsed());
        self.from.clone_from(&page.next);
        Ok(page)
    }

    /// A page of an answer that is under way, which nobody else keeps from hanging or from telling of a source that is lost.
    pub(super) async fn within_deadline(&mut self, max: usize) -> Result<Page<L::Part, S::Cursor>, SourceError> {
        let unavailable = |why| SourceError::Unavailable { why, retry: Duration::from_secs(5) };
        if let Health::Lost { why } = &*self.source.health().borrow() {
            return Err(unavailable(format!("the source was lost: {why}")));
        }
        let deadline = self.deadline;
        match tokio::time::timeout(deadline, self.next(max)).await {
            Ok(page) => page,
            Err(_elapsed) => Err(unavailable("the source did not answer in time".into())),
        }
    }

    fn metadata(&self, complete: bool, backlog: Option<u64>) -> ListMeta {
        let resource_version = self.revision.map(|revision| version(&self.incarnation, revision));
        let had_items = if L::WORD == Items::WORD { self.source.had_items() } else { None };
        ListMeta { complete, resource_version, backlog, had_items, ..ListMeta::default() }
    }
}

/// A whole list being written.
struct Writer<S: Source, L: List> {
    walk: Walk<S, L>,
    buffer: Vec<u8>,
    /// The page that was read and is not written yet.
    page: Option<Page<L::Part, S::Cursor>>,
    /// What the metadata said of completeness.
    claimed: bool,
    /// Whether nothing has been listed yet.
    empty: bool,
}

impl<S: Source, L: List> Writer<S, L> {
    /// The next chunk; `None` after the last.
    async fn chunk(&mut self) -> io::Result<Option<Bytes>> {
        let page = match self.page.take() {
            Some(page) => page,
            None if self.walk.from.is_none() => return Ok(None),
            None => self.read().await.inspect_err(|error| {
                self.walk.metrics.aborted(L::WORD);
                warn!(list = L::WORD, %error, "a list was cut off half-way");
            })?,
        };
        for part in &page.items {
            if !std::mem::take(&mut self.empty) {
                self.buffer.push(b',');
            }
            L::write(part, &mut self.buffer)?;
        }
        if page.next.is_none() {
            self.buffer.extend_from_slice(b"]}\n");
        } else if self.buffer.is_empty() {
            // Nothing to say yet; white space keeps the connection from looking dead.
            self.buffer.push(b'\n');
        }
        let next = Vec::with_capacity(self.buffer.len());
        Ok(Some(std::mem::replace(&mut self.buffer, next).into()))
    }

    async fn read(&mut self) -> io::Result<Page<L::Part, S::Cursor>> {
        match self.walk.within_deadline(CHUNK).await {
            Err(error) => Err(io::Error::other(sidecar::chain(&error))),
            Ok(page) if self.claimed && !page.complete => {
                Err(io::Error::other("the list was said to be complete, and no longer is"))
            }
            Ok(page) => Ok(page),
        }
    }
}

/// The answer with the tag of this version.
fn tag(mut answer: Response, version: Option<&str>) -> Response {
    if let Some(tag) = version.and_then(known::tag) {
        answer.headers_mut().insert(header::ETAG, tag);
    }
    answer
}

/// A revision as the contract writes it.
pub(super) fn version(incarnation: &str, revision: Revision) -> String {
    format!("{incarnation}.{revision}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_written_as_json_has_it() {
        let texts = ["plain-mp4-k2iwy5bxbrp2q", "say \"hi\"", "back\\slash", "été 語"].map(str::to_owned).into_iter();
        let texts = texts.chain((b' '..=b'~').map(|byte| char::from(byte).to_string()));
        for text in texts {
            let name = ItemName::parse(&text).expect("a name");
            let mut written = Vec::new();
            Items::write(&name, &mut written).expect("JSON");
            assert_eq!(written, serde_json::to_vec(&name).expect("JSON"), "{text:?}");
        }
    }
}
