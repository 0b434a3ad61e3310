//! What the run loop does in one situation at a time, in fair weather and virtual time.

use std::time::Duration;

use contract::ItemName;
use queue_manager::clock::Time;
use queue_manager::executor::Attempt;
use queue_manager::executor::simulated::{Course, SimulatedExecutor, Weather};
use queue_manager::ledger::{Ledger, Selection, State};
use queue_manager::run::Ending;
use sidecar::Shutdown;
use tokio::time::{Instant, sleep, timeout};

use crate::memory::MemorySource;
use crate::model::{Stage, at_a_time};

fn name(n: usize) -> ItemName {
    format!("item-{n}").parse().expect("a name")
}

/// A stage of so many items whose attempts take a second and end as `exit` says.
fn stage(items: usize, exit: impl Fn(&Attempt) -> u8 + Send + Sync + 'static) -> Stage {
    let executor = SimulatedExecutor::choosing(1, Weather::fair(), move |attempt, _| Course {
        pending: Duration::ZERO,
        running: Duration::from_secs(1),
        exit: Some(exit(attempt)),
        reports: false,
    });
    Stage::new(MemorySource::new(1, items), executor, 1)
}

async fn states(stage: &Stage) -> Vec<State> {
    stage.records().await.into_iter().map(|record| record.state).collect()
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waited = timeout(Duration::from_secs(3_600), async {
        while !holds().await {
            sleep(Duration::from_millis(100)).await;
        }
    });
    assert!(waited.await.is_ok(), "not within an hour: {what}");
}

/// Runs a manager beside a test of what it does; then it is told to end.
async fn beside(stage: &Stage, test: impl AsyncFnOnce(&Stage)) -> Ending {
    let shutdown = Shutdown::new(Duration::from_secs(25));
    let test = async {
        test(stage).await;
        shutdown.drain();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ending = stage.run(&shutdown) => ending.expect("without an error"),
        () = test => unreachable!("pends for ever"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_is_worked_through_as_many_at_a_time_as_allowed() {
    let stage = stage(20, |_| 0);
    let ending = stage.finish().await;
    assert_eq!((ending.exit_code(), ending.summary().done), (0, 20));
    assert_eq!(stage.executor.history().most_at_once(), 4);
    assert_eq!(stage.executor.history().runs.len(), 20);
    assert_eq!(stage.finish().await.summary().done, 0, "a second run finds nothing to do");
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_tried_again_and_then_dead_and_a_restart_does_not_forget_that() {
    let stage = stage(6, |attempt| u8::from(attempt.item.as_str() == "item-2"));
    let ending = stage.finish().await;
    assert_eq!((ending.exit_code(), ending.summary().done, ending.summary().dead), (3, 5, 1));
    assert_eq!(stage.executor.history().by_item()[&name(2)].len(), 3);
    let again = stage.finish().await;
    assert_eq!((again.exit_code(), again.summary().dead, again.summary().dead_before), (3, 0, 1));
    let changed = stage.ledger.retry(Selection::All(State::Dead), stage.now()).await.expect("writes");
    assert_eq!(changed.changed, [name(2)]);
    assert_eq!(stage.finish().await.summary().dead, 1);
    assert_eq!(stage.executor.history().by_item()[&name(2)].len(), 6);
}

#[tokio::test(start_paused = true)]
async fn the_sources_failure_changes_nothing() {
    let mut stage = stage(6, |_| 0);
    stage.settings.until_empty = false;
    stage.settings.forget_after = Duration::from_secs(600);
    beside(&stage, async |stage| {
        until("all are done", async || stage.ledger.tally().await.expect("reads").done == 6).await;
        // Fails, then shows nothing and says that it could not see.
        stage.source.world().trouble.fails = 1.0;
        until("the failure is seen", async || !stage.health.obstacles().is_empty()).await;
        sleep(Duration::from_secs(600)).await;
        {
            let mut world = stage.source.world();
            world.trouble.fails = 0.0;
            world.incomplete = true;
            world.listed.clear();
        }
        until("it answers again", async || stage.health.obstacles().is_empty()).await;
        sleep(Duration::from_secs(600)).await;
        assert!(stage.records().await.iter().all(|record| record.absent_since.is_none()));
        // It says that there is nothing: that is believed.
        stage.source.world().incomplete = false;
        until("all are absent", async || stage.records().await.iter().all(|record| record.absent_since.is_some()))
            .await;
        // Forgotten only when it has been absent for long enough.
        sleep(Duration::from_secs(500)).await;
        assert_eq!(stage.records().await.len(), 6);
        sleep(Duration::from_secs(200)).await;
        assert_eq!(stage.records().await.len(), 0);
    })
    .await;
    assert_eq!(stage.executor.history().runs.len(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_down_is_not_hammered() {
    let mut stage = stage(100, |_| 0);
    stage.settings.until_empty = false;
    beside(&stage, async |stage| {
        until("most wait", async || stage.ledger.tally().await.expect("reads").done >= 6).await;
        let before = stage.source.world().lists;
        stage.source.world().trouble.fails = 1.0;
        let asked = async || {
            let before = stage.source.world().asked;
            sleep(Duration::from_secs(3_600)).await;
            stage.source.world().asked - before
        };
        let by_itself = asked().await;
        // Each time the hold is over, a list and as many items as may run at a time are asked for: without it 30,000.
        assert!((60..1_000).contains(&by_itself), "asked {by_itself} times in an hour");
        stage.source.world().retry_after = Some(Duration::from_secs(240));
        let as_told = asked().await;
        assert!((10..120).contains(&as_told), "asked {as_told} times in an hour");
        stage.source.world().trouble.fails = 0.0;
        assert_eq!(stage.source.world().lists, before);
        until("it is listed again", async || stage.source.world().lists > before).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_foreign_source_that_suddenly_lists_nothing_has_to_say_so_three_times() {
    let mut stage = stage(3, |_| 0);
    stage.settings.until_empty = false;
    stage.source.world().promised = false;
    beside(&stage, async |stage| {
        until("all are done", async || stage.ledger.tally().await.expect("reads").done == 3).await;
        let names = std::mem::take(&mut stage.source.world().listed);
        let lists = stage.source.world().lists;
        until("two empty lists", async || stage.source.world().lists >= lists + 2).await;
        sleep(Duration::from_secs(1)).await;
        assert!(stage.records().await.iter().all(|record| record.absent_since.is_none()));
        stage.source.world().listed = names;
        sleep(Duration::from_secs(30)).await;
        stage.source.world().listed.clear();
        until("it is believed", async || stage.records().await.iter().all(|record| record.absent_since.is_some()))
            .await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_item_that_is_listed_and_not_given_is_no_attempt() {
    let mut stage = stage(3, |_| 0);
    stage.settings.until_empty = false;
    stage.source.world().hollow.insert(name(1));
    beside(&stage, async |stage| {
        until("the others are done", async || stage.ledger.tally().await.expect("reads").done == 2).await;
        sleep(Duration::from_secs(60)).await;
        let gets = stage.source.world().gets;
        assert!(gets < 12, "it is not asked for all the time: {gets}");
        let (record, attempts) = stage.ledger.show(&name(1)).await.expect("reads").expect("is known");
        assert_eq!((record.state, record.attempts, attempts.len()), (State::Todo, 0, 0));
        stage.source.world().hollow.clear();
        until("it is done too", async || stage.ledger.tally().await.expect("reads").done == 3).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn one_item_that_the_source_cannot_read_does_not_hold_up_the_others() {
    let mut stage = stage(40, |_| 0);
    (stage.settings.until_empty, stage.settings.parallelism) = (false, at_a_time(2));
    stage.source.world().unreadable.insert(name(0));
    let began = Instant::now();
    beside(&stage, async |stage| {
        until("the others are done", async || stage.ledger.tally().await.expect("reads").done == 39).await;
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
        assert_eq!(stage.health.obstacles(), []);
        stage.source.world().unreadable.clear();
        until("it is done too", async || stage.ledger.tally().await.expect("reads").done == 40).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_source_that_lists_and_gives_nothing_is_failing() {
    let mut stage = stage(40, |_| 0);
    stage.settings.until_empty = false;
    stage.source.world().unreadable = (0..40).map(name).collect();
    beside(&stage, async |stage| {
        until("that is seen", async || !stage.health.obstacles().is_empty()).await;
        sleep(Duration::from_secs(60)).await;
        assert!(stage.records().await.iter().all(|record| record.attempts == 0));
        stage.source.world().unreadable.clear();
        until("all are done", async || stage.ledger.tally().await.expect("reads").done == 40).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_first_run_may_leave_alone_what_is_there_and_only_the_first() {
    let mut stage = stage(8, |_| 0);
    stage.settings.skip_first = true;
    assert_eq!(stage.finish().await.summary().skipped, 8);
    stage.source.world().listed.push(name(8));
    assert_eq!(stage.finish().await.summary().done, 1);
    assert_eq!(stage.executor.history().runs.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_limit_is_of_items_and_lets_each_have_its_retries() {
    let mut stage = stage(20, |attempt| u8::from(attempt.number == 1));
    stage.settings.limit = Some(3);
    let ending = stage.finish().await;
    assert_eq!((ending.exit_code(), ending.summary().done), (0, 3));
    assert_eq!(stage.executor.history().runs.len(), 6);
    assert_eq!(stage.ledger.tally().await.expect("reads").todo, 17);
}

#[tokio::test(start_paused = true)]
async fn a_run_of_so_many_items_ends_with_them_whether_or_not_the_source_is_empty() {
    let mut stage = stage(2, |_| 0);
    (stage.settings.limit, stage.settings.until_empty) = (Some(3), false);
    let (ending, ()) = tokio::join!(stage.finish(), async {
        until("both are done", async || stage.executor.history().runs.len() == 2).await;
        sleep(Duration::from_secs(600)).await;
        stage.source.world().listed.extend([name(2), name(3)]);
    });
    assert_eq!((ending.exit_code(), ending.summary().done, ending.summary().left), (0, 3, 1));

    // It has an end, and was told not to wait for it.
    let all_done = async |stage: &Stage| until("all are done", async || states(stage).await == [State::Done; 4]).await;
    assert_eq!(beside(&stage, all_done).await.exit_code(), 75);
}

#[tokio::test(start_paused = true)]
async fn when_the_first_items_all_fail_alike_the_rest_is_left_untouched() {
    let mut stage = stage(50, |_| 64);
    (stage.settings.breaker, stage.settings.parallelism) = (5, at_a_time(1));
    let ending = stage.finish().await;
    assert!(matches!(ending, Ending::Broken(_)), "{ending:?}");
    assert_eq!(ending.exit_code(), 4);
    let tally = stage.ledger.tally().await.expect("reads");
    assert_eq!((tally.todo, tally.dead), (45, 5));
    assert_eq!(stage.executor.history().runs.len(), 5);
}

#[tokio::test(start_paused = true)]
async fn when_the_items_that_failed_alike_are_all_there_are_the_run_is_through() {
    let mut stage = stage(5, |_| 65);
    stage.settings.breaker = 5;
    let ending = stage.finish().await;
    assert!(matches!(ending, Ending::Finished(_)) && ending.exit_code() == 3, "{ending:?}");
}

#[tokio::test(start_paused = true)]
async fn a_source_is_not_told_that_items_are_dead_while_everything_fails_alike() {
    let mut stage = stage(20, |_| 64);
    (stage.settings.breaker, stage.settings.parallelism) = (3, at_a_time(1));
    (stage.source.world().settles, stage.source.world().takes_away) = (true, true);
    assert_eq!(stage.finish().await.exit_code(), 4);
    assert_eq!(stage.source.world().settled, [], "a worker that is set up wrong costs no item its place");
    assert_eq!(stage.source.world().listed.len(), 20);
    let retried = stage.ledger.retry(Selection::All(State::Dead), stage.now()).await.expect("writes");
    assert_eq!(retried.changed.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_source_is_told_of_the_dead_once_another_succeeds_or_nothing_is_left_to_try() {
    for succeeds in [true, false] {
        let items = if succeeds { 6 } else { 2 };
        let mut stage =
            stage(items, |attempt| if ["item-0", "item-1"].contains(&attempt.item.as_str()) { 65 } else { 0 });
        (stage.settings.breaker, stage.settings.parallelism) = (3, at_a_time(1));
        (stage.source.world().settles, stage.source.world().takes_away) = (true, true);
        assert_eq!(stage.finish().await.exit_code(), 3);
        let settled = stage.source.world().settled.clone();
        assert_eq!(settled.iter().filter(|(_, failed)| failed.is_some()).count(), 2, "{settled:?}");
        assert_eq!(stage.source.world().listed.len(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_queues_window_moves_on_as_its_items_are_settled() {
    let stage = stage(3, |_| 0);
    {
        let mut world = stage.source.world();
        (world.settles, world.takes_away) = (true, true);
        // Nothing says how much waits behind the window.
        world.behind = (3..30).map(name).collect();
    }
    assert_eq!(stage.finish().await.summary().done, 30);
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_tries_one_now_and_then_and_closes_when_that_succeeds() {
    let broken = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let mended = std::sync::Arc::clone(&broken);
    let mut stage = stage(20, move |_| if broken.load(std::sync::atomic::Ordering::Relaxed) { 78 } else { 0 });
    (stage.settings.breaker, stage.settings.parallelism, stage.settings.until_empty) = (5, at_a_time(2), false);
    beside(&stage, async |stage| {
        sleep(Duration::from_secs(1_800)).await;
        let runs = stage.executor.history().runs.len();
        assert!((8..=14).contains(&runs), "{runs} runs in half an hour");
        let dead = stage.ledger.tally().await.expect("reads").dead;
        assert!(dead <= 6, "what is tried while it is open is not held against the item: {dead} dead");
        mended.store(false, std::sync::atomic::Ordering::Relaxed);
        until("the rest is done", async || stage.ledger.tally().await.expect("reads").todo == 0).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_paused_queue_starts_nothing_and_lets_what_runs_end() {
    let mut stage = stage(20, |_| 0);
    stage.settings.until_empty = false;
    beside(&stage, async |stage| {
        until("some run", async || stage.ledger.tally().await.expect("reads").done >= 4).await;
        stage.ledger.pause(true).await.expect("writes");
        sleep(Duration::from_secs(60)).await;
        let tally = stage.ledger.tally().await.expect("reads");
        assert!(tally.running == 0 && tally.done < 20, "{tally:?}");
        stage.ledger.pause(false).await.expect("writes");
        until("the rest is done", async || stage.ledger.tally().await.expect("reads").done == 20).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_an_operator_skips_while_it_waits_is_not_started() {
    let mut stage = stage(20, |_| 0);
    stage.settings.parallelism = at_a_time(1);
    let skipped = async {
        until("some wait", async || stage.ledger.tally().await.expect("reads").todo > 10).await;
        stage.ledger.skip(vec![name(19)], stage.now()).await.expect("writes");
    };
    let (ending, ()) = tokio::join!(stage.finish(), skipped);
    assert_eq!((ending.summary().done, ending.summary().skipped), (19, 1));
}

#[tokio::test(start_paused = true)]
async fn it_is_not_empty_while_something_is_about_to_be_listed() {
    let stage = stage(2, |_| 0);
    stage.source.world().pending = 1;
    // Each reason by itself for a while, and what it stood for listed as it ends.
    let later = async {
        sleep(Duration::from_secs(100)).await;
        {
            let mut world = stage.source.world();
            (world.pending, world.backlog) = (0, 1);
            world.listed.push(name(2));
        }
        sleep(Duration::from_secs(100)).await;
        {
            let mut world = stage.source.world();
            (world.backlog, world.incomplete) = (0, true);
            world.listed.push(name(3));
        }
        sleep(Duration::from_secs(100)).await;
        stage.source.world().listed.push(name(4));
        stage.source.world().incomplete = false;
    };
    let began = Instant::now();
    let (ending, ()) = tokio::join!(stage.finish(), later);
    assert_eq!(ending.summary().done, 5);
    assert!(began.elapsed() >= Duration::from_secs(300));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_nothing_was_ever_in_is_waited_for() {
    let began = Instant::now();
    stage(0, |_| 0).finish().await;
    assert!(began.elapsed() < Duration::from_secs(60), "nobody asked for it");
    // Until the loader comes.
    let mut stage = stage(0, |_| 0);
    stage.settings.wait_for_first = Duration::MAX;
    let later = async {
        sleep(Duration::from_secs(3_600)).await;
        stage.source.world().listed.push(name(0));
    };
    let (ending, ()) = tokio::join!(stage.finish(), later);
    assert_eq!((ending.exit_code(), ending.summary().done), (0, 1));
    // What is known already is not waited for, nor what others were faster with.
    stage.source.world().listed.clear();
    stage.finish().await;
    let mut other = self::stage(0, |_| 0);
    other.settings.wait_for_first = Duration::MAX;
    other.source.world().had_items = true;
    assert_eq!(other.finish().await.exit_code(), 0);
    // For as long as one says.
    let mut patient = self::stage(0, |_| 0);
    patient.settings.wait_for_first = Duration::from_secs(600);
    let began = Instant::now();
    assert_eq!(patient.finish().await.exit_code(), 0);
    assert!(began.elapsed() >= Duration::from_secs(600));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_wants_to_know_is_told_until_it_lists_the_item_no_more() {
    let stage = stage(3, |attempt| if attempt.item.as_str() == "item-1" { 65 } else { 0 });
    stage.source.world().settles = true;
    stage.finish().await;
    let mut settled = std::mem::take(&mut stage.source.world().settled);
    settled.sort();
    let dead = Some("BadItem: exit 65: bad item".to_owned());
    assert_eq!(settled, [(name(0), None), (name(1), dead), (name(2), None)]);
    assert!(stage.records().await.iter().all(|record| record.settled.is_some()));
    // Listed still, as after a backup was restored.
    sleep(Duration::from_secs(120)).await;
    stage.source.world().takes_away = true;
    stage.finish().await;
    assert_eq!(stage.source.world().settled.len(), 3);
    assert_eq!(stage.source.world().listed.len(), 0);
    assert_eq!(stage.executor.history().runs.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_run_does_not_end_before_its_source_was_told() {
    let stage = stage(3, |_| 0);
    (stage.source.world().settles, stage.source.world().deaf) = (true, true);
    let hears = async {
        sleep(Duration::from_secs(100)).await;
        stage.source.world().deaf = false;
    };
    let (ending, ()) = tokio::join!(stage.finish(), hears);
    assert_eq!((ending.exit_code(), stage.source.world().settled.len()), (0, 3));
}

#[tokio::test(start_paused = true)]
async fn told_to_end_it_waits_then_stops_and_what_was_stopped_runs_again() {
    let executor = SimulatedExecutor::choosing(1, Weather::fair(), |attempt, _| Course {
        pending: Duration::ZERO,
        running: Duration::from_secs(if attempt.item.as_str() == "item-0" { 10 } else { 3_600 }),
        exit: Some(0),
        reports: false,
    });
    let mut stage = Stage::new(MemorySource::new(1, 3), executor, 1);
    stage.settings.until_empty = false;
    let began = Instant::now();
    let ending = beside(&stage, async |_| sleep(Duration::from_secs(5)).await).await;
    assert!(matches!(ending, Ending::Drained { early: false, .. }), "{ending:?}");
    assert_eq!(ending.summary().done, 1, "what ends in time is let end");
    assert!(began.elapsed() < Duration::from_secs(31), "{:?}", began.elapsed());
    for n in [1, 2] {
        let (record, attempts) = stage.ledger.show(&name(n)).await.expect("reads").expect("is known");
        assert_eq!((record.state, record.attempts), (State::Todo, 0), "does not count");
        assert_eq!(attempts[0].cause.as_deref(), Some("stopped"));
    }
    stage.settings.until_empty = true;
    assert_eq!(stage.finish().await.summary().done, 2);
    stage.check_promises(4);
}

#[tokio::test(start_paused = true)]
async fn a_second_signal_does_not_wait() {
    let mut stage = stage(4, |_| 0);
    stage.settings.stop_grace = Duration::from_secs(20);
    let executor = SimulatedExecutor::choosing(1, Weather::fair(), |_, _| Course {
        pending: Duration::ZERO,
        running: Duration::from_secs(3_600),
        exit: Some(0),
        reports: false,
    });
    stage.executor = executor;
    let shutdown = Shutdown::new(Duration::from_secs(3_000));
    let told = async {
        sleep(Duration::from_secs(5)).await;
        shutdown.abort();
    };
    let began = Instant::now();
    let (ending, ()) = tokio::join!(stage.run(&shutdown), told);
    assert_eq!(ending.expect("without an error").exit_code(), 75, "the source is not empty");
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
    assert!(states(&stage).await.iter().all(|state| *state == State::Todo), "recorded all the same");
}

#[tokio::test(start_paused = true)]
async fn an_item_that_goes_away_before_its_turn_is_not_run() {
    let mut stage = stage(20, |_| 0);
    stage.settings.parallelism = at_a_time(1);
    stage.settings.poll = Duration::from_secs(1);
    let gone = async {
        until("some wait", async || stage.ledger.tally().await.expect("reads").todo > 10).await;
        stage.source.world().listed.truncate(10);
    };
    let (ending, ()) = tokio::join!(stage.finish(), gone);
    assert_eq!(ending.summary().done, 10);
    assert!(stage.now() > Time(0));
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_waited_out_and_no_outcome_is_lost() {
    let mut stage = stage(20, |_| 0);
    stage.settings.until_empty = false;
    beside(&stage, async |stage| {
        until("some run", async || stage.ledger.tally().await.expect("reads").running == 4).await;
        stage.disk.fill(true);
        sleep(Duration::from_secs(600)).await;
        let runs = stage.executor.history().runs;
        assert!(runs.len() <= 8, "what is not written down is not started: {}", runs.len());
        let obstacles = stage.health.obstacles();
        assert!(obstacles.iter().any(|(part, why)| *part == "ledger" && why.contains("full")), "{obstacles:?}");
        stage.disk.fill(false);
        until("all are done", async || stage.ledger.tally().await.expect("reads").done == 20).await;
        assert_eq!(stage.health.obstacles(), []);
    })
    .await;
    assert_eq!(stage.executor.history().runs.len(), 20, "each once");
    stage.check_promises(4);
}

#[tokio::test(start_paused = true)]
async fn told_to_end_on_a_full_disk_it_ends_and_the_next_one_finds_what_it_could_not_record() {
    let stage = stage(8, |_| 0);
    let shutdown = Shutdown::new(Duration::from_secs(25));
    let told = async {
        until("some run", async || stage.ledger.tally().await.expect("reads").running == 4).await;
        stage.disk.fill(true);
        sleep(Duration::from_secs(60)).await;
        shutdown.drain();
        sleep(shutdown.grace()).await;
        shutdown.abort();
    };
    let (ended, ()) = tokio::join!(timeout(Duration::from_secs(600), stage.run(&shutdown)), told);
    let error = ended.expect("ends").expect_err("and says what stands in the way");
    assert!(error.to_string().contains("full") && error.exit_code() == 74, "{error}");
    stage.disk.fill(false);
    assert_eq!(stage.finish().await.summary().done, 8);
    assert_eq!(stage.executor.history().runs.len(), 8, "each once");
}
