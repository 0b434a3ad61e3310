//! Whether the heart of somebody beats whose lock says that he lives: a process that is stopped, or hangs, holds its lock too.

use std::time::Duration;

use tokio::time::Instant;

use super::patience::Patience;

/// Between two looks: no heart need beat more often.
const EVERY: Duration = Duration::from_secs(2);

/// What was seen of a heart, by looks that count only what we were awake for.
#[derive(Debug)]
pub(super) struct Pulse {
    limit: Duration,
    /// When one looked last, what was there, and how much longer it may stand still.
    last: Option<(Instant, Vec<u8>, Patience)>,
}

impl Pulse {
    /// A heart that may stand still for as long as `limit`.
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, last: None }
    }

    /// Whether it has stood still for too long. `look` gives what it has written last; nothing, where that cannot be seen, which
    /// proves nothing.
    pub(super) fn stands_still(&mut self, look: impl FnOnce() -> Option<Vec<u8>>) -> bool {
        let now = Instant::now();
        if self.last.as_ref().is_some_and(|(at, ..)| now.duration_since(*at) < EVERY) {
            return false;
        }
        let Some(beat) = look() else {
            self.last = None;
            return false;
        };
        match &mut self.last {
            Some((at, before, patience)) if *before == beat => {
                *at = now;
                patience.look()
            }
            _ => {
                self.last = Some((now, beat, Patience::new(self.limit)));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    /// How long it takes until a heart is taken to stand still that is looked at every `step`.
    async fn until_still(step: Duration, heart: impl Fn(u32) -> Option<Vec<u8>>) -> Option<Duration> {
        let (mut pulse, begun) = (Pulse::new(LIMIT), Instant::now());
        for n in 0..1000 {
            if pulse.stands_still(|| heart(n)) {
                return Some(begun.elapsed());
            }
            tokio::time::advance(step).await;
        }
        None
    }

    #[tokio::test(start_paused = true)]
    async fn a_heart_stands_still_once_it_has_for_long_enough() {
        let second = Duration::from_secs(1);
        assert_eq!(until_still(second, |_| Some(b"7".to_vec())).await, Some(LIMIT));
        assert_eq!(until_still(second, |n| Some((n / 50).to_string().into())).await, None, "it beats, if slowly");
        assert_eq!(
            until_still(second, |n| (n % 50 > 1).then(|| b"7".to_vec())).await,
            None,
            "it cannot always be seen"
        );
        assert_eq!(until_still(second, |_| None).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_we_slept_through_does_not_count() {
        assert_eq!(until_still(Duration::from_secs(30), |_| Some(b"7".to_vec())).await, None);
    }
}
