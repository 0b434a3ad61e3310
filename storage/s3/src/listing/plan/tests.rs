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

/// Everything a walk shows, and in how many rounds of requests at once.
fn walk(
    store: &mut Store,
    prefix: &str,
    bounds: (Option<&str>, Option<&str>),
    parallelism: usize,
    lifo: bool,
) -> (Vec<String>, u64) {
    let mut plan = Plan::new(prefix, bounds.0.map(str::to_owned), bounds.1.map(str::to_owned), parallelism);
    let (mut shown, mut rounds, mut asked) = (Vec::new(), 0, Vec::new());
    loop {
        while let Some(part) = plan.next() {
            asked.push(part);
        }
        if asked.is_empty() {
            return (shown, rounds);
        }
        rounds += 1;
        // Answers may come in any order: here all at once, the first or the last asked for first.
        let mut answers = std::mem::take(&mut asked);
        if lifo {
            answers.reverse();
        }
        for part in answers {
            let page = store.list(prefix, &part);
            shown.extend(
                plan.answered(part, page, Duration::ZERO).expect("is in order").into_iter().map(|object| object.key),
            );
        }
    }
}

fn once(store: &mut Store, prefix: &str, bounds: (Option<&str>, Option<&str>), parallelism: usize, lifo: bool) -> u64 {
    let (mut shown, rounds) = walk(store, prefix, bounds, parallelism, lifo);
    shown.sort_unstable();
    let inside = |key: &&String| {
        key.starts_with(prefix)
            && bounds.0.is_none_or(|after| key.as_str() > after)
            && bounds.1.is_none_or(|until| key.as_str() <= until)
    };
    let expected: Vec<String> = store.keys.iter().filter(inside).cloned().collect();
    assert!(shown == expected, "shown {} of {}", shown.len(), expected.len());
    rounds
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
        assert_eq!((alone, asked_alone), (100, 100), "{shape}");
        for lifo in [false, true] {
            store.asked = 0;
            let rounds = once(&mut store, "", (None, None), 8, lifo);
            assert!(store.asked <= 100 + 25 + 4 + 8, "{shape} took {} requests", store.asked);
            assert!(rounds <= 50, "{shape} took {rounds} rounds");
        }
    }
}

#[test]
fn where_a_cut_is_dear_few_are_made() {
    let mut store = Store::new((0..100_000).map(|n| format!("key-{n:08}")), 1_000);
    let mut plan = Plan::new("", None, None, 8);
    let mut shown = 0;
    let mut asked = VecDeque::new();
    loop {
        while let Some(part) = plan.next() {
            asked.push_back(part);
        }
        let Some(part) = asked.pop_front() else { break };
        // What MinIO does in a directory of many: it reads all of it for each request that does not go on from a page.
        let took = Duration::from_millis(if part.token.is_some() { 30 } else { 120 });
        let page = store.list("", &part);
        shown += plan.answered(part, page, took).expect("is in order").len();
    }
    assert_eq!(shown, 100_000);
    assert!((101..112).contains(&store.asked), "{} requests", store.asked);
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
    let part = plan.next().expect("goes on");
    plan.answered(part, page(&["c", "d"], true), Duration::ZERO).expect("is in order");
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
