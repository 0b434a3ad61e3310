//! Each promise is broken by itself, so that no check of the suite can pass whatever it is shown, or fail for another's sake.

mod proxy;
mod saboteurs;
mod strangers;
mod worlds;

use std::collections::BTreeSet;

use self::saboteurs::{MORE, SABOTEURS, Saboteur};
use ambassador_kit::conformance::{self, Outcome, PROMISES, Plan, Verdict};

/// What is asked of a saboteur: everything; with the token where that is what it guards badly.
fn plan(promise: &str) -> Plan {
    Plan { settle: true, token: (promise == "auth").then(worlds::token), ..Plan::default() }
}

fn broken(verdicts: &[Verdict]) -> BTreeSet<&'static str> {
    let broken = verdicts.iter().filter(|verdict| matches!(verdict.outcome, Outcome::Broken(_)));
    broken.map(|verdict| verdict.promise).collect()
}

fn shown(verdicts: &[Verdict]) -> String {
    verdicts.iter().filter(|one| one.outcome != Outcome::Kept).map(|one| format!("\n  {one}")).collect()
}

#[test]
fn every_promise_has_a_saboteur() {
    let mut sabotaged: Vec<&str> = SABOTEURS.iter().map(|(promise, _)| *promise).collect();
    let mut promised: Vec<&str> = PROMISES.iter().map(|promise| promise.name).collect();
    sabotaged.sort_unstable();
    promised.sort_unstable();
    assert_eq!(sabotaged, promised);
}

#[tokio::test(start_paused = true)]
async fn whoever_breaks_a_promise_is_found_to_break_just_that() {
    let mut wrong = String::new();
    for (promise, saboteur) in SABOTEURS {
        let verdicts = conformance::run(saboteur(), plan(promise)).await;
        if broken(&verdicts) != BTreeSet::from([promise]) {
            wrong += &format!("\nthe saboteur of {promise}:{}", shown(&verdicts));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[tokio::test(start_paused = true)]
async fn other_ways_of_breaking_a_promise_are_found_too() {
    for (n, (promise, saboteur)) in MORE.iter().enumerate() {
        let verdicts = conformance::run(saboteur(), plan(promise)).await;
        assert!(broken(&verdicts).contains(promise), "way {n}, of {promise}:{}", shown(&verdicts));
    }
}

#[tokio::test(start_paused = true)]
async fn the_sources_that_are_sabotaged_keep_every_promise_by_themselves() {
    let worlds: [(&str, Saboteur); 9] = [
        ("shelf", worlds::shelf),
        ("unwatched", worlds::unwatched),
        ("slashed", worlds::slashed),
        ("withholding", worlds::withholding),
        ("unseeing", worlds::unseeing),
        ("guarded", worlds::guarded),
        ("queue", worlds::queue),
        ("log", worlds::log),
        ("untouched by a proxy", || proxy::Proxy::over(worlds::shelf()).router()),
    ];
    for (world, make) in worlds {
        let verdicts = conformance::run(make(), plan(if world == "guarded" { "auth" } else { "" })).await;
        assert!(broken(&verdicts).is_empty(), "{world}:{}", shown(&verdicts));
    }
}

#[test]
#[should_panic(expected = "fail         item: they differ; a is b")]
fn a_broken_promise_fails_the_test_that_asks() {
    let verdict = |promise, outcome| Verdict { promise, says: "they differ", outcome };
    conformance::assert_kept(&[
        verdict("list", Outcome::Kept),
        verdict("about", Outcome::NotOffered("GET /v1 is 404".into())),
        verdict("item", Outcome::Broken("a is b".into())),
    ]);
}
