//! How far the topic reaches and where the group stands, at the last look; and with that, how much waits behind the window.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Instant;

use crate::naming::Position;

/// What was seen of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    /// The offsets that there are.
    pub(super) there: Range<i64>,
    /// Where the group goes on, if it ever began.
    pub(super) committed: Option<i64>,
}

#[derive(Debug, Default)]
pub(super) struct Ends {
    /// When the last look began.
    since: Option<Instant>,
    partitions: BTreeMap<i32, End>,
    /// Where partitions ended, of which an end that is read from now on is no earlier one.
    known: BTreeMap<i32, i64>,
    /// Partitions of which the end was read, and how far that goes at least. What lies before it and never came is nothing: compaction may
    /// leave nothing at an end.
    read_out: BTreeMap<i32, i64>,
    /// How far all partitions reached at the first look.
    first: Option<i64>,
    /// Whether anything was there that the group has not done, or came, at any look.
    had_items: bool,
}

impl Ends {
    /// A look, which began then, saw this.
    pub(super) fn saw(&mut self, began: Instant, partitions: BTreeMap<i32, End>) {
        let reach = partitions.values().map(|end| end.there.end).sum();
        let waits = |end: &End| end.there.end > end.committed.unwrap_or(end.there.start).max(end.there.start);
        self.had_items |= reach > *self.first.get_or_insert(reach) || partitions.values().any(waits);
        (self.since, self.partitions) = (Some(began), partitions);
    }

    /// A partition is read from now on, which ends there.
    pub(super) fn begins(&mut self, partition: i32, end: i64) {
        self.known.insert(partition, end);
        self.read_out.remove(&partition);
    }

    /// All that had come of a partition was taken.
    pub(super) fn drained(&mut self, partition: i32) {
        if let Some(end) = self.partitions.get(&partition) {
            self.known.insert(partition, end.there.end);
        }
    }

    /// A partition was read to its end. What was appended since the end was known that a look, or the beginning, had seen before may have
    /// come after it.
    pub(super) fn read_out(&mut self, partition: i32) {
        if let Some(end) = self.known.get(&partition) {
            self.read_out.insert(partition, *end);
        }
    }

    /// Something came after that, or the partition is not ours.
    pub(super) fn goes_on(&mut self, partition: i32) {
        self.read_out.remove(&partition);
    }

    /// Whether anything was ever to be done, by us or by others.
    pub(super) fn had_items(&self) -> bool {
        self.had_items
    }

    /// Whether the last look began after that.
    pub(super) fn is_since(&self, then: Instant) -> bool {
        self.since.is_some_and(|since| since >= then)
    }

    /// How many offsets lie behind what we took, of our partitions, and behind what the group has committed, of the others'. Unknown
    /// before the first look.
    pub(super) fn behind(&self, ours: impl Iterator<Item = Position>) -> Option<u64> {
        self.since?;
        let ours: BTreeMap<i32, i64> = ours.map(|at| (at.partition, at.offset)).collect();
        let behind = self.partitions.iter().map(|(partition, end)| match ours.get(partition) {
            Some(next) => self.left(*partition, end, *next),
            None => end.there.end - end.committed.unwrap_or(end.there.start).max(end.there.start),
        });
        Some(behind.map(|offsets| u64::try_from(offsets).unwrap_or(0)).sum())
    }

    /// Those of our partitions that go on behind what we took.
    pub(super) fn behind_of(&self, ours: impl Iterator<Item = Position>) -> impl Iterator<Item = i32> {
        let goes_on = |at: &Position| {
            self.partitions.get(&at.partition).is_some_and(|end| self.left(at.partition, end, at.offset) > 0)
        };
        ours.filter(goes_on).map(|at| at.partition)
    }

    /// Of the topic that was made in place of this.
    pub(super) fn anew(&self) -> Self {
        Self { had_items: self.had_items, ..Self::default() }
    }

    fn left(&self, partition: i32, end: &End, next: i64) -> i64 {
        let next = self.read_out.get(&partition).map_or(next, |read_out| next.max(*read_out));
        (end.there.end - next.max(end.there.start)).max(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(all: &[(i32, Range<i64>, Option<i64>)]) -> BTreeMap<i32, End> {
        all.iter().cloned().map(|(partition, there, committed)| (partition, End { there, committed })).collect()
    }

    fn behind(ends: &Ends, ours: &[(i32, i64)]) -> Option<u64> {
        ends.behind(ours.iter().map(|(partition, offset)| Position { partition: *partition, offset: *offset }))
    }

    #[test]
    fn what_is_behind_is_counted_of_all_partitions() {
        let mut known = Ends::default();
        assert_eq!(behind(&known, &[(0, 3)]), None);
        known.saw(
            Instant::now(),
            ends(&[(0, 0..10, None), (1, 5..10, Some(2)), (2, 5..10, None), (3, 0..10, Some(10))]),
        );
        assert_eq!(behind(&known, &[(0, 3)]), Some(7 + 5 + 5), "retention has taken what lay before 5");
        assert_eq!(behind(&known, &[(0, 12), (1, 0), (2, 9)]), Some(5 + 1));
    }

    #[test]
    fn what_others_were_faster_with_was_there() {
        let mut known = Ends::default();
        let look = |known: &mut Ends, end, committed| {
            known.saw(Instant::now(), ends(&[(0, 0..end, Some(committed))]));
            known.had_items()
        };
        assert!(!look(&mut known, 10, 10), "what was done before is nothing that came");
        assert!(look(&mut known, 12, 12), "came and was done between two looks");
        assert!(look(&mut known, 12, 12));
        assert!(look(&mut Ends::default(), 12, 11));
    }

    #[test]
    fn an_end_where_nothing_lies_is_not_waited_for_and_what_came_after_it_is() {
        let mut known = Ends::default();
        let look = |known: &mut Ends, end| known.saw(Instant::now(), ends(&[(0, 0..end, Some(0))]));
        known.begins(0, 10);
        look(&mut known, 10);
        assert_eq!(behind(&known, &[(0, 8)]), Some(2), "nobody has read so far");
        known.read_out(0);
        assert_eq!(behind(&known, &[(0, 8)]), Some(0));
        look(&mut known, 1_010);
        assert_eq!(behind(&known, &[(0, 8)]), Some(1_000), "these came after the end that was read");
        assert_eq!(known.behind_of([Position { partition: 0, offset: 8 }].into_iter()).collect::<Vec<_>>(), [0]);
        known.read_out(0);
        assert_eq!(behind(&known, &[(0, 8)]), Some(1_000), "that was told of before they came, and taken now");
        known.drained(0);
        known.read_out(0);
        assert_eq!(behind(&known, &[(0, 8)]), Some(0));
        known.goes_on(0);
        assert_eq!(behind(&known, &[(0, 8)]), Some(1_002));
    }
}
