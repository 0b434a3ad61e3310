//! Whether more slots get more done. Where the machine, or whatever all attempts share, is saturated, each takes longer in
//! proportion and nothing is gained.
//!
//! So each raise is a trial: the attempts before it, at so many at a time, are held against those begun after it. By
//! Little's law n at a time that take S each are n/S in a second, which says both whether it was of use and where the
//! knee is. Verdicts wait for evidence: durations vary, and the more they do, the more of them it takes. When attempts
//! become slow for another reason just then, the trial is deceived; that shows once they stay as slow with fewer at a
//! time, and what was learned is forgotten.

use std::time::{Duration, Instant};

/// Attempts that a verdict needs, at least.
const FEW: f64 = 8.0;
/// After so many it is clear that a raise was of use, if it looks so.
const MANY: f64 = 32.0;
/// Of so many attempts no more is learned; later ones replace earlier ones.
const REMEMBERED: f64 = 64.0;
/// Two levels less apart than this say nothing about one another.
const APART: f64 = 1.25;
/// Slots of which less than this part comes out as throughput are wasted.
const WORTH: f64 = 0.5;
/// By so many standard errors attempts must be slower for that to be no accident.
const SURE: f64 = 3.0;
/// How long a trial may remain unclear.
const TRIAL: Duration = Duration::from_secs(1_800);
/// How long the ceiling holds at first; each time that a trial confirms it, twice as long as the time before.
const FIRST_HOLD: Duration = Duration::from_secs(600);
/// The ceiling is tried again at least this often.
const LONGEST_HOLD: Duration = Duration::from_secs(4 * 3_600);

/// The attempts of one level of parallelism.
#[derive(Clone, Copy, Debug)]
pub(super) struct Level {
    /// Only those that began since then are of it.
    since: Instant,
    count: f64,
    /// How many ran at a time.
    at_once: f64,
    mean: f64,
    variance: f64,
}

impl Level {
    fn new(since: Instant) -> Self {
        Self { since, count: 0.0, at_once: 0.0, mean: 0.0, variance: 0.0 }
    }

    fn ended(&mut self, took: Duration, at_once: usize, now: Instant) {
        if now.checked_sub(took).is_none_or(|began| began < self.since) {
            return;
        }
        self.count = (self.count + 1.0).min(REMEMBERED);
        let (weight, off) = (1.0 / self.count, took.as_secs_f64() - self.mean);
        self.mean += weight * off;
        self.variance = (1.0 - weight) * (self.variance + weight * off * off);
        self.at_once += weight * (at_once as f64 - self.at_once);
    }
}

/// What the attempts of two levels say of the higher one.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Verdict {
    Unclear,
    Useful,
    Wasted,
}

fn compare(low: &Level, high: &Level) -> Verdict {
    let round = high.at_once.max(FEW);
    if low.count < 1.0 || high.count < round || high.at_once < low.at_once * APART {
        return Verdict::Unclear;
    }
    let slower = high.mean / low.mean.max(1e-6);
    if use_of(low, high) >= WORTH {
        let clear = slower.ln() + error(low, high) <= 0.0 || high.count >= round.max(MANY);
        return if clear { Verdict::Useful } else { Verdict::Unclear };
    }
    if slower.ln() > SURE * error(low, high) { Verdict::Wasted } else { Verdict::Unclear }
}

/// Which part of the slots that the higher level has more came out as throughput.
fn use_of(low: &Level, high: &Level) -> f64 {
    let more = high.at_once / low.at_once.max(1.0);
    let slower = high.mean / low.mean.max(1e-6);
    (more / slower - 1.0) / (more - 1.0)
}

/// The standard error of the logarithm of how much slower the one is.
fn error(low: &Level, high: &Level) -> f64 {
    let relative = |level: &Level| level.variance / (level.mean * level.mean).max(1e-12);
    let weight = low.count + high.count;
    let relative = (relative(low) * low.count + relative(high) * high.count) / weight;
    (relative * (1.0 / low.count + 1.0 / high.count)).sqrt()
}

/// What is known of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Saturation {
    level: Level,
    /// What a raise is held against, and when that began.
    trial: Option<(Level, Instant)>,
    ceiling: Option<Ceiling>,
    /// How long the next ceiling holds, where there was one before and nothing has shown since that it is gone.
    again: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
struct Ceiling {
    slots: usize,
    until: Instant,
    above: Level,
}

/// What was found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// More than so many at a time are of no use.
    Saturated(usize),
    /// Nothing to act on.
    Nothing,
}

impl Saturation {
    pub(super) fn new(now: Instant) -> Self {
        Self { level: Level::new(now), trial: None, ceiling: None, again: None }
    }

    pub(super) fn ended(&mut self, took: Duration, at_once: usize, now: Instant) {
        self.level.ended(took, at_once, now);
    }

    /// What the attempts until now say about `slots` at a time.
    pub(super) fn find(&mut self, slots: usize, now: Instant) -> Finding {
        if let Some(ceiling) = &self.ceiling {
            let innocent = self.level.count >= FEW
                && ceiling.above.at_once >= self.level.at_once * APART
                && use_of(&self.level, &ceiling.above) >= WORTH
                && (ceiling.above.mean / self.level.mean.max(1e-6)).ln() <= error(&self.level, &ceiling.above);
            if innocent {
                (self.ceiling, self.again) = (None, None);
            } else if now >= ceiling.until {
                self.ceiling = None;
            }
            return Finding::Nothing;
        }
        let Some((low, began)) = self.trial else { return Finding::Nothing };
        match compare(&low, &self.level) {
            Verdict::Wasted => {
                let knee = (self.level.at_once * low.mean / self.level.mean).round() as usize;
                let least = (low.at_once.round() as usize).max(1);
                let ceiling = knee.max(least).min(slots.saturating_sub(1)).max(1);
                let hold = self.again.map_or(FIRST_HOLD, |last| (last * 2).min(LONGEST_HOLD));
                self.ceiling = Some(Ceiling { slots: ceiling, until: now + hold, above: self.level });
                (self.trial, self.again) = (None, Some(hold));
                Finding::Saturated(ceiling)
            }
            Verdict::Useful => {
                (self.trial, self.again) = (None, None);
                Finding::Nothing
            }
            Verdict::Unclear => {
                if now.saturating_duration_since(began) >= TRIAL {
                    self.trial = None;
                }
                Finding::Nothing
            }
        }
    }

    /// How far `slots` may be raised: after saturation with care, one trial at a time.
    pub(super) fn most(&self, slots: usize) -> usize {
        match (&self.ceiling, self.again, &self.trial) {
            (Some(ceiling), ..) => ceiling.slots.max(slots),
            (None, Some(_), Some(_)) => slots,
            (None, Some(_), None) => slots + (slots / 2).max(1),
            (None, None, _) => usize::MAX,
        }
    }

    /// Until when the ceiling holds.
    pub(super) fn until(&self) -> Option<Instant> {
        self.ceiling.as_ref().map(|ceiling| ceiling.until)
    }

    /// From now on it is another number of slots, more or less than before.
    pub(super) fn changed(&mut self, raised: bool, now: Instant) {
        let before = std::mem::replace(&mut self.level, Level::new(now));
        if !raised {
            self.trial = None;
        } else if self.trial.is_none() && before.count >= 1.0 {
            self.trial = Some((before, now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attempts one after the other at a level, each as long as `took` says.
    fn attempts(saturation: &mut Saturation, at_once: usize, count: u64, took: impl Fn(u64) -> f64, now: &mut Instant) {
        for n in 0..count {
            let took = Duration::from_secs_f64(took(n));
            *now += took;
            saturation.ended(took, at_once, *now);
        }
    }

    fn raised(low: usize, high: usize, took: impl Fn(u64) -> f64 + Copy, slower: f64) -> (Saturation, Instant) {
        let mut now = Instant::now();
        let mut saturation = Saturation::new(now);
        attempts(&mut saturation, low, 64, took, &mut now);
        saturation.changed(true, now);
        attempts(&mut saturation, high, 64, |n| took(n) * slower, &mut now);
        (saturation, now)
    }

    /// Exponential, by quantiles.
    fn varied(n: u64) -> f64 {
        -(1.0 - ((n * 29 % 64) as f64 + 0.5) / 64.0).ln()
    }

    #[test]
    fn a_raise_that_makes_attempts_slower_in_proportion_is_taken_back_to_the_knee() {
        for took in [|_| 1.0, varied] {
            let (mut saturation, now) = raised(4, 16, took, 2.0);
            assert_eq!(saturation.find(16, now), Finding::Saturated(8));
            assert_eq!(saturation.most(8), 8);
            let (mut saturation, now) = raised(8, 16, took, 2.0);
            assert_eq!(saturation.find(16, now), Finding::Saturated(8));
        }
    }

    #[test]
    fn a_raise_that_was_of_use_is_let_be() {
        for slower in [0.8, 1.0, 1.1, 1.2] {
            for took in [|_| 1.0, varied] {
                let (mut saturation, now) = raised(4, 8, took, slower);
                assert_eq!(saturation.find(8, now), Finding::Nothing, "{slower}");
                assert_eq!(saturation.most(8), usize::MAX);
            }
        }
    }

    #[test]
    fn a_few_attempts_that_vary_prove_nothing() {
        let mut now = Instant::now();
        let mut saturation = Saturation::new(now);
        attempts(&mut saturation, 1, 3, |n| [0.2, 1.0, 0.4][n as usize], &mut now);
        saturation.changed(true, now);
        attempts(&mut saturation, 2, 8, |n| [0.3, 3.0, 0.5, 1.0, 2.5, 0.1, 1.7, 0.9][n as usize], &mut now);
        assert_eq!(saturation.find(2, now), Finding::Nothing);
    }

    #[test]
    fn what_began_before_the_raise_says_nothing_about_it() {
        let mut now = Instant::now();
        let mut saturation = Saturation::new(now);
        attempts(&mut saturation, 4, 64, |_| 1.0, &mut now);
        saturation.changed(true, now);
        for _ in 0..64 {
            saturation.ended(Duration::from_secs(100), 8, now + Duration::from_secs(99));
        }
        assert_eq!(saturation.find(8, now), Finding::Nothing);
    }

    #[test]
    fn the_ceiling_is_tried_again_after_longer_and_longer_holds_that_have_a_bound() {
        let (mut saturation, mut now) = raised(4, 16, |_| 1.0, 2.0);
        assert_eq!(saturation.find(16, now), Finding::Saturated(8));
        let mut holds = vec![];
        for _ in 0..7 {
            saturation.changed(false, now);
            attempts(&mut saturation, 8, 64, |_| 1.0, &mut now);
            let until = saturation.until().expect("holds");
            holds.push(until.saturating_duration_since(now).as_secs() / 500);
            assert_eq!((saturation.find(8, now), saturation.most(8)), (Finding::Nothing, 8));
            now = until;
            assert_eq!((saturation.find(8, now), saturation.most(8)), (Finding::Nothing, 12));
            saturation.changed(true, now);
            assert_eq!(saturation.most(12), 12, "one trial at a time");
            attempts(&mut saturation, 12, 64, |_| 1.5, &mut now);
            assert_eq!(saturation.find(12, now), Finding::Saturated(8));
        }
        assert_eq!(holds, [1, 2, 4, 9, 19, 28, 28]);
    }

    #[test]
    fn attempts_that_stay_slow_with_fewer_of_them_were_slow_for_another_reason() {
        let (mut saturation, mut now) = raised(4, 16, |_| 1.0, 10.0);
        assert_eq!(saturation.find(16, now), Finding::Saturated(4));
        saturation.changed(false, now);
        attempts(&mut saturation, 4, 8, |_| 10.0, &mut now);
        assert_eq!(saturation.find(4, now), Finding::Nothing);
        assert_eq!((saturation.most(4), saturation.until()), (usize::MAX, None));
    }
}
