//! The rule: from what is measured and the number of slots to the next number, and why. Without a clock: who asks says what
//! time it is.

use std::time::{Duration, Instant};

use super::saturation::{Finding, Saturation};
use super::{Bounds, Terms};

/// Slots are to be this busy: above it, waiting grows out of proportion.
const BUSY: f64 = 0.9;
/// Fewer slots must have been enough for so many decisions in a row before there are fewer.
const SPARE: u32 = 6;

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
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    pub(super) slots: usize,
    /// Since when fewer would have been enough.
    spare: Option<Instant>,
    pub(super) saturation: Saturation,
}

impl State {
    pub(super) fn new(slots: usize, now: Instant) -> Self {
        Self { slots, spare: None, saturation: Saturation::new(now) }
    }

    /// Nothing is started for now.
    pub(super) fn held(self) -> (Self, Why) {
        (Self { spare: None, ..self }, Why::Held)
    }

    /// What is to be from now on; `every` is the time between two decisions.
    pub(super) fn decide(mut self, terms: &Terms, bounds: Bounds, every: Duration, now: Instant) -> (Self, Why) {
        if terms.processing.is_none() {
            return (Self { spare: None, ..self }, Why::Unmeasured);
        }
        if let Finding::Saturated(ceiling) = self.saturation.find(self.slots, now)
            && ceiling.max(bounds.least()) < self.slots
        {
            return (self.to(ceiling.max(bounds.least()), now), Why::Saturated);
        }
        let (wanted, why) = wanted(self.slots, terms);
        if wanted > self.slots {
            self.spare = None;
            let ceiling = self.saturation.most(self.slots);
            let next = wanted.min(bounds.most()).min(ceiling);
            return match next > self.slots {
                true => (self.to(next, now), why),
                false if ceiling < bounds.most() => (self, Why::Ceiling),
                false => (self, Why::Maximum),
            };
        }
        let fewer = self.slots.saturating_sub(1);
        let is_spare = fewer >= bounds.least() && terms.load.max(terms.drain) <= BUSY * fewer as f64;
        if !is_spare {
            self.spare = None;
            return (self, Why::Enough);
        }
        let since = *self.spare.get_or_insert(now);
        if now.saturating_duration_since(since) < every * SPARE {
            return (self, Why::Enough);
        }
        (self.to(fewer, now), Why::Spare)
    }

    fn to(mut self, slots: usize, now: Instant) -> Self {
        self.saturation.changed(slots > self.slots, now);
        Self { slots, spare: None, ..self }
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
