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

/// What a meter counts, for whoever carries it.
#[derive(Debug, Default)]
pub struct Count {
    bytes: AtomicU64,
    objects: AtomicU64,
}

impl Count {
    /// So many bytes more are carried.
    pub fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many bytes have to be carried again.
    pub fn take_back(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// An object is through.
    pub fn finish_one(&self) {
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
    pub fn share(&self) -> Self {
        Self { count: self.count(), ticker: None }
    }

    /// What it counts.
    pub fn count(&self) -> Arc<Count> {
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

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Mutex, PoisonError};

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(line);
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Log {
        async fn after(&self, seconds: u64) -> String {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            let lines = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
            String::from_utf8(lines).expect("it is text")
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_long_is_told_of_until_it_is_over() {
        let log = Log::default();
        let writer = log.clone();
        let lines = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        let _here = tracing::subscriber::set_default(lines);
        let meter = Meter::fetching(2, Some(10));
        meter.count().add(4);
        assert_eq!(log.after(4).await, "", "what takes less is not told of");
        let told = log.after(2).await;
        assert!(told.contains("fetching bytes=4 of_bytes=10 objects=0 of_objects=2"), "{told}");
        meter.count().add(3);
        meter.count().take_back(4);
        meter.count().finish_one();
        let told = log.after(5).await;
        assert!(told.contains("bytes=3 of_bytes=10 objects=1"), "{told}");
        drop(meter);
        assert_eq!(log.after(60).await, "");
    }
}
