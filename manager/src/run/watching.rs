//! Watching: what a source adds to its list is planned as it happens.
//!
//! A watch makes it fast and proves nothing. Whatever ends one, however it lies or repeats itself, costs a list: nothing is
//! concluded from what it takes away, and nothing hangs on the order or the number of what it tells.

use std::sync::Arc;
use std::time::Duration;

use contract::ItemName;
use contract::client::ClientError;
use contract::wire::WatchEvent;
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;
use tracing::{info, warn};

use super::{Manager, RunError};
use crate::executor::Executor;
use crate::ledger::Ledger;
use crate::metrics::{Event, WatchEnd};
use crate::shared::{Backoff, Shared};
use crate::source::Source;
use crate::walk::CHUNK;

/// The shortest time from the end of a watch to the list that makes up for it.
const RELIST: Duration = Duration::from_millis(200);
/// A watch that has lasted this long was sound, whatever ended it.
const SOUND: Duration = Duration::from_secs(30);

/// Whether the source is watched, and how that has gone so far.
pub(super) struct Watching {
    pub(super) watch: Option<Watch>,
    backoff: Backoff,
    said: Said,
}

/// A watch under way.
pub(super) struct Watch {
    news: mpsc::Receiver<News>,
    pub(super) task: JoinHandle<Ended>,
    /// Whether the list it goes on from showed everything.
    from_complete: bool,
    /// Since when the source has been telling.
    began: Option<Instant>,
}

/// What was told since it was last asked; nothing at all when the watch begins.
#[derive(Debug, Default)]
pub(super) struct News {
    added: Vec<ItemName>,
    removed: Vec<ItemName>,
}

/// How a watch ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// It never began: the source does not offer any. Or nobody listens any more.
    Quietly,
    /// Otherwise, and how long the source asks to be left alone.
    Broken { cause: WatchEnd, why: String, rest: Option<Duration> },
}

/// What the log says already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Nothing,
    Watched,
    Unsound,
}

/// What a watch brings.
pub(super) enum Told {
    News(News),
    End(Result<Ended, JoinError>),
}

pub(super) async fn next(watch: &mut Option<Watch>) -> Told {
    let Some(watch) = watch else { return std::future::pending().await };
    match watch.news.recv().await {
        Some(news) => Told::News(news),
        None => Told::End((&mut watch.task).await),
    }
}

impl Watching {
    pub(super) fn new(poll: Duration) -> Self {
        Self { watch: None, backoff: Backoff::new(RELIST, poll), said: Said::Nothing }
    }

    /// Whether all that is told came after a list that showed everything.
    pub(super) fn tells_what_is_new(&self) -> bool {
        self.watch.as_ref().is_some_and(|watch| watch.from_complete)
    }
}

impl News {
    fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }

    fn is_full(&self) -> bool {
        self.added.len() + self.removed.len() >= CHUNK
    }
}

impl Ended {
    fn broken(cause: WatchEnd, why: impl Into<String>) -> Self {
        Self::Broken { cause, why: why.into(), rest: None }
    }
}

impl From<ClientError> for Ended {
    fn from(error: ClientError) -> Self {
        let (cause, rest) = match error {
            ClientError::Gone { .. } => (WatchEnd::Expired, None),
            ClientError::Unavailable { retry_after, .. } => (WatchEnd::Unreachable, retry_after),
            ClientError::NotFound { .. } | ClientError::Unsupported { .. } | ClientError::Broken { .. } => {
                (WatchEnd::Broken, None)
            }
        };
        Self::Broken { cause, why: error.to_string(), rest }
    }
}

/// Follows a list from a version on and hands on what comes, all that is there at once in one piece, up to as many as are
/// planned at a time. Who is slow to take it makes the source wait, and is told by it in the end that that was too slow.
async fn follow<S: Source, E: Send + Sync, L: Send + Sync>(
    shared: Arc<Shared<S, E, L>>,
    since: String,
    news: mpsc::Sender<News>,
) -> Ended {
    let mut events = match shared.source.changes(&since).await {
        Ok(Some(events)) => events,
        Ok(None) => return Ended::Quietly,
        Err(error) => return error.into(),
    };
    if news.send(News::default()).await.is_err() {
        return Ended::Quietly;
    }
    let mut told = News::default();
    loop {
        tokio::select! {
            // What is there is taken before anything is handed on.
            biased;
            event = events.next(), if !told.is_full() => match event {
                Some(Ok(event)) => {
                    if let Some(ended) = take(event, &since, &mut told, &shared) {
                        // What was told before holds all the same.
                        let _ = news.send(told).await;
                        return ended;
                    }
                }
                Some(Err(error)) => {
                    let _ = news.send(told).await;
                    return error.into();
                }
                None => {
                    let _ = news.send(told).await;
                    return Ended::broken(WatchEnd::Ended, "the source ended it");
                }
            },
            room = news.reserve(), if !told.is_empty() => match room {
                Ok(room) => room.send(std::mem::take(&mut told)),
                Err(_) => return Ended::Quietly,
            },
        }
    }
}

/// Adds an event to what is handed on; gives the watch's end where it is that.
fn take<S, E, L>(event: WatchEvent, since: &str, told: &mut News, shared: &Shared<S, E, L>) -> Option<Ended> {
    let (kind, version) = match &event {
        WatchEvent::Added { resource_version, .. } => (Event::Added, Some(resource_version)),
        WatchEvent::Removed { resource_version, .. } => (Event::Removed, Some(resource_version)),
        WatchEvent::Bookmark { resource_version } => (Event::Bookmark, Some(resource_version)),
        WatchEvent::Error { .. } => (Event::Error, None),
        WatchEvent::Other => return None,
    };
    shared.meters.source.told(kind);
    if let Some(version) = version
        && incarnation(version) != incarnation(since)
    {
        let why = format!("it tells of {version:?}, which does not follow {since:?}");
        return Some(Ended::broken(WatchEnd::Restarted, why));
    }
    match event {
        WatchEvent::Added { item, .. } => told.added.push(item),
        WatchEvent::Removed { item, .. } => told.removed.push(item),
        WatchEvent::Error { status, .. } if status.code == 410 => {
            return Some(Ended::broken(WatchEnd::Lagged, status.message));
        }
        // Whether it can be seen otherwise is found out by the list that follows.
        WatchEvent::Error { status, .. } => return Some(Ended::broken(WatchEnd::Blind, status.message)),
        WatchEvent::Bookmark { .. } | WatchEvent::Other => {}
    }
    None
}

/// Of a version `<incarnation>.<n>`.
fn incarnation(version: &str) -> Option<&str> {
    version.rsplit_once('.').map(|(incarnation, _)| incarnation)
}

impl<S: Source, E: Executor, L: Ledger> Manager<S, E, L> {
    /// Whether the source tells what changes, so that its list need not be asked for to know.
    pub(super) fn is_watched(&self) -> bool {
        self.watching.watch.as_ref().is_some_and(|watch| watch.began.is_some())
    }

    /// Watches from a version of the list on, unless a watch is under way. Where what is new is to be told from what was
    /// there before, the first complete list begins another: what the former tells may be either.
    pub(super) fn watch_from(&mut self, version: Option<String>, from_complete: bool) {
        let Some(version) = version.filter(|_| !self.shutdown.is_draining()) else { return };
        if self.watching.watch.is_some() {
            if !from_complete || !self.passes_over() || self.watching.tells_what_is_new() {
                return;
            }
            self.stop_watching();
        }
        let (sender, news) = mpsc::channel(1);
        let task = tokio::spawn(follow(Arc::clone(&self.shared), version, sender));
        self.watching.watch = Some(Watch { news, task, from_complete, began: None });
    }

    pub(super) fn stop_watching(&mut self) {
        if let Some(watch) = self.watching.watch.take() {
            watch.task.abort();
        }
        self.shared.meters.source.watching(false);
    }

    pub(super) async fn told(&mut self, told: Told) -> Result<(), RunError> {
        match told {
            Told::News(News { added, removed }) => {
                self.begun();
                if !added.is_empty() {
                    self.added(added).await?;
                }
                if !removed.is_empty() {
                    self.removed(removed).await?;
                }
            }
            Told::End(ended) => {
                let began = self.watching.watch.take().and_then(|watch| watch.began);
                self.shared.meters.source.watching(false);
                self.ended(ended?, began);
            }
        }
        Ok(())
    }

    fn begun(&mut self) {
        let Some(watch) = self.watching.watch.as_mut().filter(|watch| watch.began.is_none()) else { return };
        watch.began = Some(Instant::now());
        self.shared.meters.source.watching(true);
        if self.watching.said == Said::Nothing {
            self.watching.said = Said::Watched;
            info!(resync = ?self.settings.resync, "the source is watched: what it lists is known at once");
        }
        self.reschedule();
    }

    fn ended(&mut self, ended: Ended, began: Option<Instant>) {
        let Ended::Broken { cause, why, rest } = ended else { return };
        self.shared.meters.source.relisted(cause);
        if cause == WatchEnd::Expired {
            // A list that is still the same would have to be watched from there again.
            self.listing.forget_known();
        }
        let sound = began.is_some_and(|began| began.elapsed() >= SOUND);
        if sound {
            self.watching.backoff.reset();
            self.watching.said = Said::Watched;
            info!(
                cause = cause.as_str(),
                why, "the watch ended; the list is asked for, and the source watched from there"
            );
        } else if self.watching.said != Said::Unsound {
            self.watching.said = Said::Unsound;
            warn!(
                cause = cause.as_str(),
                why, "the watch ended soon after it began; the list is asked for, less often each time that happens"
            );
        }
        let mut wait = self.watching.backoff.next().max(rest.unwrap_or_default().min(self.settings.poll));
        if !sound {
            // A list that takes long is not walked all the time.
            wait = wait.max(self.listing.took());
        }
        self.relist(wait);
    }
}
