//! Trying again: only what can pass, at random times, and not for ever.

use std::time::{Duration, Instant};

use storage::Error;
use tracing::warn;

use crate::refusal::Failure;

const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(10);

/// How long something has been tried in vain.
#[derive(Debug)]
pub(crate) struct Retry {
    patience: Duration,
    since: Option<Instant>,
    tries: u32,
}

impl Retry {
    pub(crate) fn new(patience: Duration) -> Self {
        Self { patience, since: None, tries: 0 }
    }

    /// Something was achieved: patience begins anew.
    pub(crate) fn progress(&mut self) {
        (self.since, self.tries) = (None, 0);
    }

    /// Waits before `doing` it again.
    ///
    /// # Errors
    /// The failure, when it will not pass or patience has run out.
    pub(crate) async fn wait(&mut self, doing: &str, failure: Failure) -> Result<(), Error> {
        let Failure::Passing { why, after } = &failure else { return Err(failure.at(doing)) };
        let since = *self.since.get_or_insert_with(Instant::now);
        if since.elapsed() >= self.patience {
            return Err(failure.at(doing));
        }
        // Full jitter: everybody who was refused at once must not come back at once.
        let ceiling = FIRST.saturating_mul(1 << self.tries.min(16)).min(LONGEST);
        let pause = ceiling.mul_f64(fastrand::f64()).max(after.unwrap_or_default());
        let pause = pause.min(self.patience.saturating_sub(since.elapsed()).max(FIRST));
        self.tries += 1;
        warn!(doing, %why, tries = self.tries, again_in_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX), "trying again");
        tokio::time::sleep(pause).await;
        Ok(())
    }
}
