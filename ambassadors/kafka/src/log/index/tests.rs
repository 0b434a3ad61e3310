//! The index against sets that hold every position for itself.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const PARTITIONS: i32 = 3;

fn at(partition: i32, offset: i64) -> Position {
    Position { partition, offset }
}

/// What happens to a log.
#[derive(Clone, Debug)]
enum Event {
    /// So many records: how far each is from the one before, and what became of it.
    Append(i32, Vec<(i64, u8)>),
    Trim(i32, i64),
    Cut(i32, i64),
    Forget(i32, i64),
}

fn event() -> impl Strategy<Value = Event> {
    let partition = 0..PARTITIONS;
    let offset = 0..400_i64;
    prop_oneof![
        6 => (partition.clone(), prop::collection::vec((1..4_i64, 0..8_u8), 0..60)).prop_map(|(of, records)| Event::Append(of, records)),
        2 => (partition.clone(), offset.clone()).prop_map(|(of, low)| Event::Trim(of, low)),
        1 => (partition.clone(), offset.clone()).prop_map(|(of, high)| Event::Cut(of, high)),
        3 => (partition, offset).prop_map(|(of, at)| Event::Forget(of, at)),
    ]
}

fn sort(n: u8) -> Sort {
    match n {
        0 => Sort::Withheld(Reason::Tombstone),
        1 => Sort::Withheld(Reason::TooLarge),
        2 => Sort::Withheld(Reason::Malformed),
        _ => Sort::Listed,
    }
}

/// The same by the simplest means.
#[derive(Default)]
struct Model {
    next: BTreeMap<i32, i64>,
    listed: BTreeSet<Position>,
    withheld: BTreeMap<Position, Reason>,
    gone: BTreeSet<Position>,
}

impl Model {
    fn apply(&mut self, event: &Event, index: &mut Index) {
        // Whoever hears of every change knows the list.
        let mut told = self.listed.clone();
        let flip = &mut |partition, range: RangeInclusive<u64>| {
            for offset in range {
                let position = at(partition, signed(offset));
                if !told.remove(&position) {
                    told.insert(position);
                }
            }
        };
        match event {
            Event::Append(of, steps) => {
                let (mut offset, next) = (self.next[of] - 2, self.next[of]);
                let records: Vec<_> = steps
                    .iter()
                    .map(|(step, n)| {
                        offset += step;
                        (offset.max(0), sort(*n))
                    })
                    .collect();
                index.append(*of, records.clone(), flip);
                for (offset, sort) in records {
                    if offset < next.max(self.next[of]) {
                        continue;
                    }
                    self.next.insert(*of, offset + 1);
                    self.gone.remove(&at(*of, offset));
                    match sort {
                        Sort::Listed => drop(self.listed.insert(at(*of, offset))),
                        Sort::Withheld(reason) => drop(self.withheld.insert(at(*of, offset), reason)),
                    }
                }
            }
            Event::Trim(of, low) => {
                index.trim(*of, *low, flip);
                let out = |position: &Position| position.partition == *of && position.offset < *low;
                self.gone.extend(self.listed.iter().filter(|position| out(position)));
                self.listed.retain(|position| !out(position));
                self.withheld.retain(|position, _| !out(position));
                let next = self.next[of].max(*low);
                self.next.insert(*of, next);
            }
            Event::Cut(of, high) => {
                index.cut(*of, *high, flip);
                let out = |position: &Position| position.partition == *of && position.offset >= *high;
                self.gone.extend(self.listed.iter().filter(|position| out(position)));
                self.listed.retain(|position| !out(position));
                self.withheld.retain(|position, _| !out(position));
                let next = self.next[of].min(*high);
                self.next.insert(*of, next);
            }
            Event::Forget(of, offset) => {
                let was = self.listed.remove(&at(*of, *offset));
                assert_eq!(index.forget(at(*of, *offset), flip), was);
                if was {
                    self.gone.insert(at(*of, *offset));
                }
            }
        }
        assert_eq!(told, self.listed, "{event:?}");
    }

    fn check(&self, index: &Index) {
        assert_eq!(index.listed(), self.listed.len() as u64);
        let counts: u64 = index.withheld_counts().iter().map(|(_, count)| count).sum();
        assert_eq!(counts, self.withheld.len() as u64);
        for partition in 0..PARTITIONS {
            assert_eq!(index.next(partition), Some(self.next[&partition]));
            for offset in 0..600 {
                let position = at(partition, offset);
                let known = match (self.listed.contains(&position), self.gone.contains(&position)) {
                    (true, _) => Known::Listed,
                    (false, true) => Known::Gone,
                    (false, false) => Known::Nothing,
                };
                assert_eq!(index.look(position), known, "{position:?}");
            }
        }
    }

    fn walk(&self, index: &Index, max: usize) {
        let (mut from, mut seen) = (None, Vec::new());
        loop {
            let page = index.page(from, max);
            assert!(page.items.len() <= max);
            seen.extend(page.items);
            assert_eq!(page.remaining, (self.listed.len() - seen.len()) as u64);
            match page.next {
                Some(next) => from = Some(next),
                None => break,
            }
        }
        assert!(seen.iter().eq(&self.listed));
        let (mut from, mut seen) = (None, Vec::new());
        loop {
            let page = index.withheld(from, max);
            seen.extend(page.items);
            assert_eq!(page.remaining, (self.withheld.len() - seen.len()) as u64);
            match page.next {
                Some(next) => from = Some(next),
                None => break,
            }
        }
        assert!(seen.into_iter().eq(self.withheld.iter().map(|(at, reason)| (*at, *reason))));
    }
}

proptest! {
    #[test]
    fn it_knows_what_a_set_of_positions_knows(events in prop::collection::vec(event(), 0..40), max in 1..50_usize) {
        let (mut index, mut model) = (Index::default(), Model::default());
        for partition in 0..PARTITIONS {
            index.open(partition, 5);
            model.next.insert(partition, 5);
        }
        for event in &events {
            model.apply(event, &mut index);
        }
        model.check(&index);
        model.walk(&index, max);
    }
}

#[test]
fn any_position_is_safe_to_ask_for() {
    let mut index = Index::default();
    index.open(0, 0);
    index.append(0, (0..3).map(|offset| (offset, Sort::Listed)), &mut |_, _| {});
    for (from, count) in
        [(at(-1, -1), 3), (at(0, -5), 3), (at(0, 2), 1), (at(0, i64::MAX), 0), (at(i32::MAX, i64::MIN), 0)]
    {
        assert_eq!(index.page(Some(from), 10).items.len(), count, "{from:?}");
        assert!(index.withheld(Some(from), 10).items.is_empty());
    }
    assert_eq!(index.look(at(0, -1)), Known::Nothing);
    assert_eq!(index.look(at(-1, 0)), Known::Nothing);
}

#[test]
fn ten_million_records_take_little_memory() {
    let mut index = Index::default();
    index.open(0, 0);
    for batch in 0..1_000 {
        // Every hundredth is missing.
        let records = (batch * 10_000..(batch + 1) * 10_000).filter(|offset| offset % 100 != 7);
        index.append(0, records.map(|offset| (offset, Sort::Listed)), &mut |_, _| {});
    }
    assert_eq!(index.listed(), 9_900_000);
    let bytes = index.partitions[&0].listed.serialized_size();
    assert!(bytes < 2_000_000, "{bytes}");
    let page = index.page(Some(at(0, 9_999_998)), 10);
    assert_eq!((page.items.len(), page.remaining), (2, 0));
}
