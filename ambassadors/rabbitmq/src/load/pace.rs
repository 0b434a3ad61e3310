//! How fast messages go to a broker that may have no room for them.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

/// How many may be on their way at once. As many may be there twice after a connection has ended.
const MOST: usize = 2_000;
/// Before one that was refused is offered again, and how long that becomes where none is taken.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);
/// How often it is said that there is no room.
const SAY_EVERY: Duration = Duration::from_secs(30);

/// What a broker refuses is offered again one at a time, after longer and longer pauses; once that one is taken, two are offered, then four.
#[derive(Debug)]
pub(super) struct Pace {
    room: usize,
    pause: Duration,
    again: Instant,
    /// When it was said that there is no room, unless there is again.
    said: Option<Instant>,
}

impl Pace {
    /// As fast as it goes.
    pub(super) fn new() -> Self {
        Self { room: MOST, pause: PAUSE, again: Instant::now(), said: None }
    }

    /// How many more may be sent now, when so many are on their way.
    pub(super) fn room(&self, under_way: usize) -> usize {
        if Instant::now() < self.again { 0 } else { self.room.saturating_sub(under_way) }
    }

    /// When some may be sent.
    pub(super) fn again(&self) -> Instant {
        self.again
    }

    /// Whether some were refused lately.
    pub(super) fn is_held_up(&self) -> bool {
        self.said.is_some()
    }

    /// All that were on their way are answered: so many were taken, and so many refused.
    pub(super) fn answered(&mut self, taken: usize, refused: usize) {
        let now = Instant::now();
        if refused == 0 {
            self.room = (self.room * 2).min(MOST);
            self.pause = PAUSE;
            if self.room == MOST && self.said.take().is_some() {
                info!("the broker takes messages again");
            }
            return;
        }
        if self.said.is_none_or(|said| now - said >= SAY_EVERY) {
            warn!(
                refused,
                "the broker refuses messages, and they are offered again until it takes them: the queue is full (x-max-length with \
                 x-overflow), or too few of its nodes are there"
            );
            self.said = Some(now);
        }
        self.pause = if taken > 0 { PAUSE } else { self.pause };
        self.again = now + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.room = 1;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, sleep_until};

    use super::*;

    /// Offers what it may for so long, to a broker that takes so many a second. How many were sent, and how many taken.
    async fn offered(time: Duration, room_a_second: usize) -> (usize, usize) {
        let (mut pace, begun) = (Pace::new(), Instant::now());
        let (mut sent, mut taken) = (0, 0);
        while begun.elapsed() < time {
            sleep_until(pace.again()).await;
            advance(Duration::from_millis(1)).await;
            let there_is = usize::try_from(begun.elapsed().as_secs()).expect("few") * room_a_second - taken;
            let offered = pace.room(0);
            sent += offered;
            taken += there_is.min(offered);
            pace.answered(there_is.min(offered), offered - there_is.min(offered));
        }
        (sent, taken)
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_asked_seldom_and_who_takes_some_gets_as_many() {
        let five_minutes = Duration::from_secs(300);
        let (sent, taken) = offered(five_minutes, 0).await;
        assert!(taken == 0 && (MOST + 30..MOST + 50).contains(&sent), "{sent}");
        let (sent, taken) = offered(five_minutes, 100).await;
        assert!(taken > 28_000 && sent - MOST < taken * 2, "{taken} of {sent}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_is_offered_after_a_refusal_and_then_twice_as_many() {
        let mut pace = Pace::new();
        assert_eq!((pace.room(0), pace.room(MOST), pace.is_held_up()), (MOST, 0, false));
        pace.answered(5, 10);
        assert_eq!((pace.room(0), pace.is_held_up()), (0, true));
        sleep_until(pace.again()).await;
        assert_eq!((pace.room(0), pace.room(1)), (1, 0));
        pace.answered(1, 0);
        assert_eq!((pace.room(0), pace.is_held_up()), (2, true), "of one nothing follows");
        (0..20).for_each(|_| pace.answered(1, 0));
        assert_eq!((pace.room(0), pace.is_held_up()), (MOST, false));
    }
}
