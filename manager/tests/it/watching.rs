//! Watches that break, lie, lag and fall silent: nothing is lost, nothing is doubled, and the price is a list.

use std::time::Duration;

use contract::ItemName;
use contract::client::{Endpoint, Limits};
use queue_manager::executor::Attempt;
use queue_manager::executor::simulated::{Course, SimulatedExecutor, Weather};
use queue_manager::ledger::{Ledger, State};
use queue_manager::run::Ending;
use queue_manager::source::HttpSource;
use sidecar::Shutdown;
use tokio::time::sleep;

use crate::memory::MemorySource;
use crate::model::Stage;
use crate::teller::{Asked, Teller, Watches};

/// No list is asked for by the hour alone.
const NEVER: Duration = Duration::from_secs(36_000);

/// A stage whose attempts take no time to speak of.
fn stage(exit: impl Fn(&Attempt) -> u8 + Send + Sync + 'static) -> Stage {
    let executor = SimulatedExecutor::choosing(1, Weather::fair(), move |attempt, _| Course {
        pending: Duration::ZERO,
        running: Duration::from_millis(1),
        exit: Some(exit(attempt)),
        reports: false,
    });
    let mut stage = Stage::new(MemorySource::new(1, 0), executor, 1);
    stage.settings.until_empty = false;
    (stage.settings.poll, stage.settings.resync) = (NEVER, NEVER);
    stage
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(240);
    while !holds().await {
        assert!(std::time::Instant::now() < deadline, "not within four minutes: {what}");
        sleep(Duration::from_millis(2)).await;
    }
}

/// Runs a manager over a source while a test says what that does; then the manager is told to end.
async fn beside(stage: &Stage, source: HttpSource, test: impl AsyncFnOnce(&Stage)) -> Ending {
    let shutdown = Shutdown::new(Duration::from_secs(25));
    let test = async {
        test(stage).await;
        shutdown.drain();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ending = stage.run_over(source, &shutdown) => ending.expect("without an error"),
        () = test => unreachable!("pends for ever"),
    }
}

fn source(address: &str) -> HttpSource {
    // Longer than any machine stands still: what is asked again for that alone would be counted.
    let limits = Limits { deadline: Duration::from_secs(60), watch_idle: Duration::from_secs(60), ..Limits::default() };
    HttpSource::new(address.parse::<Endpoint>().expect("an address"), limits)
}

async fn done(stage: &Stage, items: u64) {
    until(&format!("{items} are done"), async || stage.ledger.tally().await.expect("reads").done == items).await;
}

/// A stage in virtual time, over a source in memory that can be watched and marks its lists.
fn slow_stage(items: usize) -> Stage {
    let executor = SimulatedExecutor::choosing(1, Weather::fair(), |_, _| Course {
        pending: Duration::ZERO,
        running: Duration::from_secs(1),
        exit: Some(0),
        reports: false,
    });
    let mut stage = Stage::new(MemorySource::new(1, items), executor, 1);
    stage.settings.until_empty = false;
    {
        let mut world = stage.source.world();
        (world.watched, world.marks) = (true, true);
    }
    stage
}

fn name(n: usize) -> ItemName {
    format!("item-{n}").parse().expect("a name")
}

/// Runs a manager over its stage's own source for so long.
async fn for_a_while(stage: &Stage, test: impl AsyncFnOnce(&Stage)) {
    let shutdown = Shutdown::new(Duration::from_secs(25));
    tokio::select! {
        ending = stage.run(&shutdown) => panic!("{ending:?}"),
        () = test(stage) => {}
    }
}

/// Lists and, of these, those that had not changed, within five minutes.
async fn lists(stage: &Stage) -> (u64, u64) {
    let now = || {
        let world = stage.source.world();
        (world.lists, world.unchanged)
    };
    let before = now();
    sleep(Duration::from_secs(300)).await;
    (now().0 - before.0, now().1 - before.1)
}

/// Each has run once.
fn assert_once(stage: &Stage, items: usize) {
    let history = stage.executor.history();
    assert_eq!((history.by_item().len(), history.runs.len()), (items, items), "{:?}", history.by_item().keys());
}

/// Watched, with nothing of it known to the test yet; gives what was asked for until then.
async fn watched(teller: &Teller) -> Asked {
    until("it is watched", async || teller.shelf().watchers() == 1).await;
    teller.shelf().asked
}

#[tokio::test]
async fn what_is_added_runs_without_any_list() {
    let (teller, stage) = (Teller::new(&["a", "b"]).await, stage(|_| 0));
    beside(&stage, source(&teller.url()), async |stage| {
        done(stage, 2).await;
        let before = watched(&teller).await;
        // The price of a start: a list to see where it is, one to see what it shows, who it is, and the watch.
        assert_eq!(before, Asked { about: 1, lists: 2, watches: 1, ..Asked::default() });
        for n in 0..20 {
            teller.shelf().list(&[&format!("new-{n}")]);
            done(stage, 3 + n).await;
        }
        assert_eq!(teller.shelf().asked, before, "it was told");
        assert_eq!(stage.counted("longshore_manager_source_watched"), "1");
        assert_eq!(stage.counted("longshore_manager_watch_events_total{type=\"added\"}"), "20");
    })
    .await;
    assert_once(&stage, 22);
    assert_eq!(stage.counted("longshore_manager_source_watched"), "0");
}

/// What ends a watch, and how the manager counts that.
const BREAKS: [(&str, &str); 9] = [
    ("closed", "ended"),
    ("reset in the middle of a line", "unreachable"),
    ("no JSON", "broken"),
    ("no event", "broken"),
    ("too slow", "lagged"),
    ("blind", "blind"),
    ("of another incarnation", "restarted"),
    ("started again", "ended"),
    ("cut off", "unreachable"),
];

#[tokio::test]
async fn each_way_a_watch_can_break_costs_one_list_and_loses_nothing() {
    for (how, cause) in BREAKS {
        let (teller, stage) = (Teller::new(&["a", "b"]).await, stage(|_| 0));
        beside(&stage, source(&teller.url()), async |stage| {
            done(stage, 2).await;
            let before = watched(&teller).await;
            {
                let mut shelf = teller.shelf();
                let error = |code: u16, reason: &str| {
                    let status = serde_json::json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason,
                                                    "message": "m", "code": code});
                    format!("{}\n", serde_json::json!({"type": "ERROR", "status": status}))
                };
                // Listed in the moment in which nobody tells.
                shelf.list_silently(&["missed"]);
                match how {
                    "closed" => shelf.end(),
                    "reset in the middle of a line" => {
                        shelf.say("{\"type\":\"ADDED\",\"item\":\"mis");
                        shelf.cut();
                    }
                    "no JSON" => shelf.say("<html>\n"),
                    "no event" => shelf.say("{\"type\":\"ADDED\",\"resourceVersion\":\"a.9\"}\n"),
                    "too slow" => shelf.say(error(410, "Expired")),
                    "blind" => shelf.say(error(503, "ServiceUnavailable")),
                    "of another incarnation" => {
                        shelf.say("{\"type\":\"ADDED\",\"item\":\"never\",\"resourceVersion\":\"b.9\"}\n");
                    }
                    "started again" => shelf.restart("b"),
                    _ => shelf.cut(),
                }
            }
            done(stage, 3).await;
            until("it is watched again", async || teller.shelf().watchers() == 1).await;
            teller.shelf().list(&["after"]);
            done(stage, 4).await;
            let asked = teller.shelf().asked;
            let doubted = u64::from(!matches!(cause, "lagged" | "blind" | "restarted"));
            let price = Asked { about: before.about + doubted, lists: before.lists + 1, watches: before.watches + 1, ..before };
            assert_eq!(asked, price, "{how}");
            assert_eq!(stage.counted(&format!("longshore_manager_relists_total{{cause=\"{cause}\"}}")), "1", "{how}");
            assert_eq!(stage.health.obstacles(), [], "{how}");
        })
        .await;
        assert_once(&stage, 4);
    }
}

#[tokio::test]
async fn a_watch_that_falls_silent_is_given_up() {
    let (teller, stage) = (Teller::new(&["a"]).await, stage(|_| 0));
    let limits = Limits { watch_idle: Duration::from_millis(300), ..Limits::default() };
    let source = HttpSource::new(teller.url().parse().expect("an address"), limits);
    beside(&stage, source, async |stage| {
        done(stage, 1).await;
        teller.shelf().list_silently(&["untold"]);
        done(stage, 2).await;
    })
    .await;
    assert_once(&stage, 2);
}

#[tokio::test]
async fn a_source_that_cannot_be_watched_is_asked_for_its_list() {
    // 501 is believed at once; what else refuses a watch may change its mind.
    for (watches, asked_again) in [
        (Watches::Refused(501), false),
        (Watches::Refused(410), true),
        (Watches::Refused(503), true),
        (Watches::Refused(429), true),
        (Watches::Ignored, true),
    ] {
        let (teller, mut stage) = (Teller::new(&["a"]).await, stage(|_| 0));
        stage.settings.poll = Duration::from_millis(50);
        teller.shelf().watches = watches;
        beside(&stage, source(&teller.url()), async |stage| {
            done(stage, 1).await;
            let before = teller.shelf().asked;
            until("it was polled", async || teller.shelf().asked.lists >= before.lists + 10).await;
            let asked = teller.shelf().asked;
            assert_eq!(asked.watches > 2, asked_again, "{watches:?}: {asked:?}");
            assert!(asked.watches <= asked.lists, "{watches:?}: {asked:?}");
            teller.shelf().list(&["polled"]);
            done(stage, 2).await;
            teller.shelf().watches = Watches::Told;
            if asked_again {
                watched(&teller).await;
            }
            assert_eq!(stage.health.obstacles(), []);
        })
        .await;
        assert_once(&stage, 2);
    }
}

#[tokio::test]
async fn a_source_that_does_not_offer_to_be_watched_never_hears_of_it() {
    let (teller, mut stage) = (Teller::new(&["a"]).await, stage(|_| 0));
    stage.settings.poll = Duration::from_millis(20);
    teller.shelf().offers = false;
    beside(&stage, source(&teller.url()), async |stage| {
        done(stage, 1).await;
        teller.shelf().list(&["b"]);
        done(stage, 2).await;
        until("it is polled", async || teller.shelf().asked.unchanged > 3).await;
        assert_eq!(teller.shelf().asked.watches, 0);
    })
    .await;
}

#[tokio::test]
async fn what_is_told_twice_or_in_any_order_is_done_once_and_what_is_over_stays_over() {
    let stage = stage(|attempt| if attempt.item.as_str() == "bad" { 65 } else { 0 });
    let teller = Teller::new(&["a", "bad"]).await;
    beside(&stage, source(&teller.url()), async |stage| {
        let over = async |items| {
            until("all are over", async || {
                let tally = stage.ledger.tally().await.expect("reads");
                tally.done + tally.dead == items && tally.running == 0
            })
            .await;
        };
        over(2).await;
        let before = watched(&teller).await;
        {
            let mut shelf = teller.shelf();
            let event = |kind: &str, item: &str, revision: usize| {
                format!("{{\"type\":\"{kind}\",\"item\":\"{item}\",\"resourceVersion\":\"a.{revision}\"}}\n")
            };
            shelf.list_silently(&["late", "again"]);
            let lines = [
                // Known, done and dead long since.
                event("ADDED", "a", 1),
                event("ADDED", "bad", 2),
                // Taken away before it was added, and after.
                event("REMOVED", "again", 5),
                event("ADDED", "again", 4),
                event("ADDED", "late", 3),
                event("REMOVED", "late", 4),
                event("ADDED", "late", 5),
                event("ADDED", "late", 5),
                event("REMOVED", "never-heard-of", 6),
            ];
            shelf.say(lines.concat());
            shelf.say(lines.concat());
        }
        over(4).await;
        assert_eq!(teller.shelf().asked, before);
        let states: Vec<_> =
            stage.records().await.into_iter().map(|record| (record.state, record.absent_since)).collect();
        let done = (State::Done, None);
        assert_eq!(states, [done, (State::Dead, None), done, done], "nothing is absent by what a watch says");
    })
    .await;
    assert_once(&stage, 4);
}

#[tokio::test]
async fn what_is_taken_away_before_its_turn_is_found_out_by_a_list() {
    let (teller, mut stage) = (Teller::new(&[]).await, stage(|_| 0));
    stage.settings.poll = Duration::from_millis(200);
    stage.ledger.pause(true).await.expect("writes");
    beside(&stage, source(&teller.url()), async |stage| {
        watched(&teller).await;
        teller.shelf().list(&["gone", "stays"]);
        until("both wait", async || stage.ledger.tally().await.expect("reads").todo == 2).await;
        let before = teller.shelf().asked;
        teller.shelf().remove("gone");
        until("one is absent", async || stage.ledger.tally().await.expect("reads").absent == 1).await;
        assert_eq!(teller.shelf().asked.lists, before.lists + 1);
        stage.ledger.pause(false).await.expect("writes");
        done(stage, 1).await;
        // It comes back as it was.
        teller.shelf().list(&["gone"]);
        done(stage, 2).await;
    })
    .await;
    assert_once(&stage, 2);
}

#[tokio::test]
async fn a_hundred_thousand_at_once_are_planned_as_pages() {
    let (teller, stage) = (Teller::new(&[]).await, stage(|_| 0));
    stage.ledger.pause(true).await.expect("writes");
    beside(&stage, source(&teller.url()), async |stage| {
        let before = watched(&teller).await;
        let names: Vec<_> = (0..100_000).map(|n| format!("item-{n}")).collect();
        teller.shelf().list(&names.iter().map(String::as_str).collect::<Vec<_>>());
        until("all wait", async || stage.ledger.tally().await.expect("reads").todo == 100_000).await;
        assert_eq!(teller.shelf().asked, before);
    })
    .await;
}

#[tokio::test]
async fn a_token_that_changes_is_read_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("token");
    std::fs::write(&file, "first\n").expect("written");
    let (teller, mut stage) = (Teller::new(&["a"]).await, stage(|_| 0));
    stage.settings.poll = Duration::from_millis(100);
    teller.shelf().token = Some("first".into());
    let endpoint: Endpoint = teller.url().parse().expect("an address");
    let source = HttpSource::new(endpoint.with_token_file(Some(file.clone())), Limits::default());
    beside(&stage, source, async |stage| {
        done(stage, 1).await;
        watched(&teller).await;
        teller.shelf().token = Some("second".into());
        std::fs::write(&file, "second\n").expect("written");
        // What is told by the old connection is asked for with the old token, once.
        teller.shelf().list(&["b"]);
        until("it was refused", async || teller.shelf().asked.refused > 0).await;
        teller.shelf().list(&["c"]);
        until("the other is done", async || stage.ledger.tally().await.expect("reads").done >= 2).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_list_that_has_not_changed_is_not_walked_again_and_counts_as_complete() {
    let mut stage = slow_stage(30);
    stage.source.world().watched = false;
    stage.settings.forget_after = Duration::from_secs(200);
    for_a_while(&stage, async |stage| {
        sleep(Duration::from_secs(30)).await;
        let (asked, unchanged) = lists(stage).await;
        assert_eq!(asked, unchanged, "and each is one request");
        assert!((55..65).contains(&asked), "{asked}");
        // One goes: the list is walked once, a page at a time, and the item ages by lists that say nothing but that.
        stage.source.world().listed.remove(0);
        sleep(Duration::from_secs(100)).await;
        let (item, _) = stage.ledger.show(&name(0)).await.expect("reads").expect("is remembered");
        assert!(item.absent_since.is_some());
        let (asked, unchanged) = lists(stage).await;
        assert_eq!(asked, unchanged);
        assert_eq!(stage.ledger.show(&name(0)).await.expect("reads"), None, "it was absent for long enough");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn behind_a_watch_a_list_is_asked_for_now_and_then() {
    let mut stage = slow_stage(30);
    stage.settings.resync = Duration::from_secs(60);
    for_a_while(&stage, async |stage| {
        sleep(Duration::from_secs(30)).await;
        let (asked, unchanged) = lists(stage).await;
        assert_eq!(asked, unchanged);
        assert!((4..=6).contains(&asked), "{asked}");
        // Until the source cannot see all of itself, which no watch tells.
        stage.source.world().incomplete = true;
        sleep(Duration::from_secs(70)).await;
        let (asked, _) = lists(stage).await;
        assert!(asked > 55 * 5, "each of five pages: {asked}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_always_breaks_comes_down_to_polling() {
    let stage = slow_stage(0);
    stage.source.world().trouble.breaks = 1.0;
    for_a_while(&stage, async |stage| {
        // Each change breaks the watch, and there is one each second.
        let change = async |seconds: std::ops::Range<usize>| {
            for n in seconds {
                sleep(Duration::from_secs(1)).await;
                stage.source.world().listed = vec![name(n)];
            }
        };
        change(0..30).await;
        let before = stage.source.world().asked;
        change(30..330).await;
        let asked = stage.source.world().asked - before;
        // Each time a list, a watch and an item.
        assert!((100..420).contains(&asked), "asked {asked} times in five minutes");
    })
    .await;
    stage.check_promises(4);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_shows_what_is_to_be_settled_is_walked_though_it_has_not_changed() {
    let mut stage = slow_stage(3);
    stage.settings.resync = Duration::from_secs(60);
    (stage.source.world().settles, stage.source.world().deaf) = (true, true);
    for_a_while(&stage, async |stage| {
        done(stage, 3).await;
        sleep(Duration::from_secs(200)).await;
        assert_eq!(stage.source.world().settled, []);
        // What could not be told is told at the pace of --poll, and again a while later as long as it is listed.
        stage.source.world().deaf = false;
        sleep(Duration::from_secs(10)).await;
        assert_eq!(stage.source.world().settled.len(), 3);
        sleep(Duration::from_secs(200)).await;
        assert!(stage.source.world().settled.len() >= 6);
        stage.source.world().takes_away = true;
        sleep(Duration::from_secs(200)).await;
        assert_eq!(stage.source.world().listed, []);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_watched_source_is_worked_through_to_its_end_in_no_more_lists_than_it_takes() {
    let mut stage = slow_stage(40);
    stage.settings.until_empty = true;
    let later = async {
        sleep(Duration::from_secs(5)).await;
        stage.source.world().listed.extend((40..50).map(name));
    };
    let began = tokio::time::Instant::now();
    let (ending, ()) = tokio::join!(stage.finish(), later);
    assert_eq!((ending.exit_code(), ending.summary().done), (0, 50));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let world = stage.source.world();
    // What is there, in pages; what is there at the end, in pages; and once more when that was no news.
    assert!(world.lists <= 6 + 8 + 1, "{}", world.lists);
}

#[tokio::test(start_paused = true)]
async fn the_first_run_leaves_alone_what_a_watch_shows_before_the_first_list_is_complete() {
    let mut stage = slow_stage(3);
    stage.settings.skip_first = true;
    stage.source.world().incomplete = true;
    for_a_while(&stage, async |stage| {
        sleep(Duration::from_secs(20)).await;
        // A first scan comes upon more.
        stage.source.world().listed.extend((3..9).map(name));
        sleep(Duration::from_secs(20)).await;
        stage.source.world().incomplete = false;
        sleep(Duration::from_secs(20)).await;
        stage.source.world().listed.push(name(9));
        done(stage, 1).await;
        assert_eq!(stage.ledger.tally().await.expect("reads").skipped, 9);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_is_added_while_the_first_list_is_walked_is_new() {
    // Also where the source had to be watched before it could see all of itself.
    for scanned in [true, false] {
        let mut stage = slow_stage(100);
        stage.settings.skip_first = true;
        stage.source.world().trouble.latency = Duration::from_secs(2);
        stage.source.world().incomplete = !scanned;
        for_a_while(&stage, async |stage| {
            let lists = async |lists: u64| {
                until("a walk is under way", async || stage.source.world().lists >= lists).await;
            };
            let mut walks = 0;
            if !scanned {
                lists(15).await;
                stage.source.world().incomplete = false;
                walks = 15;
            }
            lists(walks + 2).await;
            // One where the walk has been, and one that was there, was taken away, and is put back before any walk meets it.
            let new = if scanned { vec![name(200), name(95)] } else { vec![name(200)] };
            stage.source.world().listed.retain(|listed| !new.contains(listed));
            sleep(Duration::from_millis(300)).await;
            stage.source.world().listed.splice(0..0, new.iter().cloned());
            sleep(Duration::from_secs(300)).await;
            let tally = stage.ledger.tally().await.expect("reads");
            assert_eq!((tally.done, tally.skipped), if scanned { (2, 99) } else { (1, 100) }, "{scanned}: {tally:?}");
            let history = stage.executor.history();
            let ran = history.by_item();
            assert!(new.iter().all(|name| ran.contains_key(name)), "{scanned}: {:?}", ran.keys());
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_does_not_come_is_waited_for_as_long_as_was_said() {
    let mut stage = slow_stage(3);
    stage.source.world().trouble.fails = 1.0;
    stage.settings.until_empty = true;
    stage.settings.source_wait = Some(Duration::from_secs(600));
    let began = tokio::time::Instant::now();
    let ending = stage.finish().await;
    assert!(matches!(ending, Ending::Unreachable(_)) && ending.exit_code() == 69, "{ending:?}");
    let took = began.elapsed().as_secs();
    assert!((600..605).contains(&took), "{took}");

    // One that comes late is in time, and the wait begins anew when it goes.
    let comes_and_goes = async {
        for fails in [0.0, 1.0, 0.0] {
            sleep(Duration::from_secs(500)).await;
            stage.source.world().trouble.fails = fails;
            stage.source.world().pending = u64::from(fails == 0.0 && stage.executor.history().runs.is_empty());
        }
    };
    let (ending, ()) = tokio::join!(stage.finish(), comes_and_goes);
    assert_eq!((ending.exit_code(), ending.summary().done), (0, 3));
}

#[tokio::test(start_paused = true)]
async fn what_is_added_behind_a_walks_back_is_listed_all_the_same() {
    let stage = slow_stage(100);
    stage.source.world().trouble.latency = Duration::from_secs(2);
    for_a_while(&stage, async |stage| {
        until("a walk is under way", async || stage.source.world().lists >= 2).await;
        // Where the walk has been already: it will not meet it, and ends as a complete list.
        stage.source.world().listed.insert(0, name(200));
        let known = async || stage.ledger.show(&name(200)).await.expect("reads");
        until("it is told", async || known().await.is_some()).await;
        assert!(stage.source.world().lists < 15, "the walk is over");
        until("the walk is over", async || stage.source.world().lists >= 15).await;
        sleep(Duration::from_secs(20)).await;
        assert_eq!(known().await.map(|(item, _)| item.absent_since), Some(None));
    })
    .await;
}
