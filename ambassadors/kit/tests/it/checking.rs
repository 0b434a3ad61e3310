//! `--check`: what is said, and the exit code.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ambassador_kit::Source;
use ambassador_kit::serve::check;
use ambassador_kit::source::Health;
use sidecar::{Failure, Shutdown};

use crate::sources::{Mood, Queue, Shelf, Unruly};

async fn checked<S: Source>(source: &Arc<S>, deadline: Duration) -> (Result<ExitCode, Failure>, String) {
    let mut said = Vec::new();
    let ended = check(&**source, deadline, &Shutdown::default(), &mut said).await;
    (ended, String::from_utf8(said).expect("UTF-8"))
}

fn failed(ended: Result<ExitCode, Failure>) -> (u8, String) {
    let failure = ended.expect_err("it cannot be seen");
    (failure.code(), failure.to_string())
}

const SOON: Duration = Duration::from_millis(100);

#[tokio::test]
async fn it_says_what_would_be_listed_and_what_not() {
    let shelf = Shelf::with(23);
    for number in 0..7 {
        let why = ambassador_kit::catalog::Why { reason: "excluded", message: "by *.tmp".into(), pending: false };
        shelf.catalog.withhold(format!("\u{1b}[2J{number}.tmp").as_bytes(), why);
    }
    let (ended, said) = checked(&shelf, SOON).await;
    assert_eq!(ended.expect("all was seen"), ExitCode::SUCCESS);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "test-ambassador 0.0.0, in the order of age");
    assert!(lines[1].starts_with("  file-0-mp4-") && lines[1].ends_with("  file 0.mp4"), "{}", lines[1]);
    assert_eq!(lines[21..23], ["  and 3 more", "23 would be listed"]);
    assert_eq!(lines[23], "  excluded  \\u{1b}[2J0.tmp  by *.tmp");
    assert_eq!(lines[28..], ["  excluded  and 2 more", "  hidden  .hidden  its name begins with a dot", "8 withheld"]);
}

#[tokio::test]
async fn what_cannot_be_seen_is_69_and_says_why() {
    let lost = Unruly::new(Mood::Calm, Mood::Calm);
    lost.health.send_replace(Health::Lost { why: "the root is gone".into() });
    assert_eq!(failed(checked(&lost, SOON).await.0), (69, "the source cannot be seen: the root is gone".into()));
    assert_eq!(lost.drained.load(Ordering::SeqCst), 1);

    let starting = Unruly::new(Mood::Calm, Mood::Calm);
    starting.health.send_replace(Health::Starting);
    let (code, why) = failed(checked(&starting, SOON).await.0);
    assert!(code == 69 && why.contains("longer than 100ms"), "{why}");

    for (mood, want) in [(Mood::Hang, "did not answer within 100ms"), (Mood::Partial, "a part of the source")] {
        let (code, why) = failed(checked(&Unruly::new(mood, Mood::Calm), SOON).await.0);
        assert!(code == 69 && why.contains(want), "{why}");
    }
}

#[tokio::test]
async fn it_waits_for_the_first_look_and_gives_back_what_it_took() {
    let shelf = Shelf::with(1);
    shelf.health.send_replace(Health::Starting);
    let checking = tokio::spawn({
        let shelf = Arc::clone(&shelf);
        async move { checked(&shelf, Duration::from_secs(20)).await }
    });
    tokio::task::yield_now().await;
    shelf.health.send_replace(Health::Live);
    assert!(checking.await.expect("no panic").0.is_ok());

    let queue = Queue::with(10, 4);
    assert!(checked(&queue, SOON).await.1.contains("4 would be listed"));
    assert_eq!(queue.rest().1, 10, "all wait again");
}
