//! How fast work comes in: A, the mean time between two arrivals, over a long window.
//!
//! What the first list shows is stock and no flow: it is the backlog that has to be drained. From then on everything that
//! is new or to be done again is an arrival, and weighs the less the longer ago it was seen. Time passes here only while
//! the source is seen: a source that is down has not stopped to fill, and what it shows when it is back came in all of
//! the time that it could not be asked.

use std::time::{Duration, Instant};

/// Until so much of the window was watched, what came is taken for all that comes in so much of it: a handful in the first
/// second is no flood.
const LEAST_WATCHED: f64 = 1.0 / 60.0;

/// Arrivals over an exponential window.
#[derive(Clone, Debug)]
pub(super) struct Arrivals {
    window: f64,
    /// Arrivals, each by its weight.
    weight: f64,
    /// Seconds watched, each by its weight.
    watched: f64,
    /// Until when it was watched; `None` before the first list.
    until: Option<Instant>,
    /// Since then.
    fresh: u64,
}

impl Arrivals {
    pub(super) fn new(window: Duration) -> Self {
        Self { window: window.as_secs_f64(), weight: 0.0, watched: 0.0, until: None, fresh: 0 }
    }

    pub(super) fn arrived(&mut self, items: u64) {
        self.fresh += items;
    }

    /// The source is seen, and whatever came until now has [arrived](Self::arrived).
    pub(super) fn seen(&mut self, now: Instant) {
        let fresh = std::mem::take(&mut self.fresh) as f64;
        let Some(before) = self.until.replace(now) else { return };
        let passed = now.saturating_duration_since(before).as_secs_f64();
        let kept = (-passed / self.window).exp();
        // The integral of the weight over what has passed: all arrivals of it weigh as if spread over it.
        let watched = self.window * (1.0 - kept);
        let each = if passed > 0.0 { watched / passed } else { 1.0 };
        self.weight = self.weight * kept + fresh * each;
        self.watched = self.watched * kept + watched;
    }

    /// Per second; nothing where nothing came.
    pub(super) fn rate(&self) -> f64 {
        self.weight / self.watched.max(self.window * LEAST_WATCHED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn watching(window: u32) -> (Arrivals, Instant) {
        let (mut arrivals, now) = (Arrivals::new(window * SECOND), Instant::now());
        arrivals.arrived(1_000_000);
        arrivals.seen(now);
        (arrivals, now)
    }

    #[test]
    fn the_first_list_is_stock() {
        let (mut arrivals, now) = watching(60);
        assert_eq!(arrivals.rate(), 0.0);
        arrivals.seen(now + SECOND);
        assert_eq!(arrivals.rate(), 0.0);
    }

    #[test]
    fn a_steady_rate_is_known_from_the_first_minutes_on_and_however_seldom_it_is_asked_for() {
        for every in [1_u32, 7, 60] {
            let (mut arrivals, begin) = watching(3_600);
            for at in (every..20_000).step_by(every as usize) {
                arrivals.arrived(2 * u64::from(every));
                arrivals.seen(begin + at * SECOND);
                if at >= 60 {
                    assert!((arrivals.rate() - 2.0).abs() < 0.02, "{} after {at} s", arrivals.rate());
                }
            }
        }
    }

    #[test]
    fn a_handful_in_the_first_second_is_no_flood_and_silence_makes_them_rare() {
        let (mut arrivals, begin) = watching(3_600);
        arrivals.arrived(6);
        arrivals.seen(begin + SECOND);
        assert!(arrivals.rate() <= 0.11, "{}", arrivals.rate());
        arrivals.seen(begin + 3_600 * SECOND);
        assert!(arrivals.rate() < 6.0 / 3_600.0);
        arrivals.seen(begin + 40 * 3_600 * SECOND);
        assert!(arrivals.rate() < 1e-9);
    }

    #[test]
    fn what_came_while_nobody_could_look_came_all_the_time() {
        let (mut arrivals, begin) = watching(3_600);
        for at in 1..=3_600 {
            arrivals.arrived(1);
            arrivals.seen(begin + at * SECOND);
        }
        // It is down for half an hour: not asked, not decayed.
        let before = arrivals.rate();
        assert_eq!(arrivals.rate(), before);
        arrivals.arrived(1_800);
        arrivals.seen(begin + 5_400 * SECOND);
        assert!((arrivals.rate() - 1.0).abs() < 0.01, "{}", arrivals.rate());
    }
}
