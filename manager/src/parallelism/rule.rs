//! The rule: from what is measured and the number of slots to the next number, and why. Without a clock: who asks says what
//! time it is.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::saturation::{Finding, Saturation};
use super::{Bounds, Terms};

/// Slots are to be this busy: above it, waiting grows out of proportion.
const BUSY: f64 = 0.9;
/// There are fewer slots only when fewer would have been enough at each of so many decisions: what varies from one to the
/// next is no reason.
const LOOK_BACK: u32 = 30;
/// From one slot fewer to the next, in decisions.
const PACE: u32 = 6;

/// Why there are as many slots as there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// Work comes in faster than fewer could do it.
    Arrivals,
    /// Fewer could not do what waits within the drain target.
    Backlog,
    /// Fewer have been enough for a while.
    Spare,
    /// The raise before made attempts slower in proportion.
    Saturated,
    /// They are what is needed, or what is too many has not been for long.
    Enough,
    /// More are wanted, and were of no use when last tried.
    Ceiling,
    /// More are wanted than are allowed.
    Maximum,
    /// Nothing is started for a reason that has nothing to do with the load.
    Held,
    /// How long attempts take is not known yet.
    Unmeasured,
}

impl Why {
    /// All of them, those first that change the number.
    pub const ALL: [Self; 9] = [
        Self::Arrivals,
        Self::Backlog,
        Self::Spare,
        Self::Saturated,
        Self::Enough,
        Self::Ceiling,
        Self::Maximum,
        Self::Held,
        Self::Unmeasured,
    ];

    /// The word of logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Arrivals => "arrivals",
            Self::Backlog => "backlog",
            Self::Spare => "spare",
            Self::Saturated => "saturated",
            Self::Enough => "enough",
            Self::Ceiling => "ceiling",
            Self::Maximum => "maximum",
            Self::Held => "held",
            Self::Unmeasured => "unmeasured",
        }
    }
}

/// What one decision leaves to the next.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) slots: usize,
    /// Since when they are as many.
    since: Instant,
    need: Need,
    pub(super) saturation: Saturation,
}

impl State {
    pub(super) fn new(slots: usize, now: Instant) -> Self {
        Self { slots, since: now, need: Need::new(now), saturation: Saturation::new(now) }
    }

    /// Nothing was started for so long, and nothing is.
    pub(super) fn held(mut self, passed: Duration, now: Instant) -> (Self, Why) {
        self.saturation.postpone(passed);
        (Self { need: Need::new(now), ..self }, Why::Held)
    }

    /// What is to be from now on, where so many are `running`; `every` is the time between two decisions.
    pub(super) fn decide(
        mut self,
        terms: &Terms,
        running: usize,
        bounds: Bounds,
        every: Duration,
        now: Instant,
    ) -> (Self, Why) {
        if terms.processing.is_none() {
            return (Self { need: Need::new(now), ..self }, Why::Unmeasured);
        }
        // However late, an item needs no more than one slot.
        let drain = (terms.drain / BUSY).min(terms.backlog as f64);
        self.need.add(drain.max(terms.load / BUSY), now, every * LOOK_BACK);
        if let Finding::Saturated(ceiling) = self.saturation.find(self.slots, now)
            && ceiling.max(bounds.least()) < self.slots
        {
            return (self.to(ceiling.max(bounds.least()), running, now), Why::Saturated);
        }
        let (wanted, why) = wanted(self.slots, terms);
        if wanted > self.slots {
            let ceiling = self.saturation.most(self.slots);
            let next = wanted.min(bounds.most()).min(ceiling);
            return match next > self.slots {
                true => (self.to(next, running, now), why),
                false if ceiling < bounds.most() => (self, Why::Ceiling),
                false => (self, Why::Maximum),
            };
        }
        let fewer = self.slots.saturating_sub(1);
        let is_settled = now.saturating_duration_since(self.since) >= every * PACE;
        let was_spare = self.need.most(now, every * LOOK_BACK).is_some_and(|need| need <= fewer as f64);
        if fewer < bounds.least() || !is_settled || !was_spare {
            return (self, Why::Enough);
        }
        (self.to(fewer, running, now), Why::Spare)
    }

    fn to(mut self, slots: usize, running: usize, now: Instant) -> Self {
        self.saturation.changed(slots > self.slots, running, now);
        Self { slots, since: now, ..self }
    }
}

/// How many slots were needed, and busy for nine tenths then, over a while.
#[derive(Clone, Debug)]
struct Need {
    since: Instant,
    /// The most since each moment, so that they fall.
    most: VecDeque<(Instant, f64)>,
}

impl Need {
    fn new(now: Instant) -> Self {
        Self { since: now, most: VecDeque::new() }
    }

    fn add(&mut self, need: f64, now: Instant, window: Duration) {
        while self.most.pop_back_if(|(_, earlier)| *earlier <= need).is_some() {}
        self.most.push_back((now, need));
        while self.most.pop_front_if(|(at, _)| now.saturating_duration_since(*at) > window).is_some() {}
    }

    /// The most over the window; `None` as long as it is not known for all of it.
    fn most(&self, now: Instant, window: Duration) -> Option<f64> {
        let (_, most) = self.most.front().filter(|_| now.saturating_duration_since(self.since) >= window)?;
        Some(*most)
    }
}

/// How many it should be at least: `slots`, unless they are too few.
fn wanted(slots: usize, terms: &Terms) -> (usize, Why) {
    // A float turned into an integer saturates.
    let arrivals = if terms.load >= slots as f64 { (terms.load / BUSY).ceil() as usize } else { 0 };
    let backlog = terms.drain.ceil() as usize;
    let why = if backlog > arrivals { Why::Backlog } else { Why::Arrivals };
    (arrivals.max(backlog).max(slots), why)
}
