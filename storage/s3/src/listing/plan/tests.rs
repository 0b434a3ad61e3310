use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// A store of keys that answers `page` of them at a time, and how often it was asked.
struct Store {
    keys: BTreeSet<String>,
    page: usize,
    asked: u64,
}

impl Store {
    fn new(keys: impl IntoIterator<Item = String>, page: usize) -> Self {
        Self { keys: keys.into_iter().collect(), page, asked: 0 }
    }

    fn list(&mut self, prefix: &str, part: &Part) -> ListPage {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        self.asked += 1;
        let from = match part.after.as_deref() {
            Some(after) if after >= prefix => Excluded(after.to_owned()),
            _ => Included(prefix.to_owned()),
        };
        let mut rest = self.keys.range((from, Unbounded)).take_while(|key| key.starts_with(prefix));
        let objects: Vec<_> = rest.by_ref().take(self.page).map(|key| listed(key)).collect();
        let next = rest.next().map(|_| "more".to_owned());
        ListPage { objects, next, ..ListPage::default() }
    }
}

fn listed(key: &str) -> Listed {
    Listed {
        key: key.to_owned(),
        size: 0,
        etag: String::new(),
        version_id: None,
        last_modified: None,
        storage_class: None,
    }
}

/// Milliseconds that a store takes for an answer which it has only to bring from far away.
const TRIP: u64 = 100;

/// What became of a walk.
struct Walked {
    shown: Vec<String>,
    /// Milliseconds that it took.
    took: u64,
    /// The most requests that there were at once.
    at_once: usize,
}

/// Everything a walk shows. `due` says when what is asked for now is answered, in milliseconds; of what is due at the same time the
/// first asked for comes first, or the last.
fn walk(
    store: &mut Store,
    prefix: &str,
    bounds: (Option<&str>, Option<&str>),
    parallelism: usize,
    lifo: bool,
    mut due: impl FnMut(u64, &Part) -> u64,
) -> Walked {
    let mut plan = Plan::new(prefix, bounds.0.map(str::to_owned), bounds.1.map(str::to_owned), parallelism);
    let mut walked = Walked { shown: Vec::new(), took: 0, at_once: 0 };
    let mut asked: Vec<(u64, u64, Part)> = Vec::new();
    loop {
        while let Some(part) = plan.next() {
            asked.push((due(walked.took, &part), walked.took, part));
        }
        walked.at_once = walked.at_once.max(asked.len());
        let first = asked.iter().map(|(due, ..)| *due).min();
        let at = |(due, ..): &(u64, u64, Part)| Some(*due) == first;
        let Some(next) = (if lifo { asked.iter().rposition(at) } else { asked.iter().position(at) }) else {
            return walked;
        };
        let (now, since, part) = asked.remove(next);
        walked.took = now;
        let page = store.list(prefix, &part);
        let objects = plan.answered(part, page, Duration::from_millis(now - since)).expect("is in order");
        walked.shown.extend(objects.into_iter().map(|object| object.key));
    }
}

fn once(
    store: &mut Store,
    prefix: &str,
    bounds: (Option<&str>, Option<&str>),
    parallelism: usize,
    lifo: bool,
) -> Walked {
    once_by(store, prefix, bounds, parallelism, lifo, |now, _| now + TRIP)
}

fn once_by(
    store: &mut Store,
    prefix: &str,
    bounds: (Option<&str>, Option<&str>),
    parallelism: usize,
    lifo: bool,
    due: impl FnMut(u64, &Part) -> u64,
) -> Walked {
    let mut walked = walk(store, prefix, bounds, parallelism, lifo, due);
    walked.shown.sort_unstable();
    let inside = |key: &&String| {
        key.starts_with(prefix)
            && bounds.0.is_none_or(|after| key.as_str() > after)
            && bounds.1.is_none_or(|until| key.as_str() <= until)
    };
    let expected: Vec<String> = store.keys.iter().filter(inside).cloned().collect();
    assert!(walked.shown == expected, "shown {} of {}", walked.shown.len(), expected.len());
    walked
}

/// Shapes that keys have in the wild, 100,000 of each.
fn shapes() -> Vec<(&'static str, Vec<String>)> {
    let n = 0..100_000_u64;
    let spread = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    vec![
        ("numbers", n.clone().map(|n| format!("key-{n:08}")).collect()),
        ("unpadded", n.clone().map(|n| format!("img{n}.jpg")).collect()),
        ("hashes", n.clone().map(|n| format!("{:016x}", spread(n))).collect()),
        ("uuids", n.clone().map(|n| format!("media/{:08x}-{:04x}.mp4", spread(n) >> 32, n & 0xffff)).collect()),
        (
            "dates",
            n.clone().map(|n| format!("logs/{}/{:02}/{:02}/{n:06}.gz", 2020 + n % 5, 1 + n % 12, 1 + n % 28)).collect(),
        ),
        ("folders", n.clone().map(|n| format!("tenant-{:03}/in/{:05}", n % 300, n / 300)).collect()),
        (
            "words",
            n.clone()
                .map(|n| format!("{}/{n}", ["alpha", "beta", "gamma", "omega", "zeta"][(n % 5) as usize]))
                .collect(),
        ),
        (
            "one folder of many",
            n.clone().map(|n| if n < 10 { format!("{n}/a") } else { format!("5/{n:06}") }).collect(),
        ),
        (
            "other alphabets",
            n.map(|n| format!("{}/{n}", char::from_u32(0x4e00 + (spread(n) >> 50) as u32).unwrap_or('x'))).collect(),
        ),
    ]
}

#[test]
fn every_shape_is_shown_once_and_faster_for_a_quarter_more_requests_at_most() {
    for (shape, keys) in shapes() {
        let mut store = Store::new(keys, 1_000);
        let alone = once(&mut store, "", (None, None), 1, false);
        let asked_alone = std::mem::take(&mut store.asked);
        assert_eq!((alone.took / TRIP, asked_alone), (100, 100), "{shape}");
        for lifo in [false, true] {
            store.asked = 0;
            let walked = once(&mut store, "", (None, None), 8, lifo);
            assert!(store.asked <= 100 + 25 + 4 + 8, "{shape} took {} requests", store.asked);
            let rounds = walked.took / TRIP;
            assert!(rounds <= 50, "{shape} took {rounds} rounds");
        }
    }
}

/// A store that has one processor, and works out one answer after another.
fn one_at_a_time(work: impl Fn(&Part) -> u64) -> impl FnMut(u64, &Part) -> u64 {
    let mut free = 0;
    move |now, part| {
        free = now.max(free) + work(part);
        free
    }
}

#[test]
fn where_more_requests_bring_no_more_keys_the_fewest_are_made() {
    for (shape, keys) in shapes() {
        let mut store = Store::new(keys, 1_000);
        let walked = once_by(&mut store, "", (None, None), 8, false, one_at_a_time(|_| 100));
        assert_eq!(walked.at_once, 2, "{shape}: twice as many were tried, and no more");
        assert!(store.asked <= 100 + 6, "{shape} took {} requests", store.asked);
        assert!(walked.took <= 106 * 100, "{shape} took {} ms", walked.took);
    }
}

#[test]
fn where_they_do_all_are_made_after_some_rounds() {
    let mut store = Store::new((0..200_000_u64).map(|n| format!("{:010x}", n * 4_099)), 200);
    let walked = once(&mut store, "", (None, None), 16, false);
    assert_eq!(walked.at_once, 16);
    assert!(walked.took / TRIP <= 1_000 / 16 * 7 / 4, "{} rounds", walked.took / TRIP);
}

#[test]
fn where_a_cut_is_dear_few_are_made() {
    let mut store = Store::new((0..100_000).map(|n| format!("key-{n:08}")), 1_000);
    // What MinIO does in a directory of many: it reads all of it for each request that does not go on from a page.
    let dear = |part: &Part| if part.token.is_some() { 60 } else { 240 };
    once_by(&mut store, "", (None, None), 8, false, |now, part| now + dear(part));
    assert!((101..112).contains(&store.asked), "{} requests", store.asked);
    store.asked = 0;
    let walked = once_by(&mut store, "", (None, None), 8, false, one_at_a_time(dear));
    let alone = 240 + 99 * 60;
    assert!(store.asked <= 106 && walked.took <= alone * 6 / 5, "{} requests, {} ms", store.asked, walked.took);
}

#[test]
fn what_one_page_shows_takes_one_request() {
    for keys in [0, 1, 999, 1_000] {
        let mut store = Store::new((0..keys).map(|n| format!("k{n}")), 1_000);
        once(&mut store, "", (None, None), 16, false);
        assert_eq!(store.asked, 1, "{keys} keys");
    }
    let mut store = Store::new((0..1_001).map(|n| format!("k{n}")), 1_000);
    once(&mut store, "", (None, None), 16, false);
    assert!(store.asked <= 2 + 4 + 1, "{} requests", store.asked);
}

#[test]
fn the_last_character_there_is_can_be_met_anywhere() {
    let last = char::MAX;
    let keys =
        (0..3_000).map(|n| format!("{}{n:04}{}", last.to_string().repeat(n % 4), last.to_string().repeat(n % 3)));
    let mut store = Store::new(keys, 10);
    for (prefix, parallelism) in [("", 8), (last.to_string().as_str(), 8), ("", 64)] {
        once(&mut store, prefix, (None, None), parallelism, false);
    }
}

#[test]
fn a_store_without_order_is_followed_page_by_page_or_not_at_all() {
    let page = |keys: &[&str], next: bool| ListPage {
        objects: keys.iter().map(|key| listed(key)).collect(),
        next: next.then(|| "more".to_owned()),
        ..ListPage::default()
    };
    let mut plan = Plan::new("", None, None, 8);
    let part = plan.next().expect("the first");
    assert_eq!(plan.answered(part, page(&["b", "a"], true), Duration::ZERO).expect("can be followed").len(), 2);
    let part = plan.next().expect("goes on");
    assert!(plan.next().is_none(), "is not cut");
    assert_eq!(plan.answered(part, page(&["0"], false), Duration::ZERO).expect("can be followed").len(), 1);
    assert!(plan.next().is_none(), "is over");

    let mut plan = Plan::new("", None, None, 8);
    let part = plan.next().expect("the first");
    plan.answered(part, page(&["a", "b"], true), Duration::ZERO).expect("is in order");
    for first in 'c'..'z' {
        let part = plan.next().expect("goes on");
        let more = [format!("{first}1"), format!("{first}2")];
        let page = page(&[&more[0], &more[1]], true);
        plan.answered(part, page, Duration::from_millis(100)).expect("is in order");
        if plan.pace.level() > 1 {
            break;
        }
    }
    let _rest = plan.next().expect("goes on");
    let cut = plan.next().expect("is cut");
    assert!(
        plan.answered(cut, page(&["a", "b"], true), Duration::ZERO).is_err(),
        "it does not begin where it was told to"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_keys_are_shown_once(
        keys in prop::collection::btree_set("[a-c0-3/\u{0}\u{7f}\u{d7ff}\u{e000}\u{10ffff}]{0,6}", 0..300),
        prefix in "[a-c/]{0,1}",
        after in prop::option::of("[a-c0-3/\u{10ffff}]{0,3}"),
        until in prop::option::of("[a-c0-3/\u{10ffff}]{0,3}"),
        page in 1_usize..8,
        parallelism in 1_usize..20,
        lifo in any::<bool>(),
    ) {
        let mut store = Store::new(keys, page);
        once(&mut store, &prefix, (after.as_deref(), until.as_deref()), parallelism, lifo);
    }
}
