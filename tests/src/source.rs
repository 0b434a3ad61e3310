//! A source in this process, and what is asked of it: what is measured is not HTTP, or what is looked at is not shown by it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ambassador_kit::conformance::{self, Plan};
use ambassador_kit::router::{Options, router};
use ambassador_kit::source::{Health, Outcome, Source};
use contract::ItemName;
use contract::wire::Withheld;
use futures_util::StreamExt;

use crate::numbered;
use crate::supervised::{DEADLINE, until};

/// Waits until it sees what it serves.
///
/// # Panics
/// After [`DEADLINE`], with what it is instead.
pub async fn live(source: &impl Source) {
    let mut health = source.health();
    let seen = tokio::time::timeout(DEADLINE, health.wait_for(|health| *health == Health::Live)).await;
    seen.unwrap_or_else(|_| panic!("not live in time: {:?}", *source.health().borrow())).expect("the source lives");
}

/// Everything listed, page by page.
pub async fn names(source: &impl Source) -> Vec<ItemName> {
    let (mut names, mut from) = (Vec::new(), None);
    loop {
        let page = source.page(from, 1_000).await.expect("a page");
        names.extend(page.items);
        match page.next {
            Some(next) => from = Some(next),
            None => return names,
        }
    }
}

/// Waits until so many are listed.
pub async fn listed(source: &impl Source, count: usize) -> Vec<ItemName> {
    until(&format!("{count} items"), async || Some(names(source).await).filter(|names| names.len() == count)).await
}

/// Everything withheld.
pub async fn withheld(source: &impl Source) -> Vec<Withheld> {
    source.withheld(None, 10_000).await.expect("what is withheld").items
}

/// Asks it for every promise of the contract, and settles items of it where that is offered. At least so many promises are put to the
/// test; the others are not of such a source.
///
/// # Panics
/// If one is broken.
pub async fn keeps_the_contract(source: impl Source, settle: bool, least: usize) {
    // A silent watch says something after half of it.
    let options = Options { deadline: Duration::from_secs(8), ..Options::default() };
    let verdicts = conformance::run(router(Arc::new(source), options), Plan { settle, ..Plan::default() }).await;
    conformance::assert_kept(&verdicts);
    let kept = verdicts.iter().filter(|verdict| verdict.outcome == conformance::Outcome::Kept).count();
    assert!(kept >= least, "most were put to the test, not {kept}: {verdicts:#?}");
}

/// Works on all that comes, many at once, until there is nothing left: the values were [`numbered`] from 0, and each was settled once.
///
/// # Panics
/// If it was not so.
pub async fn gives_each_once<S: Source>(source: S, count: usize) {
    /// So many may take as long as anything that is waited for.
    const STEP: usize = 5_000;
    /// Names of a page, and items worked on at once.
    const MOST: usize = 2_000;
    const HANDS: usize = 32;
    let source = Arc::new(source);
    let mut settled = HashMap::<String, usize>::new();
    for share in (STEP..=count).step_by(STEP) {
        until(&format!("{share} that are settled"), async || {
            let page = source.page(None, MOST).await.expect("a page");
            let values =
                futures_util::stream::iter(page.items.into_iter().map(|name| settle(Arc::clone(&source), name)));
            for value in values.buffer_unordered(HANDS).collect::<Vec<_>>().await {
                *settled.entry(value).or_default() += 1;
            }
            (settled.len() >= share).then_some(())
        })
        .await;
    }
    until("nothing that is left", async || {
        let page = source.page(None, MOST).await.expect("a page");
        (page.items.is_empty() && page.complete && page.backlog == Some(0)).then_some(())
    })
    .await;
    source.drain().await;
    assert!(settled.values().all(|times| *times == 1), "some were settled twice");
    let all = numbered(0..count);
    assert!(settled.len() == count && all.iter().all(|value| settled.contains_key(value)), "all of them, and no other");
}

/// The value of an item that is listed, and is settled now.
async fn settle<S: Source>(source: Arc<S>, name: ItemName) -> String {
    let item = source.get(&name).await.expect("what is listed is there");
    source.settle(&name, &Outcome::Done).await.expect("nothing is in the way");
    item.data.get("value").and_then(serde_json::Value::as_str).expect("text").to_owned()
}
