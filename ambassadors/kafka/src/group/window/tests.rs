//! A group, its log and a broker that may fail, against the window.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const BOUNDS: Bounds = Bounds { items: 5, bytes: 50 };

fn at(partition: i32, offset: i64) -> Position {
    Position { partition, offset }
}

fn names(window: &Window<()>) -> Vec<Position> {
    window.held(None).map(|(at, _)| at).collect()
}

#[test]
fn what_is_settled_out_of_order_is_committed_when_what_was_before_it_is() {
    let mut window = Window::new(BOUNDS);
    window.assign(0, 10, Some(10));
    // Nothing lies at 12 and 13.
    for offset in [10, 11, 14] {
        assert_eq!(window.deliver(at(0, offset), 1, || ()), Delivered::Held);
    }
    assert_eq!(window.committable(), []);
    assert_eq!(window.settle(at(0, 14)), Settled::Now(()));
    assert_eq!(window.settle(at(0, 11)), Settled::Now(()));
    assert_eq!(window.committable(), [], "10 is not settled");
    assert_eq!(window.uncommitted(), 2);
    assert_eq!(window.settle(at(0, 10)), Settled::Now(()));
    assert_eq!(window.committable(), [at(0, 15)], "past the gap, and past what was settled early");
    window.committed(at(0, 15));
    assert_eq!((window.committable(), window.uncommitted()), (vec![], 0));
    assert_eq!(window.settle(at(0, 11)), Settled::Before);
    assert_eq!(window.settle(at(0, 15)), Settled::Unknown);
    window.reach(0, 16);
    assert_eq!(window.committable(), [at(0, 16)], "a marker of a transaction at the end is nothing to wait for");
}

#[test]
fn where_the_group_has_nothing_yet_the_start_itself_is_committed() {
    let mut window = Window::<()>::new(BOUNDS);
    window.assign(3, 7, None);
    assert_eq!(window.committable(), [at(3, 7)]);
}

#[test]
fn a_window_is_bounded_in_items_and_in_bytes() {
    let mut window = Window::new(BOUNDS);
    window.assign(0, 0, Some(0));
    window.assign(1, 0, Some(0));
    for offset in 0..4 {
        window.deliver(at(0, offset), 1, || ());
    }
    assert!(window.has_room());
    window.deliver(at(1, 0), 1, || ());
    assert!(!window.has_room());
    window.settle(at(0, 2));
    assert!(window.has_room());
    window.deliver(at(1, 1), 46, || ());
    assert_eq!(window.size(), (5, 50));
    window.revoke(0);
    assert!(window.has_room() && window.size() == (2, 47));
    window.deliver(at(1, 2), 3, || ());
    assert!(!window.has_room(), "three items, and all the bytes");
}

#[test]
fn a_partition_that_comes_back_lists_nothing_that_was_settled() {
    let mut window = Window::new(BOUNDS);
    window.assign(0, 0, Some(0));
    for offset in 0..3 {
        window.deliver(at(0, offset), 1, || ());
    }
    window.settle(at(0, 1));
    assert_eq!(window.revoke(0), 2);
    assert_eq!(names(&window), []);
    assert_eq!(window.deliver(at(0, 3), 1, || ()), Delivered::Stray);
    assert_eq!(window.settle(at(0, 0)), Settled::Unknown, "whoever has it now decides");
    // What was under way when it was taken away is over.
    window.settle_late(at(0, 2));
    window.assign(0, 0, Some(0));
    assert_eq!(window.deliver(at(0, 0), 1, || ()), Delivered::Held);
    assert_eq!(window.deliver(at(0, 1), 1, || ()), Delivered::Settled);
    assert_eq!(window.deliver(at(0, 2), 1, || ()), Delivered::Settled);
    assert_eq!(names(&window), [at(0, 0)]);
}

#[test]
fn what_went_with_its_partition_is_known_from_what_is_settled_and_what_never_came() {
    let mut window = Window::new(BOUNDS);
    window.assign(0, 3, Some(3));
    for offset in [4, 6] {
        window.deliver(at(0, offset), 1, || ());
    }
    window.settle(at(0, 6));
    let known = |window: &Window<()>| [2, 4, 5, 6, 7].map(|offset| window.known(at(0, offset)));
    let (before, here) = (Known::Settled, Known::Held);
    assert_eq!(known(&window), [before, here, Known::Never, Known::Settled, Known::Never], "nothing lies at 5");
    window.revoke(0);
    assert_eq!(known(&window), [before, Known::Elsewhere, Known::Elsewhere, Known::Settled, Known::Never]);
    window.assign(0, 3, Some(3));
    assert_eq!(known(&window)[1], Known::Elsewhere, "it has not come again yet");
    assert_eq!(window.known(at(1, 4)), Known::Never);
}

#[test]
fn a_group_that_was_set_back_on_purpose_gets_everything_again() {
    let mut window = Window::new(BOUNDS);
    window.assign(0, 0, Some(0));
    for offset in 0..3 {
        window.deliver(at(0, offset), 1, || ());
    }
    window.settle(at(0, 0));
    window.settle(at(0, 2));
    window.committed(at(0, 1));
    window.assign(0, 0, Some(0));
    for offset in 0..3 {
        assert_eq!(window.deliver(at(0, offset), 1, || ()), Delivered::Held);
    }
}

#[test]
fn a_log_that_goes_backwards_is_noticed() {
    let mut window = Window::new(BOUNDS);
    window.assign(0, 5, None);
    assert_eq!(window.deliver(at(0, 6), 1, || ()), Delivered::Held);
    assert_eq!(window.deliver(at(0, 6), 1, || ()), Delivered::Settled, "it is told twice");
    assert_eq!((window.size(), window.known(at(0, 6))), ((1, 1), Known::Held));
    assert_eq!(window.pass(at(0, 5)), Delivered::Backwards);
    assert_eq!(window.pass(at(0, 7)), Delivered::Settled);
}

#[test]
fn what_takes_the_place_of_records_that_brokers_lost_is_new_work() {
    let mut window = Window::new(BOUNDS);
    window.assign(0, 100, Some(100));
    for offset in 100..=110 {
        window.deliver(at(0, offset), 1, || ());
    }
    for offset in 101..=110 {
        window.settle(at(0, offset));
    }
    assert_eq!(window.deliver(at(0, 105), 1, || ()), Delivered::Backwards);
    window.assign(0, 100, Some(100));
    for offset in 100..=110 {
        let settled = (101..105).contains(&offset);
        let delivered = window.deliver(at(0, offset), 1, || ());
        assert_eq!(delivered, if settled { Delivered::Settled } else { Delivered::Held }, "{offset}");
    }
}

#[test]
fn what_waits_behind_a_record_is_no_reason_to_commit() {
    let mut window = Window::new(BOUNDS);
    window.assign(0, 0, Some(0));
    for offset in 0..10 {
        window.deliver(at(0, offset), 1, || ());
    }
    for offset in 1..10 {
        window.settle(at(0, offset));
    }
    assert_eq!((window.uncommitted(), window.due()), (9, 0));
    window.settle(at(0, 0));
    assert_eq!(window.due(), 10);
    window.committed(at(0, 10));
    assert_eq!(window.due(), 0);
}

/// What may happen.
#[derive(Clone, Debug)]
enum Event {
    Deliver(i32),
    /// Of what is listed, the n-th.
    Settle(usize),
    /// A dead letter is written of what is listed; it may be taken away meanwhile.
    SettleLate(usize, bool),
    Assign(i32),
    Revoke(i32),
    /// The broker does it or not, and we hear of it or not.
    Commit {
        done: bool,
        heard: bool,
    },
    Kill,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let partition = 0..2_i32;
    let event = prop_oneof![
        8 => partition.clone().prop_map(Event::Deliver),
        5 => (0..8_usize).prop_map(Event::Settle),
        1 => (0..8_usize, any::<bool>()).prop_map(|(n, lost)| Event::SettleLate(n, lost)),
        2 => partition.clone().prop_map(Event::Assign),
        1 => partition.prop_map(Event::Revoke),
        3 => (any::<bool>(), any::<bool>()).prop_map(|(done, heard)| Event::Commit { done, heard }),
        1 => Just(Event::Kill),
    ];
    prop::collection::vec(event, 1..120)
}

/// The other side: two partitions with gaps, and what the group has committed.
struct Broker {
    logs: BTreeMap<i32, BTreeSet<i64>>,
    committed: BTreeMap<i32, i64>,
    /// What somebody was told is settled.
    settled: BTreeSet<Position>,
    /// The same, by the process that lives now.
    settled_here: BTreeSet<Position>,
}

impl Broker {
    /// The first record of a partition that nobody has settled.
    fn unsettled(&self, partition: i32) -> Option<i64> {
        self.logs[&partition].iter().copied().find(|offset| !self.settled.contains(&at(partition, *offset)))
    }

    fn deliver(&self, window: &mut Window<()>, partition: i32) {
        let Some(position) = window.positions().find(|position| position.partition == partition) else { return };
        if let Some(offset) = self.logs[&partition].range(position.offset..).next()
            && window.has_room()
        {
            let delivered = window.deliver(at(partition, *offset), 1, || ());
            let again = self.settled_here.contains(&at(partition, *offset));
            assert_eq!(delivered, if again { Delivered::Settled } else { Delivered::Held });
        }
    }

    fn settle(&mut self, window: &mut Window<()>, n: usize) -> Option<Position> {
        let at = names(window).get(n).copied()?;
        assert_eq!(window.settle(at), Settled::Now(()));
        self.over(at);
        Some(at)
    }

    fn over(&mut self, at: Position) {
        self.settled.insert(at);
        self.settled_here.insert(at);
    }

    fn commit(&mut self, window: &mut Window<()>, done: bool, heard: bool) {
        for at in window.committable() {
            if done {
                self.committed.insert(at.partition, at.offset);
            }
            if done && heard {
                window.committed(at);
            }
        }
        for (partition, committed) in &self.committed {
            assert!(
                self.unsettled(*partition).is_none_or(|first| *committed <= first),
                "an unsettled record was passed"
            );
        }
    }
}

proptest! {
    #[test]
    fn nothing_unsettled_is_ever_passed_and_nothing_is_lost_or_doubled(
        first in prop::collection::btree_set(0..40_i64, 0..20),
        second in prop::collection::btree_set(0..40_i64, 0..20),
        events in events(),
    ) {
        let mut broker = Broker {
            logs: BTreeMap::from([(0, first), (1, second)]),
            committed: BTreeMap::new(),
            settled: BTreeSet::new(),
            settled_here: BTreeSet::new(),
        };
        let mut window = Window::new(BOUNDS);
        for event in events {
            match event {
                Event::Deliver(partition) => broker.deliver(&mut window, partition),
                Event::Settle(n) => drop(broker.settle(&mut window, n)),
                Event::SettleLate(n, lost) => {
                    let Some(at) = names(&window).get(n).copied() else { continue };
                    if lost {
                        window.revoke(at.partition);
                    }
                    window.settle_late(at);
                    broker.over(at);
                }
                Event::Assign(partition) => {
                    let committed = broker.committed.get(&partition).copied();
                    window.assign(partition, committed.unwrap_or(0), committed);
                }
                Event::Revoke(partition) => drop(window.revoke(partition)),
                Event::Commit { done, heard } => broker.commit(&mut window, done, heard),
                Event::Kill => {
                    window = Window::new(BOUNDS);
                    broker.settled_here.clear();
                }
            }
            let listed = names(&window);
            prop_assert!(listed.is_sorted() && listed.len() == window.size().0 && listed.len() <= BOUNDS.items);
            prop_assert!(listed.iter().all(|at| !broker.settled_here.contains(at)), "settled, and listed still");
        }
        // Whatever happened, whoever goes on comes to the end.
        for partition in 0..2 {
            let committed = broker.committed.get(&partition).copied();
            window.assign(partition, committed.unwrap_or(0), committed);
        }
        for _ in 0..80 {
            broker.deliver(&mut window, 0);
            broker.deliver(&mut window, 1);
            broker.settle(&mut window, 0);
        }
        broker.commit(&mut window, true, true);
        for partition in 0..2 {
            let all = &broker.logs[&partition];
            prop_assert!(all.iter().all(|offset| broker.settled.contains(&at(partition, *offset))));
            prop_assert_eq!(broker.committed[&partition], all.last().map_or(0, |last| last + 1));
        }
        prop_assert_eq!(window.uncommitted(), 0);
    }
}
