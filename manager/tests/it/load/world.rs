//! A source that fills, slots, and workers that take their time: a discrete-event simulation around a [`Scaler`].

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use queue_manager::parallelism::{Decision, Ended, Policy, Scaler, Sight, Why};

pub(super) const HOUR: f64 = 3_600.0;
pub(super) const DAY: f64 = 24.0 * HOUR;
/// From one list to the next.
const POLL: f64 = 5.0;

/// What a worker does: for how long it is busy when it has a CPU for itself, and whether it fails.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work {
    pub(super) seconds: f64,
    pub(super) fails: bool,
}

/// A load.
pub(super) struct World {
    pub(super) policy: Policy,
    /// When items come, in order.
    pub(super) arrivals: Vec<f64>,
    /// What an attempt begun at a time takes.
    pub(super) work: Box<dyn FnMut(f64) -> Work>,
    /// So many attempts at a time have a CPU for themselves; more share them.
    pub(super) cpus: f64,
    /// Nothing is started, from and to.
    pub(super) paused: (f64, f64),
    /// The source does not answer, from and to.
    pub(super) down: (f64, f64),
    /// How many slots someone would have who knows the load.
    pub(super) oracle: Box<dyn Fn(f64) -> f64>,
    pub(super) end: f64,
}

impl World {
    pub(super) fn new(within: &str, end: f64, work: impl FnMut(f64) -> Work + 'static) -> Self {
        Self {
            policy: Policy::within(within.parse().expect("are bounds")),
            arrivals: vec![],
            work: Box::new(work),
            cpus: f64::INFINITY,
            paused: (0.0, 0.0),
            down: (0.0, 0.0),
            oracle: Box::new(|_| 1.0),
            end,
        }
    }

    /// Items come at random, so many in a second at a time; `most` is the most of these.
    pub(super) fn arriving(mut self, seed: u64, most: f64, rate: impl Fn(f64) -> f64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut now = 0.0;
        loop {
            now += exponential(&mut random, 1.0 / most);
            if now >= self.end {
                break;
            }
            if random.f64() < rate(now) / most {
                self.arrivals.push(now);
            }
        }
        self
    }

    pub(super) fn at_once(mut self, items: usize, at: f64) -> Self {
        self.arrivals.extend(std::iter::repeat_n(at, items));
        self.arrivals.sort_by(f64::total_cmp);
        self
    }

    pub(super) fn run(self, name: &str) -> Story {
        let story = Simulation::new(self).run();
        #[expect(clippy::print_stdout, reason = "the table of all loads, for --nocapture")]
        {
            println!("{name:<18} {story}");
        }
        story
    }
}

pub(super) fn exponential(random: &mut fastrand::Rng, mean: f64) -> f64 {
    -mean * (1.0 - random.f64()).ln()
}

/// Durations around a mean, exponential, from a seed.
pub(super) fn around(seed: u64, mean: impl Fn(f64) -> f64 + 'static) -> impl FnMut(f64) -> Work {
    let mut random = fastrand::Rng::with_seed(seed);
    move |now| Work { seconds: exponential(&mut random, mean(now)), fails: false }
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Story {
    /// When, how many slots, and what was decided then.
    pub(super) decisions: Vec<(f64, Decision)>,
    /// When an item came and when it was done.
    pub(super) done: Vec<(f64, f64)>,
    pub(super) left: usize,
    oracle: f64,
    end: f64,
}

impl Story {
    pub(super) fn changes(&self, from: f64, to: f64) -> usize {
        self.between(from, to).filter(|(_, decision)| decision.from != decision.to).count()
    }

    pub(super) fn between(&self, from: f64, to: f64) -> impl Iterator<Item = &(f64, Decision)> {
        self.decisions.iter().filter(move |(at, _)| (from..to).contains(at))
    }

    pub(super) fn slots(&self, at: f64) -> usize {
        self.between(0.0, at).last().map_or(0, |(_, decision)| decision.to)
    }

    pub(super) fn most(&self, from: f64, to: f64) -> usize {
        self.between(from, to).map(|(_, decision)| decision.to).max().expect("decisions")
    }

    pub(super) fn least(&self, from: f64, to: f64) -> usize {
        self.between(from, to).map(|(_, decision)| decision.to).min().expect("decisions")
    }

    pub(super) fn mean(&self, from: f64, to: f64) -> f64 {
        let (sum, count) = self.between(from, to).fold((0, 0), |(sum, n), (_, d)| (sum + d.to, n + 1));
        sum as f64 / f64::from(count)
    }

    /// How many slots there were for each that someone would have had who knew the load.
    pub(super) fn provision(&self) -> f64 {
        self.mean(0.0, self.end) / self.oracle
    }

    /// How long that part of the items took from their coming to their end, at most.
    pub(super) fn within(&self, part: f64) -> f64 {
        let mut took: Vec<f64> = self.done.iter().map(|(came, done)| done - came).collect();
        took.sort_by(f64::total_cmp);
        *took.get(((took.len() - 1) as f64 * part) as usize).expect("part is at most 1")
    }

    pub(super) fn last_done(&self) -> f64 {
        self.done.last().expect("some were done").1
    }

    fn reasons(&self) -> BTreeMap<&'static str, usize> {
        let mut reasons = BTreeMap::new();
        for (_, decision) in self.decisions.iter().filter(|(_, decision)| decision.from != decision.to) {
            *reasons.entry(decision.why.as_str()).or_default() += 1;
        }
        reasons
    }

    pub(super) fn count(&self, why: Why) -> usize {
        self.reasons().get(why.as_str()).copied().unwrap_or_default()
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>7} done {:>5} left | slots {:>2}..{:<2} mean {:>5.1} oracle {:>5.1} | item p50 {:>6.0}s p99 {:>6.0}s most {:>6.0}s | changes {:>3} {:?}",
            self.done.len(),
            self.left,
            self.least(0.0, self.end),
            self.most(0.0, self.end),
            self.mean(0.0, self.end),
            self.oracle,
            self.within(0.5),
            self.within(0.99),
            self.within(1.0),
            self.changes(0.0, self.end),
            self.reasons(),
        )
    }
}

#[derive(Clone, Copy, Debug)]
struct Attempt {
    came: f64,
    began: f64,
    tries: u32,
    left: f64,
    fails: bool,
}

struct Simulation {
    world: World,
    scaler: Scaler,
    origin: Instant,
    now: f64,
    /// The next that is not listed yet.
    next: usize,
    /// When each came, how often it was tried, and from when on it may be.
    waiting: VecDeque<(f64, u32)>,
    later: Vec<(f64, f64, u32)>,
    running: Vec<Attempt>,
    listed: bool,
    story: Story,
}

impl Simulation {
    fn new(world: World) -> Self {
        let origin = Instant::now();
        let scaler = Scaler::new(world.policy, 0, origin);
        let story = Story { end: world.end, ..Story::default() };
        let (waiting, later, running) = Default::default();
        Self { world, scaler, origin, now: 0.0, next: 0, waiting, later, running, listed: false, story }
    }

    fn at(&self, seconds: f64) -> Instant {
        self.origin + Duration::from_secs_f64(seconds)
    }

    fn run(mut self) -> Story {
        let every = self.world.policy.adjust_every.as_secs_f64();
        let (mut poll, mut decide) = (0.0, every);
        while self.now < self.world.end {
            if self.now >= poll {
                self.list();
                poll += POLL;
            }
            if self.now >= decide {
                self.decide();
                decide += every;
            }
            self.start();
            let rate = (self.world.cpus / self.running.len() as f64).min(1.0);
            let ends = self.running.iter().map(|attempt| attempt.left).fold(f64::INFINITY, f64::min) / rate;
            let step = (poll.min(decide) - self.now).min(ends).max(0.0);
            self.now += step;
            self.running.iter_mut().for_each(|attempt| attempt.left -= step * rate);
            self.end();
        }
        self.story.left = self.waiting.len() + self.later.len() + self.running.len();
        let hours = (self.world.end / 60.0) as usize;
        let oracle = (0..hours).map(|minute| (self.world.oracle)(minute as f64 * 60.0)).sum::<f64>();
        self.story.oracle = oracle / hours as f64;
        self.story
    }

    fn is_in(&self, (from, to): (f64, f64)) -> bool {
        (from..to).contains(&self.now)
    }

    fn list(&mut self) {
        if self.is_in(self.world.down) {
            return;
        }
        let before = self.next;
        while let Some(came) = self.world.arrivals.get(self.next).filter(|came| **came <= self.now) {
            self.waiting.push_back((*came, 0));
            self.next += 1;
        }
        self.scaler.arrived((self.next - before) as u64);
        self.listed = true;
        let now = self.now;
        self.later.retain(|(ready, came, tries)| {
            if *ready <= now {
                self.waiting.push_back((*came, *tries));
            }
            *ready > now
        });
    }

    fn held(&self) -> bool {
        self.is_in(self.world.paused) || self.is_in(self.world.down)
    }

    fn decide(&mut self) {
        let ages: Vec<_> = self.running.iter().map(|a| Duration::from_secs_f64(self.now - a.began)).collect();
        let decision = self.scaler.decide(&Sight {
            now: self.at(self.now),
            backlog: (self.waiting.len() + self.later.len() + self.running.len()) as u64,
            ages: &ages,
            watched: self.listed && !self.is_in(self.world.down),
            held: self.held(),
        });
        self.story.decisions.push((self.now, decision));
    }

    fn start(&mut self) {
        while !self.held()
            && self.running.len() < self.scaler.slots()
            && let Some((came, tries)) = self.waiting.pop_front()
        {
            let Work { seconds, fails } = (self.world.work)(self.now);
            self.scaler.ran(self.running.len(), self.at(self.now));
            self.running.push(Attempt { came, began: self.now, tries: tries + 1, left: seconds, fails });
        }
    }

    fn end(&mut self) {
        while let Some(n) = self.running.iter().position(|attempt| attempt.left <= 1e-9) {
            let at_once = self.running.len();
            let Attempt { came, began, tries, fails, .. } = self.running.swap_remove(n);
            let took = Duration::from_secs_f64(self.now - began);
            self.scaler.ended(Ended { took, at_once, again: fails }, self.at(self.now));
            match fails {
                true => self.later.push((self.now + f64::from(tries.min(8)).exp2(), came, tries)),
                false => self.story.done.push((came, self.now)),
            }
            self.start();
        }
    }
}
