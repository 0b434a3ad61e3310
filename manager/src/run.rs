//! The run loop: list, plan, act, record.
//!
//! One task decides; attempts, walks and settlements run beside it and come back with what they found. What is under way
//! is never counted: it is the set of tasks that have not come back, and after a restart what the ledger says.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use contract::ItemName;
use sidecar::{Health, Shutdown};
use tokio::sync::watch;
use tokio::task::{Id, JoinHandle, JoinSet};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tracing::{info, warn};

use crate::attempt::{self, Landing};
use crate::breaker::{Breaker, Change};
use crate::clock::{Clock, Time};
use crate::executor::{AttemptId, Executor};
use crate::ledger::{Beginning, Ledger, Next, Tally};
use crate::metrics::Meters;
use crate::parallelism::{Policy, Scaler};
use crate::plan::Settles;
use crate::progress::Progress;
pub use crate::shared::RunError;
use crate::shared::{Orders, Pulse, Shared};
use crate::source::Source;
use crate::verdict::{Judge, RetryPolicy};

mod ending;
mod listing;
mod pace;
mod scaling;
mod settling;
mod starting;
mod watching;

use ending::Waiting;
pub use ending::{Ending, Summary};
use listing::Listing;
use settling::Settling;
use starting::Ready;
use watching::Watching;

/// How often the ledger is asked whether an operator has changed something.
const CONTROL_EVERY: Duration = Duration::from_millis(500);
/// When this many items in a row are not given, it is the source that fails.
const UNREACHED: u32 = 3;
/// The longest that an item which is listed and not given is left alone.
const PUT_OFF: Duration = Duration::from_secs(60);
/// An abort waits this long for what was killed to be recorded.
const ABORT_WAIT: Duration = Duration::from_secs(3);

/// How a run goes.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many attempts at a time.
    pub parallelism: Policy,
    /// The most items this process starts; when they are through, it ends.
    pub limit: Option<usize>,
    /// Whether what is listed when a queue is run for the first time is left alone.
    pub skip_first: bool,
    /// Whether to end when everything is done.
    pub until_empty: bool,
    /// How long a source that nothing was ever in is waited for before it counts as empty.
    pub wait_for_first: Duration,
    /// From the end of one listing to the next.
    pub poll: Duration,
    /// The same, while a watch tells what changes.
    pub resync: Duration,
    /// How long a source that does not answer is waited for; `None`: for ever.
    pub source_wait: Option<Duration>,
    /// How long an item must be absent from complete lists before it is forgotten.
    pub forget_after: Duration,
    /// How long an attempt that is stopped has before it is killed.
    pub stop_grace: Duration,
    /// How often and how patiently is tried again.
    pub retry: RetryPolicy,
    /// How many first items must fail alike for the breaker to open; 0: never.
    pub breaker: usize,
}

impl Settings {
    /// Whether the run ends by itself.
    pub(crate) fn has_an_end(&self) -> bool {
        self.until_empty || self.limit.is_some()
    }
}

/// What a manager works with.
#[derive(Debug)]
pub struct Parts<S, E, L> {
    /// Where work comes from.
    pub source: S,
    /// What does it.
    pub executor: E,
    /// What is remembered.
    pub ledger: L,
    /// What time it is.
    pub clock: Clock,
    /// Chance, seeded by tests.
    pub random: fastrand::Rng,
    /// Who asks whether it is ready.
    pub health: Health,
    /// What it counts.
    pub meters: Meters,
    /// Who watches it.
    pub progress: Progress,
    /// Who ends it.
    pub shutdown: Shutdown,
}

/// Works through a source until there is a reason to end.
///
/// # Errors
/// When the ledger cannot be used any more. Attempts that run then are left to the next manager, which finds them.
pub async fn run<S: Source, E: Executor, L: Ledger>(
    parts: Parts<S, E, L>,
    settings: Settings,
) -> Result<Ending, RunError> {
    let mut manager = Manager::begin(parts, settings).await?;
    let ending = manager.work().await;
    manager.stop_walking();
    manager.stop_watching();
    manager.progress.finish();
    ending
}

/// An attempt under way.
struct Underway {
    name: ItemName,
    /// Whether it used up some of the limit.
    fresh: bool,
    /// Whether a former manager began it.
    resumed: bool,
    /// Since when it has its slot of this manager.
    since: Instant,
}

struct Manager<S, E, L> {
    shared: Arc<Shared<S, E, L>>,
    settings: Settings,
    shutdown: Shutdown,
    progress: Progress,

    /// Attempts under way, and what is known of each.
    attempts: JoinSet<Result<Landing, RunError>>,
    items: HashMap<Id, Underway>,
    /// How many there may be.
    scaler: Scaler,
    next_scaling: Instant,
    /// What attempts have left, and those of former managers: cleared away all at once, as soon as the last of it is.
    uncleared: Vec<AttemptId>,
    chores: JoinSet<Result<(), RunError>>,
    settling: Settling,

    /// Items this process has started, where that is limited.
    started: HashSet<ItemName>,
    ready: Ready,
    listing: Listing,
    watching: Watching,

    control: crate::ledger::Control,
    control_tick: Interval,
    /// Whether something has changed that may let an item be started.
    stale: bool,
    /// When an item that waits becomes ready, or a hold ends.
    wake: Option<Instant>,
    /// When what still runs is stopped; known once it drains.
    stop_at: Option<Instant>,
    stopping: bool,
    /// How often an item's state has changed: a list that was begun before the last change proves nothing.
    changes: u64,
    /// Whether a list has shown that anything is in the source, or was.
    had_items: bool,
    /// Whether it was said that a first item is waited for.
    first_awaited: bool,
    /// What a run that ends by itself waits for, since nothing runs.
    waiting: Option<Waiting>,
    tally: Tally,
    next_tally: Instant,
    summary: Summary,
}

impl<S: Source, E: Executor, L: Ledger> Manager<S, E, L> {
    async fn begin(parts: Parts<S, E, L>, settings: Settings) -> Result<Self, RunError> {
        let Parts { source, executor, ledger, clock, random, health, meters, progress, shutdown } = parts;
        let judge = Judge::new(settings.retry.clone(), Breaker::new(settings.breaker), random);
        let shared = Arc::new(Shared {
            source,
            executor,
            ledger,
            clock,
            judge: Mutex::new(judge),
            pulse: Pulse::default(),
            orders: watch::Sender::new(Orders::Work),
            health,
            meters,
            shutdown: shutdown.clone(),
            put_off: (settings.poll.max(Duration::from_secs(1)) * 2).min(PUT_OFF),
        });
        shared.health.starting("source", "not listed yet");
        let Beginning { epoch, walked, unconcluded, uncleared, listed } = shared.keep(|ledger| ledger.begin()).await?;
        info!(epoch, left_running = unconcluded.len(), listed = listed.len(), "the ledger is open");
        let control = shared.keep(|ledger| ledger.control()).await?;
        let mut control_tick = tokio::time::interval(CONTROL_EVERY);
        control_tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let now = Instant::now();
        let parallelism = settings.parallelism;
        let mut manager = Self {
            watching: Watching::new(settings.poll),
            scaler: Scaler::new(parallelism, unconcluded.len(), now.into_std()),
            next_scaling: now + parallelism.adjust_every,
            settings,
            shutdown,
            progress,
            attempts: JoinSet::new(),
            items: HashMap::new(),
            uncleared: Vec::new(),
            chores: JoinSet::new(),
            settling: Settling::default(),
            started: HashSet::new(),
            ready: Ready::new(now),
            listing: Listing::new(listed, walked),
            control,
            control_tick,
            stale: true,
            wake: None,
            stop_at: None,
            stopping: false,
            changes: 0,
            had_items: false,
            first_awaited: false,
            waiting: None,
            tally: Tally::default(),
            next_tally: now,
            summary: Summary::new(now),
            shared,
        };
        manager.shared.meters.may_run(parallelism.bounds, manager.scaler.slots());
        if control.paused {
            info!("the queue is paused: `queue-manager resume` goes on");
        }
        for left in unconcluded {
            // Of the time before, nobody knows in how much of it there was a worker.
            let underway = Underway { name: left.name.clone(), fresh: false, resumed: true, since: now };
            let task = manager.attempts.spawn(attempt::resume(Arc::clone(&manager.shared), left));
            manager.items.insert(task.id(), underway);
        }
        manager.uncleared = uncleared;
        manager.clear_more();
        Ok(manager)
    }

    async fn work(&mut self) -> Result<Ending, RunError> {
        let snapshots = self.shared.executor.observe();
        let pulse = tokio::spawn(self.shared.pulse.clone().follow(snapshots));
        let _pulse = AbortOnDrop(pulse);
        let shutdown = self.shutdown.clone();
        loop {
            self.refill().await?;
            if let Some(ending) = self.ending().await? {
                return Ok(ending);
            }
            let (walking, watching) = (self.listing.walk.is_some(), self.watching.watch.is_some());
            let (draining, stopping) = (self.stop_at.is_some(), self.stopping);
            tokio::select! {
                // A second signal is heard before everything else.
                biased;
                () = shutdown.aborting() => return self.abort().await,
                () = shutdown.draining(), if !draining => self.drain(),
                () = until(self.stop_at), if !stopping => self.stop(),
                Some(landed) = self.attempts.join_next_with_id() => self.all_landed(landed).await?,
                Some(chore) = self.chores.join_next() => {
                    chore??;
                    self.clear_more();
                }
                Some(settled) = self.settling.tasks.join_next() => self.settled(settled??),
                page = listing::next(&mut self.listing.walk), if walking => self.listed(page).await?,
                told = watching::next(&mut self.watching.watch), if watching => self.told(told).await?,
                () = tokio::time::sleep_until(self.listing.next), if !walking && !draining => self.start_walk(),
                () = until(self.wake) => { self.wake = None; self.stale = true; }
                _ = self.control_tick.tick() => self.look_around().await?,
            }
        }
    }

    fn now(&self) -> Time {
        self.shared.clock.now()
    }

    /// Slots are filled once for all that are free.
    async fn all_landed(
        &mut self,
        first: Result<(Id, Result<Landing, RunError>), tokio::task::JoinError>,
    ) -> Result<(), RunError> {
        self.landed(first).await?;
        while let Some(landed) = self.attempts.try_join_next_with_id() {
            self.landed(landed).await?;
        }
        Ok(())
    }

    fn clear_more(&mut self) {
        if self.chores.is_empty() && !self.uncleared.is_empty() {
            self.chores.spawn(attempt::clear(Arc::clone(&self.shared), std::mem::take(&mut self.uncleared)));
            self.stale = true;
        }
    }

    async fn landed(
        &mut self,
        landed: Result<(Id, Result<Landing, RunError>), tokio::task::JoinError>,
    ) -> Result<(), RunError> {
        let (id, landing) = landed?;
        let underway = self.items.remove(&id);
        self.stale = true;
        let landing = landing?;
        self.scaler.ran(self.attempts.len() + 1, Instant::now().into_std());
        let Some(underway) = underway else { return Ok(()) };
        let name = &underway.name;
        if underway.fresh && !matches!(landing, Landing::Concluded { .. }) {
            self.started.remove(name);
        }
        match landing {
            Landing::Concluded { id, conclusion, change } => {
                self.uncleared.push(id);
                self.clear_more();
                self.listing.unreached = 0;
                self.changes += 1;
                self.announce(&change);
                self.learn(&underway, &conclusion, change == Change::Opened);
                let dead = match conclusion.next {
                    Next::Again { .. } => return Ok(()),
                    Next::Done => false,
                    Next::Dead => true,
                };
                self.summary.count(dead);
                if dead {
                    self.shared.meters.dead()
                } else {
                    self.shared.meters.done()
                }
                if self.shared.source.settles() {
                    self.listing.forget_known();
                }
                let told = match self.settles() {
                    Settles::Nothing => false,
                    Settles::Done => !dead,
                    Settles::All => true,
                };
                if told {
                    let rows = self.shared.keep(|ledger| ledger.rows(vec![name.clone()])).await?;
                    if let Some(row) = rows.get(name) {
                        self.settle(name.clone(), row.id, dead);
                    }
                }
            }
            Landing::Withdrawn => {}
            Landing::Vanished => {
                self.changes += 1;
                self.hasten();
            }
            Landing::Unreachable { error } => {
                // One item may be the only one that its source cannot read: the others need not wait for it.
                self.listing.unreached += 1;
                if self.listing.unreached >= UNREACHED {
                    self.source_failed(&error);
                }
            }
        }
        Ok(())
    }

    fn announce(&self, change: &Change) {
        let alike = self.shared.judge().breaker().open().map(ToString::to_string);
        match (change, alike) {
            (Change::Opened, Some(alike)) => warn!(
                alike,
                items = self.settings.breaker,
                "the first items all failed alike, so the fault is hardly theirs: nothing more is started. Look at one with \
                 `queue-manager ledger show`, mend the worker or its settings, and have the dead done again with \
                 `queue-manager ledger retry --dead`; --breaker 0 switches this off"
            ),
            (Change::Closed, _) => info!("an attempt ended differently: the breaker is closed again"),
            (Change::None | Change::Opened, _) => {}
        }
    }

    /// What an operator did, and what those who watch want to know.
    async fn look_around(&mut self) -> Result<(), RunError> {
        let before = std::mem::replace(&mut self.control, self.shared.keep(|ledger| ledger.control()).await?);
        if before != self.control {
            self.stale = true;
            self.changes += 1;
            match (before.paused, self.control.paused) {
                (false, true) => info!("paused: what runs goes on, nothing is started"),
                (true, false) => info!("resumed"),
                _ => {}
            }
        }
        let now = Instant::now();
        if now >= self.next_tally {
            self.tally = self.shared.keep(|ledger| ledger.tally()).await?;
            // Counting a long ledger takes its time, and shall not take most of it.
            self.next_tally = Instant::now() + (now.elapsed() * 20).max(CONTROL_EVERY);
        }
        self.scale();
        let backlog = self.listing.last.map_or(0, |(_, walked)| walked.backlog);
        let breaker_open = self.shared.judge().breaker().open().is_some();
        self.shared.meters.tally(&self.tally, backlog);
        self.shared.meters.held(breaker_open, self.control.paused);
        self.shared.meters.source(self.listing.up == Some(true), self.listing.complete_at.map(|at| at.elapsed()));
        self.progress.show(&self.tally, backlog, self.waiting.map(|waiting| waiting.to_string()));
        Ok(())
    }
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}
