//! One suite, three shapes of sources.

use ambassador_kit::conformance::{self, Outcome, Plan, Verdict};
use ambassador_kit::router::{Options, router};

use crate::sources::{Log, Queue, Shelf};

async fn verdicts<S: ambassador_kit::Source>(source: std::sync::Arc<S>) -> Vec<Verdict> {
    let plan = Plan { settle: true, ..Plan::default() };
    let verdicts = conformance::run(router(source, Options::default()), plan).await;
    conformance::assert_kept(&verdicts);
    verdicts
}

/// Promises that were not put to the test.
fn skipped(verdicts: &[Verdict]) -> Vec<&'static str> {
    let skipped = verdicts.iter().filter(|verdict| matches!(verdict.outcome, Outcome::NotOffered(_)));
    skipped.map(|verdict| verdict.promise).collect()
}

#[tokio::test(start_paused = true)]
async fn a_catalog_keeps_every_promise() {
    let skipped = skipped(&verdicts(Shelf::with(5_000)).await);
    let elsewhere = [
        "etag.incomplete",
        "withheld.paged",
        "withheld.complete",
        "item.slashes",
        "watch.refused",
        "auth",
        "settle.refused",
        "error.unavailable",
    ];
    let wanting: Vec<_> = skipped.into_iter().filter(|promise| !elsewhere.contains(promise)).collect();
    assert!(wanting.is_empty(), "{wanting:?}");
}

#[tokio::test(start_paused = true)]
async fn a_list_of_ten_million_that_is_nowhere_keeps_every_promise() {
    let skipped = skipped(&verdicts(Log::with(10_000_000)).await);
    assert!(skipped.contains(&"settle.done") && !skipped.contains(&"settle.refused"), "{skipped:?}");
    assert!(skipped.contains(&"watch.start") && !skipped.contains(&"watch.refused"), "{skipped:?}");
    for promise in ["list.order", "page.joined", "page.rest", "gzip", "item.data", "error.status"] {
        assert!(!skipped.contains(&promise), "{promise}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_window_of_leases_keeps_every_promise() {
    let skipped = skipped(&verdicts(Queue::with(500, 20)).await);
    for promise in ["list.reading", "page.joined", "page.remaining", "settle.outcome", "settle.any", "settle.done"] {
        assert!(!skipped.contains(&promise), "{promise}");
    }
}
