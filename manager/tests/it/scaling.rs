//! The run loop with a number of attempts at a time that follows the load, in virtual time.

use std::time::{Duration, Instant};

use queue_manager::executor::simulated::{Course, SimulatedExecutor, Weather};
use queue_manager::ledger::Ledger;
use queue_manager::parallelism::{Ended, Policy, Scaler, Sight};
use sidecar::Shutdown;
use tokio::time::{sleep, timeout};

use crate::memory::MemorySource;
use crate::model::Stage;

const MINUTE: Duration = Duration::from_secs(60);
const WORK: Duration = Duration::from_secs(10);

fn within(bounds: &str) -> Policy {
    Policy { drain_target: 10 * MINUTE, ..Policy::within(bounds.parse().expect("are bounds")) }
}

/// So many items of ten seconds each, all there from the beginning, to be done within ten minutes.
fn bucket(items: usize, bounds: &str) -> Stage {
    let executor = SimulatedExecutor::choosing(1, Weather::fair(), |_, _| Course {
        pending: Duration::ZERO,
        running: WORK,
        exit: Some(0),
        reports: false,
    });
    let mut stage = Stage::new(MemorySource::new(1, items), executor, 1);
    stage.settings.parallelism = within(bounds);
    stage
}

#[tokio::test(start_paused = true)]
async fn a_bucket_is_done_within_the_drain_target_by_as_few_as_that_takes() {
    let stage = bucket(200, "1..8");
    let began = tokio::time::Instant::now();
    assert_eq!(stage.finish().await.summary().done, 200);
    // 33 minutes of work in ten.
    assert!(began.elapsed() < 11 * MINUTE + 2 * WORK, "{:?}", began.elapsed());
    let most = stage.executor.history().most_at_once();
    assert!((4..=6).contains(&most), "{most} at a time");
}

#[tokio::test(start_paused = true)]
async fn what_was_paused_is_not_late_for_that() {
    let stage = bucket(100, "1..8");
    let paused = async {
        sleep(2 * MINUTE).await;
        stage.ledger.pause(true).await.expect("writes");
        sleep(30 * MINUTE).await;
        stage.ledger.pause(false).await.expect("writes");
    };
    let began = tokio::time::Instant::now();
    let (ending, ()) = tokio::join!(stage.finish(), paused);
    assert_eq!(ending.summary().done, 100);
    let most = stage.executor.history().most_at_once();
    assert!((2..=4).contains(&most), "{most} at a time, as without a pause");
    assert!(began.elapsed() < (30 + 12) * MINUTE, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_fails_alike_from_the_beginning_says_nothing_of_how_long_attempts_take() {
    let broken = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let mended = std::sync::Arc::clone(&broken);
    let executor = SimulatedExecutor::choosing(1, Weather::fair(), move |_, _| {
        let broken = broken.load(std::sync::atomic::Ordering::Relaxed);
        Course {
            pending: Duration::ZERO,
            running: if broken { Duration::from_millis(10) } else { WORK },
            exit: Some(if broken { 78 } else { 0 }),
            reports: false,
        }
    });
    let mut stage = Stage::new(MemorySource::new(1, 200), executor, 1);
    (stage.settings.parallelism, stage.settings.breaker, stage.settings.until_empty) = (within("1..8"), 5, false);
    let shutdown = Shutdown::new(Duration::from_secs(25));
    let watched = async {
        sleep(2 * MINUTE).await;
        mended.store(false, std::sync::atomic::Ordering::Relaxed);
        // The next probe comes within three minutes.
        sleep(5 * MINUTE).await;
        assert!(stage.executor.history().most_at_once() >= 4, "it knows what ten seconds are");
        sleep(10 * MINUTE).await;
        assert_eq!(stage.ledger.tally().await.expect("reads").todo, 0, "in time from when it could be done");
        shutdown.drain();
    };
    let (ending, ()) = tokio::join!(stage.run(&shutdown), watched);
    assert_eq!(ending.expect("without an error").exit_code(), 0);
}

#[tokio::test(start_paused = true)]
async fn time_in_which_no_manager_ran_is_no_time_that_attempts_took() {
    // It ended meanwhile, it was lost meanwhile, or it had not even been started.
    for what in ["ended", "lost", "intended"] {
        let stage = bucket(30, "1..8");
        if what == "intended" {
            stage.executor.turn(Weather { request_lost: 1.0, ..Weather::fair() });
        }
        let shutdown = Shutdown::new(Duration::from_secs(25));
        let killed = timeout(WORK / 2, stage.run(&shutdown)).await;
        assert!(killed.is_err(), "{killed:?}");
        if what == "lost" {
            stage.executor.restart();
        }
        stage.executor.turn(Weather::fair());
        sleep(600 * MINUTE).await;
        assert_eq!(stage.finish().await.summary().done, 30, "{what}");
        // Five minutes of work, to be done in ten.
        assert_eq!(stage.executor.history().most_at_once(), 1, "{what}");
    }
}

#[test]
fn a_manager_that_takes_attempts_over_begins_with_as_many() {
    for (taken_over, slots) in [(0, 2), (1, 2), (5, 5), (9, 8)] {
        assert_eq!(Scaler::new(within("2..8"), taken_over, Instant::now()).slots(), slots);
    }
}

#[test]
fn one_item_that_is_late_needs_one_slot() {
    let begin = Instant::now();
    let mut scaler = Scaler::new(within("1..8"), 8, begin);
    for n in 1..360 {
        let now = begin + n * WORK;
        if n < 40 {
            scaler.ended(Ended { took: WORK, at_once: 8, again: false }, now);
        }
        scaler.decide(&Sight { now, backlog: 1, ages: &[n * WORK], watched: true, held: false });
    }
    assert_eq!(scaler.slots(), 1);
}
