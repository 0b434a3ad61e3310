//! How many requests at once pay. Pure: no clock is read here.
//!
//! A store that is far away, or has machines enough, answers twice as many requests in the same time. One with few processors only
//! shares out what it has, and may do worse: MinIO reads through all that lies behind a key for each listing that begins there.
//! Nothing tells which it is but what comes: so one request at a time is what a walk begins with, twice as many are tried, and kept only
//! while they bring more whole pages in the same time. (What a page brings that a cut has made short is not the store's doing.)

use std::collections::VecDeque;
use std::time::Duration;

/// What more requests at once have to bring, of what they would bring if they cost each other nothing: a quarter.
const WORTH: f64 = 0.25;
/// So much of it is beyond doubt after one answer for each of them.
const CLEARLY_WORTH: f64 = 0.75;
/// So many answers for each request at once are waited for otherwise.
const ROUNDS: usize = 3;
/// So many pages tell what a number brings that is not on trial.
const SETTLED: usize = 8;
/// Before the first trial so long is listed.
const FIRST_TRIAL: Duration = Duration::from_secs(1);
/// Where pages come within this the store is near, and little of it is a round trip that others could hide. Then so long is listed
/// before: a trial costs a store like MinIO up to as much again as the whole walk.
const NEAR: Duration = Duration::from_millis(40);
const FIRST_TRIAL_NEAR: Duration = Duration::from_secs(10);
/// After a trial that failed the next is made when there were so many times as many pages.
const REST: u64 = 16;
/// So many pages are remembered, the last ones.
const REMEMBERED: usize = 1_024;

/// How many requests there may be at once, and what they bring.
#[derive(Debug)]
pub(super) struct Pace {
    most: usize,
    level: usize,
    era: u32,
    /// While `level` is on trial: the level it came from, and what that brought.
    before: Option<(usize, f64)>,
    seen: Seen,
    pages: u64,
    /// How long they took one after another.
    listed: Duration,
    /// There is no trial before so many pages.
    rest_until: u64,
}

/// How long pages took that were asked for, and came, while there were as many requests at once as the level allows.
#[derive(Debug, Default)]
struct Seen(VecDeque<Duration>);

/// What becomes of a level on trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Undecided,
    Pays,
    DoesNotPay,
}

impl Pace {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            level: 1,
            era: 0,
            before: None,
            seen: Seen::default(),
            pages: 0,
            listed: Duration::ZERO,
            rest_until: 0,
        }
    }

    /// How many requests there may be at once now.
    pub(super) fn level(&self) -> usize {
        self.level
    }

    /// Changes with the level: an answer tells of the one that it was asked for at.
    pub(super) fn era(&self) -> u32 {
        self.era
    }

    /// A whole page has come after `took`; with it so many requests were `at_once` under way. It was asked for in `era` as the last of all
    /// that might be asked for at once.
    pub(super) fn answered(&mut self, era: Option<u32>, at_once: usize, took: Duration) {
        self.pages += 1;
        self.listed += took;
        if era != Some(self.era) || at_once < self.level {
            return;
        }
        self.seen.add(took);
        match self.before {
            Some(before) => match judge(before, self.level, &self.seen) {
                Verdict::Undecided => {}
                Verdict::Pays => {
                    self.before = None;
                    self.raise();
                }
                Verdict::DoesNotPay => {
                    self.before = None;
                    self.change(before.0);
                    self.rest_until = self.pages * REST;
                }
            },
            None => {
                let first = if self.seen.median() < NEAR { FIRST_TRIAL_NEAR } else { FIRST_TRIAL };
                let rested = self.pages >= self.rest_until && self.listed >= first;
                if rested && self.seen.0.len() >= SETTLED.max(self.level) {
                    self.raise();
                }
            }
        }
    }

    /// Tries twice as many, if so many are allowed.
    fn raise(&mut self) {
        if self.level < self.most {
            self.before = Some((self.level, self.seen.rate(self.level)));
            self.change(self.most.min(2 * self.level));
        }
    }

    fn change(&mut self, level: usize) {
        self.level = level;
        self.era += 1;
        self.seen = Seen::default();
    }
}

impl Seen {
    fn add(&mut self, took: Duration) {
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(took);
    }

    /// How long most take at most: what a busy machine or a fresh connection adds to some of them does not count.
    fn median(&self) -> Duration {
        let mut sorted: Vec<Duration> = self.0.iter().copied().collect();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    }

    /// Pages in a second, by so many requests at once.
    fn rate(&self, level: usize) -> f64 {
        level as f64 / self.median().max(Duration::from_nanos(1)).as_secs_f64()
    }
}

/// Whether `level` requests at once, of which `seen` was seen, are worth it beside a level that brought so many pages in a second.
fn judge(before: (usize, f64), level: usize, seen: &Seen) -> Verdict {
    let most_gain = level as f64 / before.0 as f64 - 1.0;
    let gain = seen.rate(level) / before.1.max(f64::MIN_POSITIVE) - 1.0;
    let pages = seen.0.len();
    if pages >= level && gain >= CLEARLY_WORTH * most_gain {
        Verdict::Pays
    } else if pages < ROUNDS * level {
        Verdict::Undecided
    } else if gain >= WORTH * most_gain {
        Verdict::Pays
    } else {
        Verdict::DoesNotPay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// As many pages as there were, each after so many milliseconds as `took` says for its level; the levels that were passed.
    fn levels(pace: &mut Pace, pages: usize, took: impl Fn(usize) -> u32) -> Vec<usize> {
        let mut levels = vec![pace.level()];
        for _ in 0..pages {
            pace.answered(Some(pace.era()), pace.level(), MS * took(pace.level()));
            if levels.last() != Some(&pace.level()) {
                levels.push(pace.level());
            }
        }
        levels
    }

    /// One that has seen what one request at a time brings, a page every fifth of a second, and now tries two.
    fn trying_two() -> Pace {
        let mut pace = Pace::new(4);
        assert_eq!(levels(&mut pace, SETTLED, |_| 200), [1, 2]);
        pace
    }

    #[test]
    fn where_answers_take_a_round_trip_all_are_asked_for_at_once_after_a_few() {
        let mut pace = Pace::new(16);
        assert_eq!(levels(&mut pace, 13 + 2 + 4 + 8, |_| 80), [1, 2, 4, 8, 16]);
        assert_eq!(levels(&mut pace, 5_000, |_| 80), [16], "and it stays so");
    }

    #[test]
    fn what_is_read_soon_is_not_worth_a_trial() {
        assert_eq!(levels(&mut Pace::new(16), 19, |_| 50), [1]);
        assert_eq!(levels(&mut Pace::new(16), 20, |_| 50), [1, 2]);
        assert_eq!(levels(&mut Pace::new(16), 399, |_| 25), [1], "the store is near");
        assert_eq!(levels(&mut Pace::new(16), 400, |_| 25), [1, 2]);
    }

    #[test]
    fn a_store_that_shares_out_what_it_has_is_asked_once_at_a_time_and_seldom_tried_again() {
        let mut pace = Pace::new(8);
        let shared = |level: usize| 200 * u32::try_from(level).expect("few");
        assert_eq!(levels(&mut pace, 8 + 6, shared), [1, 2, 1]);
        assert_eq!(levels(&mut pace, 15 * 14, shared), [1, 2]);
        assert_eq!(levels(&mut pace, 6, shared), [2, 1]);
        assert_eq!(levels(&mut pace, 15 * 230 - 1, shared), [1]);
        assert_eq!(levels(&mut pace, 1, shared), [1, 2]);
    }

    #[test]
    fn as_many_are_kept_as_brought_most() {
        // Four processors: more than four requests at once only wait for each other.
        let four = |level: usize| 200 * u32::try_from(level.div_ceil(4)).expect("few");
        assert_eq!(levels(&mut Pace::new(32), 100, four), [1, 2, 4, 8, 4]);
    }

    #[test]
    fn some_that_had_to_wait_for_something_else_are_outweighed() {
        let mut pace = trying_two();
        for (took, level) in [(200, 2), (900, 2), (900, 2), (200, 2), (200, 4)] {
            pace.answered(Some(pace.era()), 2, took * MS);
            assert_eq!(pace.level(), level);
        }
    }

    #[test]
    fn what_was_asked_for_before_or_without_company_tells_nothing() {
        let mut pace = trying_two();
        for _ in 0..20 {
            pace.answered(Some(pace.era() - 1), 2, 200 * MS);
            pace.answered(Some(pace.era()), 1, 200 * MS);
            pace.answered(None, 2, 200 * MS);
        }
        assert_eq!(pace.level(), 2, "it is on trial still");
        assert_eq!(levels(&mut pace, 2, |_| 200), [2, 4]);
    }

    #[test]
    fn a_trial_is_judged_by_what_it_brings_of_what_it_could() {
        let seen = |pages, took| Seen(std::iter::repeat_n(MS * took, pages).collect());
        for (before, level, pages, took, want) in [
            // Twice the requests at 1.8 or 1.7 times the rate after a round; at 1.2 or 1.3 after three.
            ((1, 10.0), 2, 2, 111, Verdict::Pays),
            ((1, 10.0), 2, 2, 118, Verdict::Undecided),
            ((1, 10.0), 2, 1, 100, Verdict::Undecided),
            ((1, 10.0), 2, 6, 167, Verdict::DoesNotPay),
            ((1, 10.0), 2, 6, 153, Verdict::Pays),
            // Half as many more can bring half as much more: an eighth is a quarter of that.
            ((4, 40.0), 6, 18, 135, Verdict::DoesNotPay),
            ((4, 40.0), 6, 18, 132, Verdict::Pays),
            // Less than before; and where everything took no time.
            ((1, 10.0), 2, 6, 300, Verdict::DoesNotPay),
            ((1, 1e9), 2, 2, 0, Verdict::Pays),
        ] {
            assert_eq!(judge(before, level, &seen(pages, took)), want, "{before:?} {level} {pages} {took}");
        }
    }

    #[test]
    fn one_at_a_time_stays_one() {
        for most in [0, 1] {
            assert_eq!(levels(&mut Pace::new(most), 100, |_| 80), [1]);
        }
    }
}
