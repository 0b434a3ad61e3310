//! A source over HTTP: ours with everything it offers, or any that answers GET.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use contract::ItemName;
use contract::client::{Client, ClientError, ETag, Endpoint, Limits};
use contract::wire::{About, Item, ItemList, Settle};
use futures_util::StreamExt;
use futures_util::stream;

use super::{Changes, Page, Source};

/// How many names are asked for at a time, where the source serves pages.
const PAGE: usize = 1_000;
/// How often a source that lists is asked who it is before it is taken for one that does not say: some never answer.
const INTRODUCTIONS: u32 = 3;

/// A source at an address, connected to when first asked and again after it was lost.
pub struct HttpSource {
    endpoint: Endpoint,
    limits: Limits,
    connection: Mutex<Option<Arc<Connected>>>,
    /// When it last said who it is, it wanted to know what became of its items.
    settles: AtomicBool,
    /// It was told what became of an item and answered that it does not want to know.
    declined: AtomicBool,
    unanswered: Mutex<u32>,
}

/// What is known of the source while it answers.
#[derive(Debug)]
struct Connected {
    client: Client,
    about: Option<About>,
    /// It offers to be watched and answered that it cannot be.
    unwatchable: AtomicBool,
    /// It broke off, and may come back as another: it is asked again who it is.
    doubted: AtomicBool,
}

impl fmt::Debug for HttpSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HttpSource").field(&self.endpoint.to_string()).finish()
    }
}

impl Connected {
    fn new(client: Client, about: Option<About>) -> Self {
        let (unwatchable, doubted) = Default::default();
        Self { client, about, unwatchable, doubted }
    }

    fn offers(&self, what: impl FnOnce(&contract::wire::Capabilities) -> bool) -> bool {
        self.about.as_ref().is_some_and(|about| what(&about.capabilities))
    }

    /// Pages are asked for only where they are offered: a foreign server may know its path only without a query.
    fn page_size(&self) -> Option<usize> {
        self.offers(|offered| offered.paging).then_some(PAGE)
    }

    fn page(&self, list: ItemList) -> Page {
        Page {
            names: list.items,
            next: list.metadata.continue_token.filter(|_| self.page_size().is_some()),
            complete: list.metadata.complete,
            promised: self.about.is_some(),
            backlog: list.metadata.backlog.unwrap_or(0),
            // What waits behind a window may be a guess, where the source knows better.
            had_items: list.metadata.had_items.unwrap_or(list.metadata.backlog.is_some_and(|backlog| backlog > 0)),
            version: None,
            mark: None,
        }
    }
}

impl HttpSource {
    /// The source at `endpoint`, a root or the list itself. Nothing is asked yet.
    pub fn new(endpoint: Endpoint, limits: Limits) -> Self {
        let (connection, settles, declined, unanswered) = Default::default();
        Self { endpoint, limits, connection, settles, declined, unanswered }
    }

    async fn connected(&self) -> Result<Arc<Connected>, ClientError> {
        let known = lock(&self.connection).clone();
        let (client, about) = match known {
            Some(known) if !known.doubted.load(Ordering::Relaxed) => return Ok(known),
            Some(known) => (known.client.clone(), self.unless_lost(known.client.about().await)?),
            None => {
                let client = Client::connect(&self.endpoint, self.limits.clone()).await?;
                let about = self.introduced(&client).await?;
                (client, about)
            }
        };
        let connected = Arc::new(Connected::new(client, about));
        // Only where the source says so: to a server that is not asked first, DELETE may mean what it says.
        self.settles.store(connected.offers(|offered| offered.settle != Settle::None), Ordering::Relaxed);
        *lock(&self.connection) = Some(Arc::clone(&connected));
        Ok(connected)
    }

    /// Who it says it is. That it lists and does not say is no reason not to work with it.
    async fn introduced(&self, client: &Client) -> Result<Option<About>, ClientError> {
        match client.about().await {
            Err(error @ ClientError::Unavailable { .. }) => {
                let mut unanswered = lock(&self.unanswered);
                *unanswered += 1;
                if *unanswered < INTRODUCTIONS { Err(error) } else { Ok(None) }
            }
            answer => {
                *lock(&self.unanswered) = 0;
                Ok(answer.unwrap_or_default())
            }
        }
    }

    /// A source that fails may come back as another: who it is, where its list is and what opens it are asked again.
    fn lost(&self) {
        *lock(&self.connection) = None;
    }

    fn unless_lost<T>(&self, answer: Result<T, ClientError>) -> Result<T, ClientError> {
        answer.inspect_err(|_| self.lost())
    }

    /// Where a token is shown, an item that is not given may be one that is not given to us any more.
    fn unless_locked_out<T>(&self, answer: Result<T, ClientError>) -> Result<T, ClientError> {
        let shut = |error: &ClientError| matches!(error, ClientError::Unavailable { .. }) && self.endpoint.is_guarded();
        answer.inspect_err(|error| {
            if shut(error) {
                self.lost()
            }
        })
    }
}

impl Source for HttpSource {
    async fn list(&self, known: Option<&ETag>) -> Result<Option<Page>, ClientError> {
        let connected = self.connected().await?;
        let answer = self.unless_lost(connected.client.list_unless(connected.page_size(), known).await)?;
        Ok(answer.map(|(list, mark)| {
            let version = list.metadata.resource_version.clone();
            Page { version, mark, ..connected.page(list) }
        }))
    }

    async fn next_page(&self, token: String) -> Result<Page, ClientError> {
        let connected = self.connected().await?;
        let list = self.unless_lost(connected.client.list(connected.page_size(), Some(&token)).await)?;
        Ok(connected.page(list))
    }

    async fn changes(&self, since: &str) -> Result<Option<Changes>, ClientError> {
        let connected = self.connected().await?;
        if !connected.offers(|offered| offered.watch) || connected.unwatchable.load(Ordering::Relaxed) {
            return Ok(None);
        }
        match connected.client.watch(Some(since)).await {
            Ok(watch) => {
                let known = Arc::clone(&connected);
                let doubt = move || known.doubted.store(true, Ordering::Relaxed);
                let broken = doubt.clone();
                let events = watch.into_stream().inspect(move |event| {
                    if event.is_err() {
                        broken()
                    }
                });
                let end = stream::poll_fn(move |_| {
                    doubt();
                    Poll::Ready(None)
                });
                Ok(Some(events.chain(end).boxed()))
            }
            Err(ClientError::Unsupported { .. }) => {
                connected.unwatchable.store(true, Ordering::Relaxed);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn item(&self, name: &ItemName) -> Result<Item, ClientError> {
        self.unless_locked_out(self.connected().await?.client.item(name).await)
    }

    async fn settle(&self, name: &ItemName, failed: Option<&str>) -> Result<(), ClientError> {
        let settled = self.unless_locked_out(self.connected().await?.client.settle(name, failed).await);
        if matches!(settled, Err(ClientError::Unsupported { .. })) {
            self.declined.store(true, Ordering::Relaxed);
        }
        settled
    }

    async fn pending(&self) -> Result<u64, ClientError> {
        let connected = self.connected().await?;
        if !connected.offers(|offered| offered.withheld) {
            return Ok(0);
        }
        let (mut pending, mut token) = (0, None);
        loop {
            let Some(page) = connected.client.withheld(Some(PAGE), token.as_deref()).await? else { return Ok(pending) };
            pending += page.items.iter().filter(|withheld| withheld.pending).count() as u64;
            token = page.metadata.continue_token;
            if token.is_none() {
                return Ok(pending);
            }
        }
    }

    fn settles(&self) -> bool {
        self.settles.load(Ordering::Relaxed) && !self.declined.load(Ordering::Relaxed)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
