//! How many attempts at a time: as many as the load needs, after Burns, *Designing Distributed Systems*, ch. 10.
//!
//! With A the mean time between arrivals and S the mean time of an attempt, S ÷ A slots are busy on average. There are more
//! as soon as that is all of them: so many that they are busy for nine tenths. There is one fewer when, for a while, the
//! rest would not have been busier than that. And there are never fewer than it takes to do what waits within the drain
//! target, so that a bucket that just lies there is worked through in the time asked for, although nothing arrives. Where
//! more slots turn out to get no more done, they are taken back and held for a while.
//!
//! A number that shrinks ends no attempt: fewer are started. Nothing here has a clock or does I/O; the loop around it says
//! what it sees and asks every [`Policy::adjust_every`].

use std::time::{Duration, Instant};

mod arrivals;
mod bounds;
mod drain;
mod rule;
mod saturation;
mod service;

pub use bounds::Bounds;
pub use rule::Why;

use arrivals::Arrivals;
use drain::Drain;
use rule::State;
use service::Service;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The fewest and the most attempts at a time.
    pub bounds: Bounds,
    /// Within what time of its coming an item is to be done.
    pub drain_target: Duration,
    /// How far back arrivals are looked at: one that is so old weighs a third.
    pub arrival_window: Duration,
    /// From one decision to the next.
    pub adjust_every: Duration,
}

impl Policy {
    /// Within these bounds, and otherwise as the flags' defaults have it.
    pub fn within(bounds: Bounds) -> Self {
        Self {
            bounds,
            drain_target: Duration::from_secs(3_600),
            arrival_window: Duration::from_secs(3_600),
            adjust_every: Duration::from_secs(10),
        }
    }
}

/// What is seen when a decision is due.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    /// What time it is.
    pub now: Instant,
    /// Items to be done or being attempted, also those behind a queue's window.
    pub backlog: u64,
    /// For how long each attempt under way has been.
    pub ages: &'a [Duration],
    /// Whether the source is seen, so that what came since the last time is known.
    pub watched: bool,
    /// Whether nothing is started for a reason that has nothing to do with the load.
    pub held: bool,
}

/// An attempt that ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// How long it had its slot.
    pub took: Duration,
    /// How many ran at its end, itself included.
    pub at_once: usize,
    /// Whether its item is to be attempted again.
    pub again: bool,
}

/// What a decision rests on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Terms {
    /// A: the mean time between arrivals, retries counted; `None` as long as nothing has arrived.
    pub interarrival: Option<Duration>,
    /// S: the mean time of an attempt, running ones counted; `None` while it is not known.
    pub processing: Option<Duration>,
    /// Items to be done or being attempted.
    pub backlog: u64,
    /// S ÷ A: how many slots are busy with what arrives.
    pub load: f64,
    /// How many slots it takes to do in time what is there. The floor is this, rounded up.
    pub drain: f64,
}

impl Terms {
    /// The fewest slots by which the backlog is done in time.
    pub fn drain_floor(&self) -> usize {
        self.drain.ceil() as usize
    }

    /// Which part of so many slots is busy with what arrives; more than 1 where they are too few.
    pub fn utilization(&self, slots: usize) -> f64 {
        self.load / slots as f64
    }
}

/// What was decided, and why.
#[derive(Clone, Copy, Debug)]
pub struct Decision {
    /// Slots until now.
    pub from: usize,
    /// Slots from now on.
    pub to: usize,
    /// The reason.
    pub why: Why,
    /// What it rests on.
    pub terms: Terms,
    /// For how long more slots than now are not tried, since they were of no use.
    pub hold: Option<Duration>,
}

/// Measures the load and decides.
#[derive(Clone, Debug)]
pub struct Scaler {
    policy: Policy,
    arrivals: Arrivals,
    service: Service,
    drain: Drain,
    state: State,
    /// Items that were done or given up since the last decision.
    over: u64,
    last: Instant,
}

impl Scaler {
    /// One that begins with as few slots as allowed, unless more attempts were taken over from the manager before.
    pub fn new(policy: Policy, taken_over: usize, now: Instant) -> Self {
        let slots = taken_over.clamp(policy.bounds.least(), policy.bounds.most());
        Self {
            policy,
            arrivals: Arrivals::new(policy.arrival_window),
            service: Service::default(),
            drain: Drain::new(policy.drain_target),
            state: State::new(slots, now),
            over: 0,
            last: now,
        }
    }

    /// What is asked for.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// How many attempts at a time.
    pub fn slots(&self) -> usize {
        self.state.slots
    }

    /// So many items are new.
    pub fn arrived(&mut self, items: u64) {
        self.arrivals.arrived(items);
    }

    /// So many attempts ran until now, since this was last said: it is to be said whenever one begins or ends.
    pub fn ran(&mut self, at_once: usize, now: Instant) {
        self.state.saturation.ran(at_once, now);
    }

    /// An attempt has ended by itself.
    pub fn ended(&mut self, attempt: Ended, now: Instant) {
        let Ended { took, at_once, again } = attempt;
        self.service.ended(took, now);
        self.state.saturation.ended(took, at_once, self.state.slots, now);
        if again { self.arrivals.arrived(1) } else { self.over += 1 }
    }

    /// An item is over by an attempt that says nothing about others.
    pub fn over(&mut self) {
        self.over += 1;
    }

    /// All attempts until now failed for a reason that is not theirs: how long they took says nothing.
    pub fn forget(&mut self, now: Instant) {
        self.service = Service::default();
        self.state = State::new(self.state.slots, now);
    }

    /// Decides how many it is from now on.
    pub fn decide(&mut self, sight: &Sight<'_>) -> Decision {
        let Sight { now, backlog, ages, watched, held } = *sight;
        let passed = now.saturating_duration_since(std::mem::replace(&mut self.last, now));
        if watched {
            self.arrivals.seen(now);
        }
        if held {
            self.drain.postpone(passed);
        }
        self.drain.observe(backlog, std::mem::take(&mut self.over), now);
        let terms = self.terms(backlog, ages, now);
        let from = self.state.slots;
        let Policy { bounds, adjust_every, .. } = self.policy;
        let state = self.state.clone();
        let (state, why) =
            if held { state.held(passed, now) } else { state.decide(&terms, ages.len(), bounds, adjust_every, now) };
        let hold = state.saturation.until().map(|until| until.saturating_duration_since(now));
        self.state = state;
        Decision { from, to: self.state.slots, why, terms, hold }
    }

    fn terms(&self, backlog: u64, ages: &[Duration], now: Instant) -> Terms {
        let rate = self.arrivals.rate();
        let mean = self.service.mean(ages, now);
        let interarrival = Duration::try_from_secs_f64(1.0 / rate).ok();
        Terms {
            interarrival,
            processing: mean.and_then(|mean| Duration::try_from_secs_f64(mean).ok()),
            backlog,
            load: mean.map_or(0.0, |mean| mean * rate),
            drain: mean.map_or(0.0, |mean| self.drain.slots(mean, now)),
        }
    }
}
