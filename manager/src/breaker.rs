//! The circuit breaker: when the first attempts of a run all end alike, the fault is hardly the items'.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use contract::ItemName;

use crate::clock::Time;

/// The pause before the first probe; each that fails doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// The longest pause between probes.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// How an attempt failed, as far as it matters whether another failed the same way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Likeness {
    /// Exit code.
    pub exit: u8,
    /// The report's word.
    pub reason: String,
}

impl fmt::Display for Likeness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit {} {}", self.exit, self.reason)
    }
}

/// Watches how a run begins. Closed, then for good open or out of the way, or half-open in between.
#[derive(Clone, Debug)]
pub struct Breaker {
    threshold: usize,
    stage: Stage,
}

#[derive(Clone, Debug)]
enum Stage {
    /// Every attempt so far has failed, and alike.
    Watching { alike: Option<Likeness>, items: HashSet<ItemName> },
    /// An attempt has succeeded, or failed in a way of its own.
    Passed,
    /// So many have failed alike that nothing is started but one probe at a time.
    Open { alike: Likeness, pause: Duration, until: Time },
}

/// What an attempt's end did to the breaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// It opened.
    Opened,
    /// It was open and has closed.
    Closed,
}

impl Breaker {
    /// One that opens when the attempts of the first `threshold` items all fail alike; 0: never.
    pub fn new(threshold: usize) -> Self {
        let stage = match threshold {
            0 => Stage::Passed,
            _ => Stage::Watching { alike: None, items: HashSet::new() },
        };
        Self { threshold, stage }
    }

    /// How all failed, while it is open.
    pub fn open(&self) -> Option<&Likeness> {
        match &self.stage {
            Stage::Open { alike, .. } => Some(alike),
            Stage::Watching { .. } | Stage::Passed => None,
        }
    }

    /// Whether it is out of the way for good: an attempt has succeeded, or failed in a way of its own.
    pub fn has_passed(&self) -> bool {
        matches!(self.stage, Stage::Passed)
    }

    /// How many of `free` slots may be used while `running` attempts are under way.
    pub fn slots(&self, free: usize, running: usize, now: Time) -> usize {
        match &self.stage {
            Stage::Open { until, .. } if now < *until || running > 0 => 0,
            Stage::Open { .. } => free.min(1),
            Stage::Watching { .. } | Stage::Passed => free,
        }
    }

    /// When the next probe may be started, while it is open.
    pub fn probe_at(&self) -> Option<Time> {
        match &self.stage {
            Stage::Open { until, .. } => Some(*until),
            Stage::Watching { .. } | Stage::Passed => None,
        }
    }

    /// Whether this failure is the one everything fails with, so that it is not held against its item.
    pub fn spares(&self, failure: &Likeness) -> bool {
        self.open() == Some(failure)
    }

    /// An attempt has succeeded.
    pub fn succeeded(&mut self) -> Change {
        self.pass()
    }

    /// An attempt at `item` has failed.
    pub fn failed(&mut self, item: &ItemName, failure: Likeness, now: Time) -> Change {
        match &mut self.stage {
            Stage::Passed => Change::None,
            Stage::Watching { alike, items } => {
                if alike.get_or_insert_with(|| failure.clone()) != &failure {
                    return self.pass();
                }
                items.insert(item.clone());
                if items.len() < self.threshold {
                    return Change::None;
                }
                self.stage = Stage::Open { alike: failure, pause: FIRST_PAUSE, until: now.after(FIRST_PAUSE) };
                Change::Opened
            }
            Stage::Open { alike, .. } if *alike != failure => self.pass(),
            Stage::Open { pause, until, .. } => {
                // Those that were under way when it opened end before the pause is over and do not lengthen it.
                if now >= *until {
                    *pause = (*pause * 2).min(LONGEST_PAUSE);
                    *until = now.after(*pause);
                }
                Change::None
            }
        }
    }

    fn pass(&mut self) -> Change {
        let was_open = self.open().is_some();
        self.stage = Stage::Passed;
        if was_open { Change::Closed } else { Change::None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: usize) -> ItemName {
        format!("i{n}").parse().expect("a name")
    }

    fn exit(exit: u8) -> Likeness {
        Likeness { exit, reason: "CommandFailed".into() }
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::new(3);
        assert_eq!(breaker.failed(&name(0), exit(1), Time(0)), Change::None);
        assert_eq!(breaker.failed(&name(1), exit(1), Time(0)), Change::None);
        assert_eq!(breaker.failed(&name(2), exit(1), Time(0)), Change::Opened);
        breaker
    }

    #[test]
    fn it_opens_when_the_first_items_all_fail_alike() {
        let breaker = opened();
        assert_eq!(breaker.open(), Some(&exit(1)));
        assert_eq!(breaker.slots(8, 0, Time(9_999)), 0);
        assert!(breaker.spares(&exit(1)) && !breaker.spares(&exit(2)));
    }

    #[test]
    fn one_item_that_fails_again_and_again_does_not_open_it() {
        let mut breaker = Breaker::new(3);
        for _ in 0..10 {
            assert_eq!(breaker.failed(&name(0), exit(1), Time(0)), Change::None);
        }
        assert_eq!(breaker.slots(8, 0, Time(0)), 8);
    }

    #[test]
    fn a_success_or_another_failure_takes_it_out_of_the_way() {
        for act in [|b: &mut Breaker| b.succeeded(), |b: &mut Breaker| b.failed(&name(1), exit(2), Time(0))] {
            let mut breaker = Breaker::new(3);
            breaker.failed(&name(0), exit(1), Time(0));
            act(&mut breaker);
            for n in 0..10 {
                assert_eq!(breaker.failed(&name(n), exit(1), Time(0)), Change::None);
            }
        }
        assert_eq!(Breaker::new(0).failed(&name(0), exit(1), Time(0)), Change::None);
    }

    #[test]
    fn one_probe_at_a_time_after_a_growing_pause() {
        let mut breaker = opened();
        breaker.failed(&name(3), exit(1), Time(5_000));
        assert_eq!(breaker.probe_at(), Some(Time(10_000)), "what was under way does not count as a probe");
        assert_eq!(breaker.slots(8, 0, Time(10_000)), 1);
        assert_eq!(breaker.slots(8, 1, Time(10_000)), 0);
        breaker.failed(&name(4), exit(1), Time(11_000));
        assert_eq!(breaker.probe_at(), Some(Time(31_000)));
        for _ in 0..10 {
            breaker.failed(&name(4), exit(1), breaker.probe_at().expect("is open"));
        }
        let pause = breaker.probe_at().expect("is open");
        breaker.failed(&name(4), exit(1), pause);
        assert_eq!(breaker.probe_at(), Some(pause.after(LONGEST_PAUSE)));
        assert_eq!(breaker.succeeded(), Change::Closed);
        assert_eq!(breaker.slots(8, 3, Time(0)), 8);
    }
}
