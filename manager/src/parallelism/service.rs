//! How long an attempt takes: S, the mean over the last attempts, in which what still runs counts too.
//!
//! Workers that hang end no attempt, and a mean of those that ended would never know. So each running attempt counts as
//! soon as it lasts longer than the others did: it is one more whose duration is at least its age. Of that age no more
//! counts than the time in which the others ended, or a single attempt that hangs for a day would outweigh thousands that
//! came and went beside it.

use std::time::{Duration, Instant};

/// How many attempts are remembered, about; the longer ago one ended, the less it weighs.
const REMEMBERED: f64 = 200.0;
/// So many must have ended before anything is said of all; the first ones are also what later ones are held against.
const FEW: u32 = 8;
/// But after so long it is time to say what there is to say.
const FIRST_LOOK: Duration = Duration::from_secs(60);

/// Durations of attempts.
#[derive(Clone, Debug, Default)]
pub(super) struct Service {
    /// Seconds, each attempt's by its weight.
    total: f64,
    /// Weights.
    ended: f64,
    /// Seconds in which they ended.
    span: f64,
    last: Option<Instant>,
    /// How many ended, up to [`FEW`], and when the first of them began.
    first: (u32, Option<Instant>),
}

impl Service {
    pub(super) fn ended(&mut self, took: Duration, now: Instant) {
        let kept = 1.0 - 1.0 / REMEMBERED;
        let passed = self.last.replace(now).map_or(took, |last| now.saturating_duration_since(last));
        let (count, began) = self.first;
        self.first = ((count + 1).min(FEW), began.or_else(|| now.checked_sub(took)));
        self.total = self.total * kept + took.as_secs_f64();
        self.ended = self.ended * kept + 1.0;
        self.span = self.span * kept + passed.as_secs_f64();
    }

    /// The mean in seconds, where running attempts are of these `ages`; `None` where nothing can be said yet.
    pub(super) fn mean(&self, ages: &[Duration], now: Instant) -> Option<f64> {
        let (count, began) = self.first;
        let oldest = ages.iter().copied().max().unwrap_or_default();
        let watched = began.map_or(oldest, |began| now.saturating_duration_since(began).max(oldest));
        if count < FEW && watched < FIRST_LOOK {
            return None;
        }
        let Some(last) = self.last else {
            return Some(ages.iter().map(Duration::as_secs_f64).sum::<f64>() / ages.len() as f64);
        };
        let span = self.span + now.saturating_duration_since(last).as_secs_f64();
        let mut ages: Vec<f64> = ages.iter().map(|age| age.as_secs_f64().min(span)).collect();
        ages.sort_by(|a, b| b.total_cmp(a));
        let (mut total, mut count) = (self.total, self.ended);
        for age in ages {
            if age <= total / count {
                break;
            }
            (total, count) = (total + age, count + 1.0);
        }
        Some(total / count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: impl IntoIterator<Item = u64>) -> Vec<Duration> {
        n.into_iter().map(Duration::from_secs).collect()
    }

    /// So many attempts of a second, one after the other on one slot.
    fn after(attempts: u64) -> (Service, Instant) {
        let (mut service, begin) = (Service::default(), Instant::now());
        for at in 1..=attempts {
            service.ended(Duration::from_secs(1), begin + Duration::from_secs(at));
        }
        (service, begin + Duration::from_secs(attempts))
    }

    #[test]
    fn nothing_is_known_before_something_ended_or_lasts_for_long() {
        let (service, now) = after(0);
        assert_eq!(service.mean(&[], now), None);
        assert_eq!(service.mean(&seconds([59, 1]), now), None);
        assert_eq!(service.mean(&seconds([60, 20]), now), Some(40.0));
        let (service, now) = after(7);
        assert_eq!(service.mean(&[], now), None);
        assert_eq!(service.mean(&[], now + FIRST_LOOK), Some(1.0));
        let (service, now) = after(8);
        assert_eq!(service.mean(&[], now), Some(1.0));
    }

    #[test]
    fn what_runs_no_longer_than_the_others_changes_nothing() {
        let (service, now) = after(100);
        assert_eq!(service.mean(&seconds([0, 1, 1]), now), service.mean(&[], now));
    }

    #[test]
    fn attempts_that_do_not_end_are_noticed_while_they_run_and_learned_when_they_end() {
        let (mut service, mut now) = after(1_000);
        let healthy = service.mean(&[], now).expect("is known");
        now += Duration::from_secs(1_000);
        let running = service.mean(&seconds([1_000; 4]), now).expect("is known");
        assert!(running > 10.0 * healthy, "{running}");
        for _ in 0..600 {
            now += Duration::from_secs(10);
            service.ended(Duration::from_secs(10), now);
        }
        let learned = service.mean(&[], now).expect("is known");
        assert!((9.0..=10.0).contains(&learned), "{learned}");
    }

    #[test]
    fn one_that_hangs_for_a_day_does_not_outweigh_all_others() {
        let (service, now) = after(86_400);
        let mean = service.mean(&seconds([86_400, 1]), now).expect("is known");
        assert!((1.0..2.5).contains(&mean), "{mean}");
    }
}
