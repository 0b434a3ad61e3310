//! A source that fails as it is told to.

use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ambassador_kit::source::{About, Change, Health, Order, Outcome, Page, Revision, Source, SourceError, Tally};
use contract::ItemName;
use contract::wire::{Item, Settle, Withheld};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::sync::{Semaphore, watch};

/// How every call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// It answers.
    Calm,
    /// It never answers.
    Hang,
    /// It answers when it is given a permit.
    Gated,
    /// It says that the backend is not there, with this many milliseconds to wait.
    Away(u64),
    /// It fails with an error that tells secrets.
    Leak,
    /// It panics.
    Panic,
    /// It answers for a page that not everything was seen.
    Partial,
}

/// Three pages of one name each; the mood changes after the first.
#[derive(Debug)]
pub(crate) struct Unruly {
    pub(crate) health: watch::Sender<Health>,
    pub(crate) first: Mutex<Mood>,
    pub(crate) later: Mutex<Mood>,
    /// Settlements finish only when given a permit, and so does what is gated.
    pub(crate) permits: Semaphore,
    pub(crate) settled: AtomicUsize,
    pub(crate) drained: AtomicUsize,
    /// What it says its list's revision is.
    pub(crate) revision: Mutex<Option<Revision>>,
}

impl Unruly {
    pub(crate) fn new(first: Mood, later: Mood) -> Arc<Self> {
        Arc::new(Self {
            health: watch::Sender::new(Health::Live),
            first: Mutex::new(first),
            later: Mutex::new(later),
            permits: Semaphore::new(0),
            settled: AtomicUsize::new(0),
            drained: AtomicUsize::new(0),
            revision: Mutex::new(None),
        })
    }

    async fn answer<I>(&self, from: Option<u64>, item: I) -> Result<Page<I, u64>, SourceError> {
        let number = from.unwrap_or(0);
        let mood = if number == 0 { *self.first.lock().expect("a mood") } else { *self.later.lock().expect("a mood") };
        self.suffer(mood).await?;
        let next = (number < 2).then_some(number + 1);
        Ok(Page { items: vec![item], next, complete: mood != Mood::Partial, remaining: None, backlog: None })
    }

    async fn suffer(&self, mood: Mood) -> Result<(), SourceError> {
        match mood {
            Mood::Calm | Mood::Partial => Ok(()),
            Mood::Hang => pending().await,
            Mood::Gated => {
                self.permits.acquire().await.expect("never closed").forget();
                Ok(())
            }
            Mood::Away(millis) => {
                Err(SourceError::Unavailable { why: "the disk is away".into(), retry: Duration::from_millis(millis) })
            }
            Mood::Leak => Err(SourceError::Internal("password=hunter2".into())),
            Mood::Panic => panic!("told to"),
        }
    }
}

impl Source for Unruly {
    type Cursor = u64;

    fn about(&self) -> About {
        super::about(Order::Key, "one", Settle::BestEffort)
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    fn tally(&self) -> Tally {
        Tally { withheld: vec![("unruly", 2)], oldest: Some(Duration::from_secs(90)), ..Tally::default() }
    }

    fn revision(&self) -> Option<Revision> {
        *self.revision.lock().expect("a revision")
    }

    async fn page(&self, from: Option<u64>, _max: usize) -> Result<Page<ItemName, u64>, SourceError> {
        self.answer(from, super::name(&format!("item-{}", from.unwrap_or(0)))).await
    }

    fn changes(
        &self,
        _since: Option<Revision>,
    ) -> Result<BoxStream<'static, Result<Change, SourceError>>, SourceError> {
        match self.revision() {
            Some(_) => Ok(stream::pending().boxed()),
            None => Err(SourceError::Unsupported("nothing to watch")),
        }
    }

    async fn get(&self, name: &ItemName) -> Result<Item, SourceError> {
        let mood = *self.first.lock().expect("a mood");
        self.suffer(mood).await?;
        Ok(super::item(name, "key", name.as_str()))
    }

    async fn settle(&self, _name: &ItemName, _outcome: &Outcome) -> Result<(), SourceError> {
        let mood = *self.first.lock().expect("a mood");
        self.suffer(mood).await?;
        self.permits.acquire().await.expect("never closed").forget();
        self.settled.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    async fn withheld(&self, from: Option<u64>, _max: usize) -> Result<Page<Withheld, u64>, SourceError> {
        let key = contract::Key::new(b"unruly");
        let (reason, message) = ("unruly".into(), "it will not behave".into());
        self.answer(from, Withheld { key, reason, message, pending: false, since: None }).await
    }

    async fn drain(&self) {
        self.drained.fetch_add(1, Ordering::SeqCst);
    }
}
