//! `watch=true`: what changes in the list, a line for each change, as it happens.
//!
//! Nothing is held for a reader but the lines on their way to it: what changes meanwhile stays in the catalog's log, and
//! whoever falls behind that is told so and let go.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use contract::ItemName;
use contract::wire::WatchEvent;
use futures_util::stream::{self, BoxStream, Fuse};
use futures_util::{FutureExt, StreamExt};
use http::header;
use sidecar::Shutdown;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tracing::debug;

use super::Options;
use super::answer::{NDJSON, Refusal};
use super::list::{CHUNK, Items, Walk, version};
use super::request::WatchQuery;
use crate::metrics::{Metrics, Watching};
use crate::source::{Change, Health, Page, Revision, Source, SourceError};

/// Watches at once, each of which keeps a connection: half of those that the listener serves, so that whoever lists always
/// finds a place.
pub(super) const WATCHERS: usize = 128;
/// How long a watch is silent at most.
const SILENCE: Duration = Duration::from_secs(15);
/// About how many bytes of lines travel as one chunk.
const LINES: usize = 16 << 10;
/// The revision of the list that was empty still.
const NOTHING: Revision = 0;

/// A watch that is about to begin.
pub(super) struct Watch<S: Source> {
    teller: Teller<S>,
    ends: Ends,
    /// One of [`WATCHERS`], and its place in the metrics.
    _place: (OwnedSemaphorePermit, Watching),
}

impl<S: Source> Watch<S> {
    /// From the version that the query names, or from what is listed now. The first page of the latter is awaited, so that
    /// a source that cannot be seen is told by the status.
    pub(super) async fn start(
        source: &Arc<S>,
        options: &Options,
        watchers: &Arc<Semaphore>,
        query: &WatchQuery,
    ) -> Result<Self, Refusal> {
        let Some(revision) = source.revision() else { return Err(not_offered()) };
        let incarnation = source.about().incarnation;
        let since = query.since.as_deref().map(|version| version_of(version, &incarnation)).transpose()?;
        let permit = Arc::clone(watchers).try_acquire_owned().map_err(|_| {
            Refusal::too_many(format!("{WATCHERS} watch already; poll the list meanwhile"), Duration::from_secs(30))
        })?;
        // Before the first page is read, so that whatever the walk misses is among the changes.
        let changes = source.changes(Some(since.unwrap_or(revision))).map_err(|error| match error {
            SourceError::Unsupported(_) => not_offered(),
            error => error.into(),
        })?;
        let (told, phase) = match since {
            Some(since) => (since, Phase::Bookmark),
            None => {
                let mut walk = Walk::<S, Items>::start(Arc::clone(source), options, None)?;
                let page = Some(walk.next(CHUNK).await?);
                (NOTHING, Phase::Listing { walk: Box::new(walk), page, revision })
            }
        };
        let ends = Ends {
            health: source.health(),
            shutdown: options.shutdown.clone(),
            at: query.lasting.and_then(|lasting| Instant::now().checked_add(lasting)),
        };
        let teller = Teller {
            incarnation,
            changes: changes.fuse(),
            phase,
            told,
            silence: SILENCE.min(options.deadline / 2),
            lines: Vec::new(),
            metrics: options.metrics.clone(),
        };
        let place = (permit, options.metrics.watching());
        Ok(Self { teller, ends, _place: place })
    }

    /// The answer: lines without end, or to the end that something else puts to them.
    pub(super) fn answer(self) -> Response {
        let lines = stream::unfold(Some(self), |watch| async move {
            let mut watch = watch?;
            let (chunk, goes_on) = watch.chunk().await?;
            Some((Ok::<_, io::Error>(chunk), goes_on.then_some(watch)))
        });
        ([(header::CONTENT_TYPE, NDJSON)], Body::from_stream(lines)).into_response()
    }

    /// The next lines, and whether there are more to come.
    async fn chunk(&mut self) -> Option<(Bytes, bool)> {
        let (teller, ends) = (&mut self.teller, &mut self.ends);
        let told = tokio::select! {
            biased;
            end = ends.come() => Err(end),
            told = teller.tell() => told.map_err(End::Told),
        };
        let Err(end) = told else { return Some((teller.take(), true)) };
        let refusal = match end {
            End::Quiet => return None,
            End::Told(refusal) => refusal,
        };
        let status = refusal.status();
        debug!(code = status.code, told = teller.told, "a watch ends");
        teller.say(&WatchEvent::Error { resource_version: Some(teller.version()), status });
        Some((teller.take(), false))
    }
}

fn not_offered() -> Refusal {
    Refusal::not_offered("watch is not offered by this source; poll the list instead")
}

/// Reads `<incarnation>.<n>`. What never was a version is 400; one of another incarnation is 410.
fn version_of(text: &str, incarnation: &str) -> Result<Revision, Refusal> {
    let parts = text.rsplit_once('.').filter(|(of, _)| !of.is_empty());
    let parts = parts.and_then(|(of, n)| n.parse::<Revision>().ok().filter(|m| m.to_string() == n).map(|n| (of, n)));
    match parts {
        None => Err(Refusal::bad_request(format!(
            "resourceVersion is one that a list or a watch gave, and {text:?} is none; leave it out to begin with what is listed"
        ))),
        Some((of, _)) if of != incarnation => Err(Refusal::expired(
            "resourceVersion is of another incarnation of this source; list again, and watch from there",
        )),
        Some((_, revision)) => Ok(revision),
    }
}

/// How a watch ends.
enum End {
    /// As if it had never been: the reader asks again.
    Quiet,
    /// With a line that says why.
    Told(Refusal),
}

/// What ends a watch from outside.
struct Ends {
    health: watch::Receiver<Health>,
    shutdown: Shutdown,
    at: Option<Instant>,
}

impl Ends {
    async fn come(&mut self) -> End {
        let Self { health, shutdown, at } = self;
        let over = async {
            match at {
                Some(at) => tokio::time::sleep_until(*at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = shutdown.draining() => End::Quiet,
            why = lost(health) => End::Told(Refusal::unavailable(
                format!("the source cannot be seen: {why}"),
                Duration::from_secs(5),
            )),
            () = over => End::Quiet,
        }
    }
}

/// Waits until the source is lost, and says why.
async fn lost(health: &mut watch::Receiver<Health>) -> String {
    match health.wait_for(|health| matches!(health, Health::Lost { .. })).await.as_deref() {
        Ok(Health::Lost { why }) => why.clone(),
        Ok(_) | Err(_) => "it ended by itself".into(),
    }
}

/// Where a watch is.
enum Phase<S: Source> {
    /// What is listed is told first.
    Listing {
        walk: Box<Walk<S, Items>>,
        /// Read, and not told yet.
        page: Option<Page<ItemName, S::Cursor>>,
        /// At which the walk began.
        revision: Revision,
    },
    /// The reader knows everything up to `told`, and is to hear that it does.
    Bookmark,
    /// Changes are told as they happen.
    Following,
}

/// Makes lines of what a source lists and of how that changes.
struct Teller<S: Source> {
    incarnation: String,
    changes: Fuse<BoxStream<'static, Result<Change, SourceError>>>,
    phase: Phase<S>,
    /// Nothing up to this revision is untold.
    told: Revision,
    silence: Duration,
    lines: Vec<u8>,
    metrics: Metrics,
}

impl<S: Source> Teller<S> {
    /// Adds the next lines, at least one. Nothing is added before it waits, so whoever stops waiting loses nothing.
    async fn tell(&mut self) -> Result<(), Refusal> {
        while let Phase::Listing { walk, page, revision } = &mut self.phase {
            let page = match page.take() {
                Some(page) => page,
                None => walk.within_deadline(CHUNK).await?,
            };
            if page.next.is_none() {
                let revision = *revision;
                self.listed(page.items);
                self.told = revision;
                self.phase = Phase::Following;
                self.bookmark();
                return Ok(());
            }
            if !page.items.is_empty() {
                self.listed(page.items);
                return Ok(());
            }
        }
        if let Phase::Bookmark = self.phase {
            self.phase = Phase::Following;
            self.bookmark();
            return Ok(());
        }
        self.follow().await
    }

    async fn follow(&mut self) -> Result<(), Refusal> {
        let Ok(first) = tokio::time::timeout(self.silence, self.changes.next()).await else {
            self.bookmark();
            return Ok(());
        };
        let mut next = Some(first.ok_or_else(over)?);
        while let Some(change) = next {
            // What was told before an error is told all the same.
            let Change { revision, listed, name: item } = change.map_err(cannot_go_on)?;
            self.told = revision;
            let resource_version = self.version();
            self.say(&match listed {
                true => WatchEvent::Added { item, resource_version },
                false => WatchEvent::Removed { item, resource_version },
            });
            let more = self.lines.len() < LINES;
            next = if more { self.changes.next().now_or_never().flatten() } else { None };
        }
        Ok(())
    }

    /// Tells names of what is listed. As long as not all of it is told, the version is that of the empty list, so that
    /// whoever goes on from there is told everything.
    fn listed(&mut self, names: Vec<ItemName>) {
        let resource_version = self.version();
        for item in names {
            self.say(&WatchEvent::Added { item, resource_version: resource_version.clone() });
        }
    }

    fn bookmark(&mut self) {
        self.say(&WatchEvent::Bookmark { resource_version: self.version() });
    }

    fn say(&mut self, event: &WatchEvent) {
        serde_json::to_writer(&mut self.lines, event).expect("an event is JSON");
        self.lines.push(b'\n');
        self.metrics.told(event);
    }

    fn version(&self) -> String {
        version(&self.incarnation, self.told)
    }

    fn take(&mut self) -> Bytes {
        std::mem::take(&mut self.lines).into()
    }
}

/// Why no more changes can be told.
fn cannot_go_on(error: SourceError) -> Refusal {
    match error {
        SourceError::Expired(_) => Refusal::expired(
            "more has changed than is remembered since what you were told last: read faster; list again, and watch from there",
        ),
        error => error.into(),
    }
}

fn over() -> Refusal {
    Refusal::unavailable("the source tells of no more changes".into(), Duration::from_secs(5))
}
