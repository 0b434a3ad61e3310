//! A source over HTTP: ours with everything it offers, or any that answers GET.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use contract::ItemName;
use contract::client::{Client, ClientError, Limits};
use contract::wire::{About, Item, Settle};
use url::Url;

use super::{Page, Source};

/// How many names are asked for at a time, where the source serves pages.
const PAGE: usize = 1_000;
/// How often a source that lists is asked who it is before it is taken for one that does not say: some never answer.
const INTRODUCTIONS: u32 = 3;

/// A source at a URL, connected to when first asked and again after it was lost.
pub struct HttpSource {
    base: Url,
    limits: Limits,
    connected: Mutex<Option<Arc<Connected>>>,
    /// It was told what became of an item and answered that it does not want to know.
    declined: AtomicBool,
    unanswered: Mutex<u32>,
}

#[derive(Debug)]
struct Connected {
    client: Client,
    about: Option<About>,
}

impl fmt::Debug for HttpSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HttpSource").field(&self.base.as_str()).finish()
    }
}

impl HttpSource {
    /// The source at `base`, a root or the list itself. Nothing is asked yet.
    pub fn new(base: Url, limits: Limits) -> Self {
        let (connected, declined, unanswered) = Default::default();
        Self { base, limits, connected, declined, unanswered }
    }

    async fn connected(&self) -> Result<Arc<Connected>, ClientError> {
        if let Some(connected) = &*lock(&self.connected) {
            return Ok(Arc::clone(connected));
        }
        let client = Client::connect(&self.base.clone().into(), self.limits.clone()).await?;
        let about = self.introduced(&client).await?;
        let connected = Arc::new(Connected { client, about });
        *lock(&self.connected) = Some(Arc::clone(&connected));
        Ok(connected)
    }

    /// Who it says it is. That it lists and does not say is no reason not to work with it.
    async fn introduced(&self, client: &Client) -> Result<Option<About>, ClientError> {
        match client.about().await {
            Ok(about) => Ok(about),
            Err(error @ ClientError::Unavailable { .. }) => {
                let mut unanswered = lock(&self.unanswered);
                *unanswered += 1;
                if *unanswered < INTRODUCTIONS { Err(error) } else { Ok(None) }
            }
            Err(_) => Ok(None),
        }
    }

    /// A source that fails may come back as another: who it is and where its list is are asked again.
    fn lost(&self) {
        *lock(&self.connected) = None;
    }
}

impl Source for HttpSource {
    async fn list(&self, token: Option<String>) -> Result<Page, ClientError> {
        let connected = self.connected().await?;
        let paging = connected.about.as_ref().is_some_and(|about| about.capabilities.paging);
        // A foreign server may know its path only without a query.
        match connected.client.list(paging.then_some(PAGE), token.as_deref()).await {
            Ok(list) => Ok(Page {
                names: list.items,
                next: list.metadata.continue_token.filter(|_| paging),
                complete: list.metadata.complete,
                promised: connected.about.is_some(),
                backlog: list.metadata.backlog.unwrap_or(0),
            }),
            Err(error) => {
                self.lost();
                Err(error)
            }
        }
    }

    async fn item(&self, name: &ItemName) -> Result<Item, ClientError> {
        self.connected().await?.client.item(name).await
    }

    async fn settle(&self, name: &ItemName, failed: Option<&str>) -> Result<(), ClientError> {
        let settled = self.connected().await?.client.settle(name, failed).await;
        if matches!(settled, Err(ClientError::Unsupported { .. })) {
            self.declined.store(true, Ordering::Relaxed);
        }
        settled
    }

    async fn pending(&self) -> Result<u64, ClientError> {
        let connected = self.connected().await?;
        if !connected.about.as_ref().is_some_and(|about| about.capabilities.withheld) {
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

    /// Only where the source says so: to a server that is not asked first, DELETE may mean what it says.
    fn settles(&self) -> bool {
        let offered = |connected: &Arc<Connected>| {
            connected.about.as_ref().is_some_and(|about| about.capabilities.settle != Settle::None)
        };
        !self.declined.load(Ordering::Relaxed) && lock(&self.connected).as_ref().is_some_and(offered)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
