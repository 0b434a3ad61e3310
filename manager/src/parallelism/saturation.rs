//! Whether more slots get more done. Where the machine, or whatever all attempts share, is saturated, each takes longer in
//! proportion and nothing is gained.
//!
//! So each raise is a trial: what was got done before it, at so many at a time, is held against what is after it. By
//! Little's law n at a time that take S each are n/S in a second, which says both whether it was of use and where the
//! knee is. Verdicts wait for evidence: durations vary, and the more they do, the more of them it takes. When attempts
//! become slow for another reason just then, the trial is deceived; that shows once they stay as slow with fewer at a
//! time, and what was learned is forgotten.

use std::time::{Duration, Instant};

/// Attempts that a verdict needs, at least.
const FEW: f64 = 8.0;
/// Of so many attempts, or rounds of as many as run at a time, no more is learned; later ones replace earlier ones.
const REMEMBERED: (f64, f64) = (64.0, 6.0);
/// Two levels less apart than this say nothing about one another.
const APART: f64 = 1.25;
/// Slots of which less than this part comes out as throughput are wasted.
const WORTH: f64 = 0.5;
/// By so many standard errors things must differ for that to be no accident.
const SURE: f64 = 3.0;
/// The same for the milder verdict: whoever errs here tries a raise once more than needed.
const RATHER_SURE: f64 = 2.0;
/// How long a trial may remain unclear. Then it is ended: by what it looks like where there was a ceiling before, and with nothing
/// learned where there was none.
const TRIAL: Duration = Duration::from_secs(900);
/// How long the ceiling holds at first; each time that a trial confirms it, twice as long as the time before.
const FIRST_HOLD: Duration = Duration::from_secs(600);
/// The ceiling is tried again at least this often.
const LONGEST_HOLD: Duration = Duration::from_secs(4 * 3_600);

/// What was got done at one level of parallelism. Whoever ended early in it began before, and whoever runs on is not counted;
/// so durations are not averaged, but slots and ends counted over the same time. Time in which nothing ran is none of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Level {
    last: Instant,
    /// Attempts that ended.
    count: f64,
    seconds: f64,
    /// Slot-seconds.
    busy: f64,
    /// Of durations, to know how much they vary.
    mean: f64,
    variance: f64,
}

impl Level {
    fn new(since: Instant) -> Self {
        Self { last: since, count: 0.0, seconds: 0.0, busy: 0.0, mean: 0.0, variance: 0.0 }
    }

    fn ran(&mut self, at_once: usize, now: Instant) {
        let passed = now.saturating_duration_since(std::mem::replace(&mut self.last, now)).as_secs_f64();
        if at_once > 0 {
            self.seconds += passed;
            self.busy += passed * at_once as f64;
        }
    }

    fn ended(&mut self, took: Duration, at_once: usize, now: Instant) {
        let remembered = REMEMBERED.0.max(REMEMBERED.1 * self.at_once());
        let kept = if self.count < remembered { 1.0 } else { 1.0 - 1.0 / remembered };
        self.count = self.count * kept + 1.0;
        self.seconds *= kept;
        self.busy *= kept;
        self.ran(at_once, now);
        let (weight, off) = (1.0 / self.count, took.as_secs_f64() - self.mean);
        self.mean += weight * off;
        self.variance = (1.0 - weight) * (self.variance + weight * off * off);
    }

    /// How many ran at a time.
    fn at_once(&self) -> f64 {
        self.busy / self.seconds.max(1e-9)
    }

    /// Slot-seconds for each that ended.
    fn each(&self) -> f64 {
        self.busy.max(1e-9) / self.count.max(1.0)
    }
}

/// What the attempts of two levels say of the higher one.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Verdict {
    Unclear,
    Useful,
    Wasted,
}

/// `sure`: by how many standard errors attempts must be slower for that to be no accident.
fn compare(low: &Level, high: &Level, sure: f64) -> Verdict {
    let round = high.at_once().max(FEW);
    if low.count < 1.0 || high.count < round || high.at_once() < low.at_once() * APART {
        return Verdict::Unclear;
    }
    match use_of(low, high) >= WORTH {
        true if more_done(low, high) > RATHER_SURE * error(low, high) => Verdict::Useful,
        false if slower(low, high) > sure * error(low, high) => Verdict::Wasted,
        _ => Verdict::Unclear,
    }
}

/// Which part of what the higher level has more in slots came out as throughput.
fn use_of(low: &Level, high: &Level) -> f64 {
    (more_done(low, high).exp() - 1.0) / (high.at_once() / low.at_once() - 1.0)
}

/// The logarithm of how much more gets done at the higher level.
fn more_done(low: &Level, high: &Level) -> f64 {
    (high.at_once() / low.at_once()).ln() - slower(low, high)
}

/// The logarithm of how much slower attempts are at the higher level.
fn slower(low: &Level, high: &Level) -> f64 {
    (high.each() / low.each()).ln()
}

/// The standard error of [`slower`]: durations vary, and of those that are alike a whole round may end just before a level is
/// looked at, or just after.
fn error(low: &Level, high: &Level) -> f64 {
    let relative = |level: &Level| level.variance / (level.mean * level.mean).max(1e-12);
    let relative = (relative(low) * low.count + relative(high) * high.count) / (low.count + high.count);
    let round = |level: &Level| 0.5 * level.at_once() / level.count;
    let squared = |level: &Level| relative / level.count + round(level) * round(level);
    (squared(low) + squared(high)).sqrt()
}

/// What is known of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Saturation {
    level: Level,
    /// What a raise is held against, and when that began.
    trial: Option<(Level, Instant)>,
    ceiling: Option<Ceiling>,
    /// For how long the last ceiling was to hold, and how many ran above it, as long as nothing has shown that so many are
    /// of use now.
    before: Option<(Duration, f64)>,
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
        Self { level: Level::new(now), trial: None, ceiling: None, before: None }
    }

    /// So many ran until now, since something last began or ended.
    pub(super) fn ran(&mut self, at_once: usize, now: Instant) {
        self.level.ran(at_once, now);
    }

    /// Nothing could be tried for so long.
    pub(super) fn postpone(&mut self, by: Duration) {
        if let Some((_, began)) = &mut self.trial {
            *began += by;
        }
    }

    /// An attempt ended, one of `at_once`. A level of so many `slots` is not reached while more than these run still.
    pub(super) fn ended(&mut self, took: Duration, at_once: usize, slots: usize, now: Instant) {
        if at_once > slots {
            self.level = Level::new(now);
        } else {
            self.level.ended(took, at_once, now);
        }
    }

    /// What the attempts until now say about `slots` at a time.
    pub(super) fn find(&mut self, slots: usize, now: Instant) -> Finding {
        if let Some(ceiling) = &self.ceiling {
            let innocent = self.level.count >= FEW && compare(&self.level, &ceiling.above, SURE) == Verdict::Useful;
            if innocent {
                (self.ceiling, self.before) = (None, None);
            } else if now >= ceiling.until {
                self.ceiling = None;
            }
            return Finding::Nothing;
        }
        let Some((low, began)) = self.trial else { return Finding::Nothing };
        let over = now.saturating_duration_since(began) >= TRIAL;
        let sure = if over && self.before.is_some() { 0.0 } else { SURE };
        match compare(&low, &self.level, sure) {
            Verdict::Wasted => {
                let knee = (self.level.at_once() * low.each() / self.level.each()).round() as usize;
                let least = (low.at_once().round() as usize).max(1);
                let ceiling = knee.max(least).min(slots.saturating_sub(1)).max(1);
                let hold = self.before.map_or(FIRST_HOLD, |(last, _)| (last * 2).min(LONGEST_HOLD));
                self.ceiling = Some(Ceiling { slots: ceiling, until: now + hold, above: self.level });
                (self.trial, self.before) = (None, Some((hold, self.level.at_once())));
                Finding::Saturated(ceiling)
            }
            Verdict::Useful => {
                self.trial = None;
                self.before = self.before.filter(|(_, above)| self.level.at_once() < *above);
                Finding::Nothing
            }
            Verdict::Unclear => {
                if over {
                    self.trial = None;
                }
                Finding::Nothing
            }
        }
    }

    /// How far `slots` may be raised: after saturation with care, one trial at a time.
    pub(super) fn most(&self, slots: usize) -> usize {
        match (&self.ceiling, self.before, &self.trial) {
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

    /// From now on it is another number of slots, more or less than before, when so many ran.
    pub(super) fn changed(&mut self, raised: bool, at_once: usize, now: Instant) {
        if self.level.count < FEW {
            // It has lasted until now: a few that ended soon after it began were not all there was.
            self.ran(at_once, now);
        }
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

    /// Attempts on all slots of a level, each as long as `took` says.
    fn attempts(saturation: &mut Saturation, at_once: usize, count: u64, took: impl Fn(u64) -> f64, now: &mut Instant) {
        for n in 0..count {
            let took = Duration::from_secs_f64(took(n));
            *now += took / u32::try_from(at_once).expect("is small");
            saturation.ended(took, at_once, at_once, *now);
        }
    }

    fn raised(low: usize, high: usize, took: impl Fn(u64) -> f64 + Copy, slower: f64) -> (Saturation, Instant) {
        let mut now = Instant::now();
        let mut saturation = Saturation::new(now);
        attempts(&mut saturation, low, 64, took, &mut now);
        saturation.changed(true, low, now);
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
        saturation.changed(true, 1, now);
        attempts(&mut saturation, 2, 8, |n| [0.3, 3.0, 0.5, 1.0, 2.5, 0.1, 1.7, 0.9][n as usize], &mut now);
        assert_eq!(saturation.find(2, now), Finding::Nothing);
    }

    #[test]
    fn the_ceiling_is_tried_again_after_longer_and_longer_holds_that_have_a_bound() {
        let (mut saturation, mut now) = raised(4, 16, |_| 1.0, 2.0);
        assert_eq!(saturation.find(16, now), Finding::Saturated(8));
        let mut holds = vec![];
        for _ in 0..7 {
            saturation.changed(false, 16, now);
            attempts(&mut saturation, 8, 64, |_| 1.0, &mut now);
            let until = saturation.until().expect("holds");
            holds.push(until.saturating_duration_since(now).as_secs().div_ceil(600));
            assert_eq!((saturation.find(8, now), saturation.most(8)), (Finding::Nothing, 8));
            now = until;
            assert_eq!((saturation.find(8, now), saturation.most(8)), (Finding::Nothing, 12));
            // Nothing has run since.
            saturation.changed(true, 0, now);
            assert_eq!(saturation.most(12), 12, "one trial at a time");
            attempts(&mut saturation, 12, 64, |_| 1.5, &mut now);
            assert_eq!(saturation.find(12, now), Finding::Saturated(8));
        }
        assert_eq!(holds, [1, 2, 4, 8, 16, 24, 24]);
    }

    #[test]
    fn attempts_that_stay_slow_with_fewer_of_them_were_slow_for_another_reason() {
        let (mut saturation, mut now) = raised(4, 16, |_| 1.0, 10.0);
        assert_eq!(saturation.find(16, now), Finding::Saturated(4));
        saturation.changed(false, 16, now);
        attempts(&mut saturation, 4, 8, |_| 10.0, &mut now);
        assert_eq!(saturation.find(4, now), Finding::Nothing);
        assert_eq!((saturation.most(4), saturation.until()), (usize::MAX, None));
    }
}
