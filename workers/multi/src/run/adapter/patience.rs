//! Time that somebody may take, counted only while we look.

use std::time::Duration;

use tokio::time::Instant;

/// Whoever looks less often than this was stopped itself meanwhile: that time is nobody's fault.
const STOPPED: Duration = Duration::from_secs(6);

/// How long one waits for another before he is given up: a process that is stopped for half a minute and goes on must not find
/// everybody late.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    left: Duration,
    looked: Instant,
}

impl Patience {
    /// All of it is left.
    pub(super) fn new(all: Duration) -> Self {
        Self { left: all, looked: Instant::now() }
    }

    /// Counts the time since the last look, and tells whether it has run out.
    pub(super) fn look(&mut self) -> bool {
        let now = Instant::now();
        let since = now.duration_since(self.looked);
        self.looked = now;
        if since <= STOPPED {
            self.left = self.left.saturating_sub(since);
        }
        self.left.is_zero()
    }

    /// When to look again, if nothing happens before.
    pub(super) fn next(&self) -> Duration {
        self.left.min(STOPPED / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_we_slept_through_is_held_against_nobody() {
        let mut patience = Patience::new(Duration::from_secs(10));
        tokio::time::advance(Duration::from_secs(300)).await;
        assert!(!patience.look());
        let mut looks = 0;
        loop {
            tokio::time::advance(patience.next()).await;
            looks += 1;
            if patience.look() {
                break;
            }
        }
        assert_eq!(looks, 4, "three seconds each, and one");
    }
}
