//! How far transfers are: a line of log every few seconds for as long as they take.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tracing::info;

/// How often it is told.
const EVERY: Duration = Duration::from_secs(5);

/// Counts what transfers have carried of all they have to, and tells it in the log: `fetching` or `publishing`, every five
/// seconds until it is dropped. Whatever takes less than that is not told of.
pub struct Meter {
    count: Arc<Count>,
    ticker: Option<JoinHandle<()>>,
}

/// What a meter counts.
#[derive(Debug, Default)]
pub(crate) struct Count {
    bytes: AtomicU64,
    objects: AtomicU64,
}

impl Count {
    pub(crate) fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn take_back(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(crate) fn finish_one(&self) {
        self.objects.fetch_add(1, Ordering::Relaxed);
    }
}

/// What the transfers of a meter are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Fetch,
    Publish,
}

impl Meter {
    /// Of inputs to fetch: so many objects, of so many bytes in all where that is known. Needs a runtime.
    pub fn fetching(objects: u64, bytes: Option<u64>) -> Self {
        Self::telling(Act::Fetch, objects, bytes)
    }

    /// Of outputs to publish: so many objects of so many bytes in all. Needs a runtime.
    pub fn publishing(objects: u64, bytes: u64) -> Self {
        Self::telling(Act::Publish, objects, Some(bytes))
    }

    /// Tells nobody.
    pub fn silent() -> Self {
        Self { count: Arc::default(), ticker: None }
    }

    /// Bytes carried by now. What has to be carried again counts once.
    pub fn bytes(&self) -> u64 {
        self.count.bytes.load(Ordering::Relaxed)
    }

    /// Objects that are through.
    pub fn objects(&self) -> u64 {
        self.count.objects.load(Ordering::Relaxed)
    }

    /// Another that counts to the same, and tells nobody.
    pub(crate) fn share(&self) -> Self {
        Self { count: self.count(), ticker: None }
    }

    pub(crate) fn count(&self) -> Arc<Count> {
        Arc::clone(&self.count)
    }

    fn telling(act: Act, objects: u64, bytes: Option<u64>) -> Self {
        let count = Arc::<Count>::default();
        let seen = Arc::clone(&count);
        let ticker = tokio::spawn(async move {
            let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + EVERY, EVERY);
            loop {
                ticks.tick().await;
                let (done, through) = (seen.bytes.load(Ordering::Relaxed), seen.objects.load(Ordering::Relaxed));
                match act {
                    Act::Fetch => {
                        info!(bytes = done, of_bytes = bytes, objects = through, of_objects = objects, "fetching")
                    }
                    Act::Publish => {
                        info!(bytes = done, of_bytes = bytes, objects = through, of_objects = objects, "publishing");
                    }
                }
            }
        });
        Self { count, ticker: Some(ticker) }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some(ticker) = &self.ticker {
            ticker.abort();
        }
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter").field("bytes", &self.bytes()).field("objects", &self.objects()).finish_non_exhaustive()
    }
}
