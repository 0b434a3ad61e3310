use std::sync::Arc;

use futures_util::StreamExt;
use proptest::prelude::*;

use super::*;

fn name(text: &str) -> ItemName {
    ItemName::parse(text).expect("a name")
}

fn why(reason: &'static str) -> Why {
    Why { reason, message: "for a test".into(), pending: false }
}

fn listed(catalog: &Catalog<u64>) -> Vec<String> {
    catalog.page(None, usize::MAX).items.iter().map(ToString::to_string).collect()
}

fn withheld(catalog: &Catalog<u64>) -> Vec<(String, String)> {
    let page = catalog.withheld(None, usize::MAX);
    page.items.into_iter().map(|one| (one.key.to_string(), one.reason)).collect()
}

#[test]
fn a_key_is_listed_or_withheld_and_never_both() {
    let catalog = Catalog::new();
    assert_eq!(catalog.list(b"a", &name("a-1"), 1), Listing::Listed);
    assert_eq!(catalog.list(b"b", &name("b-1"), 1), Listing::Listed);
    assert_eq!(catalog.list(b"a", &name("a-1"), 2), Listing::Kept);
    assert_eq!(listed(&catalog), ["a-1", "b-1"]);
    catalog.withhold(b"a", why("growing"));
    assert_eq!((listed(&catalog), withheld(&catalog)), (vec!["b-1".into()], vec![("a".into(), "growing".into())]));
    assert_eq!(catalog.list(b"a", &name("a-2"), 3), Listing::Listed);
    assert_eq!((listed(&catalog), withheld(&catalog)), (vec!["b-1".into(), "a-2".into()], vec![]));
    assert!(catalog.forget(b"a") && !catalog.forget(b"a"));
    assert_eq!(catalog.look(b"a"), None);
}

#[test]
fn the_revision_counts_changes_of_the_list_and_nothing_else() {
    let catalog = Catalog::new();
    catalog.withhold(b"a", why("too-young"));
    catalog.withhold(b"a", why("growing"));
    catalog.forget(b"a");
    assert_eq!(catalog.revision(), 0);
    catalog.list(b"a", &name("a-1"), 1);
    assert_eq!(catalog.revision(), 1);
    catalog.list(b"a", &name("a-1"), 2);
    assert!(catalog.confirm(b"a", |payload| *payload == 2));
    catalog.withhold(b"b", why("hidden"));
    let sweep = catalog.start_sweep();
    catalog.confirm(b"a", |_| true);
    assert_eq!(catalog.end_sweep(sweep, |_| false), 1);
    assert_eq!(catalog.revision(), 1);
    catalog.list(b"a", &name("a-2"), 1);
    assert_eq!(catalog.revision(), 3, "one left and one came");
}

#[test]
fn two_keys_of_one_name_are_both_withheld_until_one_leaves() {
    let catalog = Catalog::new();
    catalog.list(b"a", &name("same"), 1);
    assert_eq!(catalog.list(b"b", &name("same"), 2), Listing::Collided);
    assert_eq!(catalog.list(b"c", &name("same"), 3), Listing::Collided);
    assert_eq!(listed(&catalog), Vec::<String>::new());
    let all = ["a", "b", "c"].map(|key| (key.to_owned(), NAME_COLLISION.to_owned()));
    assert_eq!(withheld(&catalog), all);
    assert!(matches!(catalog.find(&name("same")), Err(SourceError::Gone(_))), "it was listed once");
    assert_eq!(catalog.list(b"b", &name("same"), 20), Listing::Collided, "said again, it stays so");

    catalog.forget(b"a");
    assert_eq!(listed(&catalog), Vec::<String>::new(), "two are left");
    catalog.list(b"c", &name("other"), 4);
    assert_eq!(listed(&catalog), ["same", "other"], "a new version of one has another name");
    let entry = catalog.find(&name("same")).expect("listed again");
    assert_eq!((&*entry.key, entry.payload), (&b"b"[..], 20));
    assert_eq!(withheld(&catalog), []);
    assert_eq!(catalog.tally().withheld, []);
}

#[test]
fn a_collision_that_becomes_another_reason_is_over() {
    let catalog = Catalog::new();
    catalog.list(b"a", &name("same"), 1);
    catalog.list(b"b", &name("same"), 2);
    catalog.withhold(b"b", why("growing"));
    assert_eq!(listed(&catalog), ["same"]);
    assert_eq!(withheld(&catalog), [("b".into(), "growing".into())]);
    assert_eq!(catalog.tally().withheld, [("growing", 1)]);
}

#[test]
fn a_sweep_forgets_what_it_did_not_see_and_could_have_seen() {
    let catalog = Catalog::new();
    for number in 0..20_000_u64 {
        catalog.list(format!("file {number}").as_bytes(), &name(&format!("n-{number}")), number);
    }
    catalog.withhold(b"old", why("hidden"));
    catalog.withhold(b"locked/old", why("hidden"));
    catalog.list(b"locked/file", &name("locked"), 0);
    let sweep = catalog.start_sweep();
    for number in (0..20_000_u64).step_by(3) {
        assert!(catalog.confirm(format!("file {number}").as_bytes(), |payload| *payload == number));
    }
    assert!(!catalog.confirm(b"file 1", |payload| *payload == 7), "another version");
    catalog.list(b"new", &name("new"), 1);
    assert_eq!(catalog.end_sweep(sweep, |key| key.starts_with(b"locked/")), 20_000 - 6_667 + 1);
    assert_eq!(listed(&catalog).len(), 6_667 + 2);
    assert_eq!(withheld(&catalog), [("locked/old".into(), "hidden".into())]);
    // What the sweep could not see is judged by the next.
    let sweep = catalog.start_sweep();
    assert_eq!(catalog.end_sweep(sweep, |_| false), 6_667 + 3);
    assert_eq!(catalog.tally(), Tally { listed: Some(0), ..Tally::default() });
}

#[test]
fn half_of_a_collision_that_is_swept_sets_the_other_free() {
    let catalog = Catalog::new();
    catalog.list(b"a", &name("same"), 1);
    catalog.list(b"b", &name("same"), 2);
    let sweep = catalog.start_sweep();
    assert_eq!(catalog.list(b"b", &name("same"), 2), Listing::Collided);
    assert_eq!(catalog.end_sweep(sweep, |_| false), 1);
    assert_eq!(listed(&catalog), ["same"]);
}

#[test]
fn what_is_seen_while_a_sweep_ends_stays() {
    let catalog = Catalog::new();
    catalog.list(b"a", &name("a-1"), 1);
    catalog.list(b"b", &name("b-1"), 1);
    let sweep = catalog.start_sweep();
    let (unseen, _) = catalog.read().unseen(sweep.0, 0, &|_: &[u8]| false).expect("two entries");
    assert_eq!(unseen.len(), 2);
    assert!(catalog.confirm(b"a", |_| true));
    let forgotten = unseen.iter().filter(|key| catalog.change(|state| state.forget_unseen(key, sweep.0))).count();
    assert_eq!((forgotten, listed(&catalog)), (1, vec!["a-1".into()]));
}

#[test]
fn names_are_remembered_as_gone_within_bounds() {
    let catalog = Catalog::new();
    for number in 0..200_000_u64 {
        catalog.list(b"key", &name(&format!("n-{number}")), number);
    }
    let find = |number: u64| catalog.find(&name(&format!("n-{number}")));
    assert!(matches!(find(0), Err(SourceError::NotFound(_))), "forgotten");
    assert!(matches!(find(199_998), Err(SourceError::Gone(_))));
    assert!(matches!(find(140_000), Err(SourceError::Gone(_))));
    assert!(find(199_999).is_ok());
    catalog.list(b"key", &name("n-199998"), 1);
    assert!(find(199_998).is_ok(), "back again");
}

#[tokio::test]
async fn changes_tell_what_happened_and_refuse_what_they_cannot() {
    let catalog = Arc::new(Catalog::new());
    catalog.list(b"a", &name("a-1"), 1);
    let mut changes = catalog.changes(Some(0)).expect("known");
    let mut later = catalog.changes(None).expect("from now on");
    catalog.list(b"a", &name("a-2"), 2);
    let change = |revision, listed, text| Change { revision, listed, name: name(text) };
    for want in [change(1, true, "a-1"), change(2, false, "a-1"), change(3, true, "a-2")] {
        assert_eq!(changes.next().await.expect("endless").expect("a change"), want);
    }
    assert_eq!(later.next().await.expect("endless").expect("a change"), change(2, false, "a-1"));
    assert!(matches!(catalog.changes(Some(4)).map(drop), Err(SourceError::Expired(_))), "it never was");
    for number in 0..20_000_u64 {
        catalog.list(b"b", &name(&format!("b-{number}")), number);
    }
    assert!(matches!(catalog.changes(Some(0)).map(drop), Err(SourceError::Expired(_))), "too long ago");
    assert!(matches!(changes.next().await, Some(Err(SourceError::Expired(_)))), "its reader was too slow");
    assert!(changes.next().await.is_none());
}

#[tokio::test]
async fn a_change_wakes_who_waits_for_it() {
    let catalog = Arc::new(Catalog::new());
    let mut changes = catalog.changes(None).expect("from now on");
    let waiting = tokio::spawn(async move { changes.next().await });
    tokio::task::yield_now().await;
    catalog.list(b"a", &name("a-1"), 1);
    let change = waiting.await.expect("no panic").expect("endless").expect("a change");
    assert_eq!((change.revision, change.listed), (1, true));
}

#[derive(Clone, Debug)]
enum Act {
    List(u8, u8),
    Withhold(u8),
    Forget(u8),
    Sweep(u8),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0..40_u8, 0..30_u8).prop_map(|(key, name)| Act::List(key, name)),
        2 => (0..40_u8).prop_map(Act::Withhold),
        3 => (0..40_u8).prop_map(Act::Forget),
        1 => (0..40_u8).prop_map(Act::Sweep),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Against the simplest thing that could say the same: a map from key to name.
    #[test]
    fn whatever_happens_it_says_what_a_map_says(acts in prop::collection::vec(act(), 0..600)) {
        use std::collections::{BTreeMap, BTreeSet};
        let catalog = Catalog::new();
        let mut model: BTreeMap<u8, Option<u8>> = BTreeMap::new();
        let (mut shown, mut since) = (BTreeSet::new(), 0);
        for act in acts {
            match act {
                Act::List(key, text) => {
                    catalog.list(&[key], &name(&format!("n{text}")), u64::from(text));
                    model.insert(key, Some(text));
                }
                Act::Withhold(key) => {
                    catalog.withhold(&[key], why("growing"));
                    model.insert(key, None);
                }
                Act::Forget(key) => {
                    prop_assert_eq!(catalog.forget(&[key]), model.remove(&key).is_some());
                }
                Act::Sweep(below) => {
                    // A look that sees only what is listed, and could not see keys below.
                    let sweep = catalog.start_sweep();
                    for key in 0..40 {
                        catalog.confirm(&[key], |_| true);
                    }
                    catalog.end_sweep(sweep, |key| key < &[below][..]);
                    let mut times: BTreeMap<u8, u8> = BTreeMap::new();
                    model.values().flatten().for_each(|text| *times.entry(*text).or_default() += 1);
                    // What collided is not listed, so it is not confirmed either, and the whole collision goes.
                    let gone: Vec<u8> = model
                        .iter()
                        .filter(|(key, text)| **key >= below && text.is_none_or(|text| times.get(&text) != Some(&1)))
                        .map(|(key, _)| *key)
                        .collect();
                    gone.iter().for_each(|key| { catalog.forget(&[*key]); model.remove(key); });
                }
            }
            let mut names: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
            model.iter().for_each(|(key, text)| if let Some(text) = text { names.entry(*text).or_default().push(*key) });
            let want: BTreeSet<String> =
                names.iter().filter(|(_, keys)| keys.len() == 1).map(|(text, _)| format!("n{text}")).collect();
            let is: Vec<String> = listed(&catalog);
            prop_assert_eq!(is.len(), want.len());
            prop_assert_eq!(is.iter().cloned().collect::<BTreeSet<_>>(), want);
            prop_assert_eq!(withheld(&catalog).len(), model.len() - is.len());
            let tally = catalog.tally();
            prop_assert_eq!(tally.listed, Some(is.len() as u64));
            prop_assert_eq!(tally.withheld.iter().map(|(_, n)| *n).sum::<u64>(), (model.len() - is.len()) as u64);
            // The log, replayed, gives the list.
            for change in catalog.read().changes(since, usize::MAX).expect("known") {
                let known = if change.listed { shown.insert(change.name.to_string()) } else { shown.remove(change.name.as_str()) };
                prop_assert!(known, "{:?} said twice", change);
                since = change.revision;
            }
            prop_assert_eq!(&shown, &is.into_iter().collect::<BTreeSet<_>>());
        }
    }
}
