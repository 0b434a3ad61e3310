//! How often a transfer goes on after what came broke off.
//!
//! Requests that are not answered are the client's to repeat (`crate::retry`); what is left to us is what happens behind an answer's
//! head: a body that is cut short, or bytes that were spoilt on their way.

use std::time::Duration;

use storage::Error;
use tracing::debug;

/// So often in a row without progress.
const MOST: u32 = 8;
/// The longest pause, before the second of them.
const PAUSE: Duration = Duration::from_millis(100);

/// The tries of a transfer, or of a part of one.
#[derive(Debug, Default)]
pub(crate) struct Tries(u32);

impl Tries {
    /// Something came through.
    pub(crate) fn renew(&mut self) {
        self.0 = 0;
    }

    /// Waits before the next try, with full jitter: from nothing to a limit that doubles each time.
    ///
    /// # Errors
    /// `error` itself, when it is not of the kind that passes, or there were enough.
    pub(crate) async fn endure(&mut self, error: Error) -> Result<(), Error> {
        if !matches!(error, Error::Unavailable { .. }) || self.0 >= MOST {
            return Err(error);
        }
        let pause = PAUSE.saturating_mul(1 << self.0).mul_f64(fastrand::f64());
        self.0 += 1;
        debug!(%error, tries = self.0, ?pause, "a transfer goes on");
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn broke() -> Error {
        Error::Unavailable { doing: "fetch".to_owned(), source: io::Error::other("reset") }
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_without_progress_and_begins_again_with_some() {
        let mut tries = Tries::default();
        for _ in 0..MOST {
            tries.endure(broke()).await.expect("it goes on");
        }
        assert!(tries.endure(broke()).await.is_err());
        tries.renew();
        tries.endure(broke()).await.expect("it goes on again");
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_pass_is_not_endured() {
        let refused = Error::Forbidden("no".to_owned());
        assert!(matches!(Tries::default().endure(refused).await, Err(Error::Forbidden(_))));
    }
}
