//! The run loop against a remote that loses answers, answers late and lists stale, with managers that die at any moment.

use std::sync::Mutex;
use std::time::Duration;

use queue_manager::clock::{Clock, Time};
use queue_manager::executor::Attempt;
use queue_manager::executor::simulated::{Course, SimulatedExecutor, Weather};
use queue_manager::ledger::{ItemRecord, SqliteLedger, State, StateDir};
use queue_manager::metrics::Meters;
use queue_manager::parallelism::{Bounds, Policy};
use queue_manager::progress::Progress;
use queue_manager::run::{self, Ending, Parts, RunError, Settings};
use queue_manager::source::Source;
use queue_manager::verdict::RetryPolicy;
use sidecar::metrics::encoding::text::encode;
use sidecar::metrics::registry::Registry;
use sidecar::{Health, Shutdown};
use tokio::time::{Instant, timeout};

use crate::flaky::FlakyLedger;
use crate::memory::{MemorySource, Trouble};

const MAX_ATTEMPTS: u32 = 3;

/// Everything that outlives a manager.
pub(crate) struct Stage {
    pub(crate) source: MemorySource,
    pub(crate) executor: SimulatedExecutor,
    /// As an operator reaches it.
    pub(crate) ledger: SqliteLedger,
    /// As the manager does.
    pub(crate) disk: FlakyLedger,
    pub(crate) settings: Settings,
    pub(crate) health: Health,
    registry: Mutex<Registry>,
    clock: Clock,
    seed: u64,
    _dir: tempfile::TempDir,
}

/// Always as many attempts.
pub(crate) fn at_a_time(attempts: usize) -> Policy {
    Policy::within(Bounds::fixed(attempts.try_into().expect("is not 0")))
}

pub(crate) fn settings() -> Settings {
    Settings {
        parallelism: at_a_time(4),
        limit: None,
        skip_first: false,
        until_empty: true,
        wait_for_first: Duration::ZERO,
        poll: Duration::from_secs(5),
        resync: Duration::from_secs(300),
        source_wait: None,
        forget_after: Duration::from_secs(7 * 86_400),
        stop_grace: Duration::from_secs(2),
        retry: RetryPolicy {
            max_attempts: MAX_ATTEMPTS,
            backoff: Duration::from_secs(1),
            backoff_most: Duration::from_secs(60),
            permanent: vec![],
        },
        breaker: 0,
    }
}

impl Stage {
    pub(crate) fn new(source: MemorySource, executor: SimulatedExecutor, seed: u64) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let state = StateDir::open(dir.path()).expect("a state directory");
        let ledger = SqliteLedger::open(&state, "q", 0).expect("opens");
        let began = Instant::now();
        let clock = Clock::new(move || Time(1_000_000).after(began.elapsed()));
        let (settings, health, disk) = (settings(), Health::default(), FlakyLedger::new(ledger.clone()));
        let registry = Mutex::default();
        Self { source, executor, ledger, disk, settings, health, registry, clock, seed, _dir: dir }
    }

    pub(crate) fn now(&self) -> Time {
        self.clock.now()
    }

    pub(crate) async fn run(&self, shutdown: &Shutdown) -> Result<Ending, RunError> {
        self.run_over(self.source.clone(), shutdown).await
    }

    /// The same over another source than its own.
    pub(crate) async fn run_over(&self, source: impl Source, shutdown: &Shutdown) -> Result<Ending, RunError> {
        let parts = Parts {
            source,
            executor: self.executor.clone(),
            ledger: self.disk.clone(),
            clock: self.clock.clone(),
            random: fastrand::Rng::with_seed(self.seed),
            health: self.health.clone(),
            meters: Meters::new(&mut self.registry.lock().expect("no panic while held")),
            progress: Progress::silent(),
            shutdown: shutdown.clone(),
        };
        run::run(parts, self.settings.clone()).await
    }

    /// Runs to the end, however long that takes by the tests' own clock.
    pub(crate) async fn finish(&self) -> Ending {
        let shutdown = Shutdown::new(Duration::from_secs(25));
        timeout(Duration::from_secs(48 * 3_600), self.run(&shutdown))
            .await
            .expect("comes to an end")
            .expect("without an error")
    }

    /// What it has counted under a name, labels and all.
    pub(crate) fn counted(&self, line: &str) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry.lock().expect("no panic while held")).expect("encodes");
        let value = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {line} in\n{text}")).to_owned()
    }

    pub(crate) async fn records(&self) -> Vec<ItemRecord> {
        self.ledger.list(None, 0, usize::MAX).await.expect("reads").0
    }

    /// What must hold whatever happened.
    pub(crate) fn check_promises(&self, at_most: usize) {
        let history = self.executor.history();
        assert_eq!(history.overlaps(), [], "two attempts of one item at the same time");
        assert_eq!(history.violations, [""; 0]);
        assert!(history.most_at_once() <= at_most, "{} at once", history.most_at_once());
    }
}

/// One in three fails somehow.
fn mixed(_: &Attempt, random: &mut fastrand::Rng) -> Course {
    Course {
        pending: Duration::from_millis(random.u64(0..2_000)),
        running: Duration::from_millis(random.u64(1..8_000)),
        exit: match random.u8(0..15) {
            0 => None,
            1 => Some(75),
            2 => Some(65),
            3 | 4 => Some(1),
            _ => Some(0),
        },
        reports: random.bool(),
    }
}

async fn one_world(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let source = MemorySource::new(seed, 20);
    {
        let mut world = source.world();
        world.trouble = Trouble { fails: 0.1, partial: 0.2, latency: Duration::from_millis(400), ..Trouble::default() };
        world.settles = random.bool();
        world.takes_away = random.bool();
        (world.watched, world.marks) = (random.bool(), random.bool());
        (world.trouble.breaks, world.trouble.expires) = (0.2, 0.2);
        (world.trouble.babbles, world.trouble.lags) = (0.2, 0.1);
    }
    let stage = Stage::new(source, SimulatedExecutor::choosing(seed, Weather::foul(), mixed), seed);
    for _ in 0..random.u8(0..12) {
        let shutdown = Shutdown::new(Duration::from_secs(random.u64(1..10)));
        let life = Duration::from_millis(random.u64(0..20_000));
        match random.u8(0..4) {
            // Killed: everything it was about to do is dropped where it stands.
            0..3 => drop(timeout(life, stage.run(&shutdown)).await),
            // Drained, and aborted when it takes too long.
            _ => {
                let told = async {
                    tokio::time::sleep(life).await;
                    shutdown.drain();
                    tokio::time::sleep(shutdown.grace()).await;
                    shutdown.abort();
                    std::future::pending::<()>().await;
                };
                tokio::select! {
                    ending = stage.run(&shutdown) => { ending.expect("without an error"); }
                    () = told => {}
                }
            }
        }
        if random.bool() {
            stage.executor.restart();
        }
        if random.u8(0..4) == 0 {
            stage.source.world().restart();
        }
        if random.u8(0..4) == 0 {
            // Gone, perhaps while a request to start an attempt at it is under way.
            let mut world = stage.source.world();
            let gone = random.usize(0..world.listed.len().max(1));
            if gone < world.listed.len() {
                world.listed.remove(gone);
            }
        }
    }
    let ending = stage.finish().await;

    stage.check_promises(stage.settings.parallelism.bounds.most());
    let records = stage.records().await;
    let known: Vec<_> = records.iter().map(|record| &record.name).collect();
    assert!(stage.source.world().listed.iter().all(|name| known.contains(&name)), "none is lost");
    let history = stage.executor.history();
    let by_item = history.by_item();
    for record in &records {
        let runs = by_item.get(&record.name).map(Vec::as_slice).unwrap_or_default();
        let seen: Vec<_> = runs.iter().filter_map(|run| run.exit).collect();
        match record.state {
            State::Done => assert!(seen.contains(&0), "{record:?} {seen:?}"),
            State::Dead => {
                let failures = seen.iter().filter(|exit| !matches!(exit, 0 | 143)).count();
                let enough = u32::try_from(failures).expect("few") >= MAX_ATTEMPTS;
                assert!(seen.contains(&65) || enough, "{record:?} {seen:?}");
            }
            State::Todo if record.absent_since.is_some() => continue,
            State::Todo | State::Running | State::Skipped => panic!("{record:?} is left over: {seen:?}"),
        }
        assert!(record.attempts <= MAX_ATTEMPTS, "{record:?}");
        let last = runs.last().expect("has run");
        assert!(seen.iter().rev().skip(1).all(|exit| *exit != 0), "run again after it was done: {seen:?} {last:?}");
    }
    let dead = records.iter().any(|record| record.state == State::Dead);
    assert_eq!(ending.exit_code(), if dead { 3 } else { 0 }, "{ending:?}");
}

#[test]
fn whatever_dies_and_whenever_each_item_ends_done_or_dead_and_never_runs_twice_at_once() {
    for seed in 0..60 {
        let result = std::panic::catch_unwind(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
            runtime.expect("a runtime").block_on(one_world(seed));
        });
        assert!(result.is_ok(), "seed {seed}");
    }
}
