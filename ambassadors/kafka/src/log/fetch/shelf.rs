//! What a lane has read: neighbours, of which those that were asked for make room.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::naming::Position;
use crate::record::Record;

/// How far ahead a record may lie that is reached by reading on, instead of being sought.
const NEAR: i64 = 512;

/// What a lane has read and cannot vouch for yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unproven {
    /// Of which it has to be.
    pub(super) incarnation: String,
    /// How many records.
    pub(super) count: usize,
    /// The broker that gave the first of them, if it is known.
    pub(super) giver: Option<i32>,
    /// The offset after the last that it gave before another did.
    to: i64,
}

/// Every record of a partition from one offset to another.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    incarnation: String,
    partition: i32,
    records: VecDeque<Arc<Record>>,
    /// Where the neighbours begin, and the offset after them.
    from: i64,
    next: i64,
    /// Before this, everything is known to be of the incarnation; behind it, it was read from whatever has the topic's name.
    proven: i64,
    /// Who gave what is not proven, one after another, and the offset after the last of it.
    givers: VecDeque<(Option<i32>, i64)>,
    bytes: usize,
    /// Those of records behind the one that was asked for last.
    ahead: usize,
    asked: i64,
    /// How many were asked for one after another.
    streak: u32,
    filling: bool,
}

impl Shelf {
    /// Empty, and about to be filled from `at` on.
    pub(super) fn begin(&mut self, at: Position, incarnation: &str) {
        *self = Self {
            incarnation: incarnation.to_owned(),
            partition: at.partition,
            from: at.offset,
            next: at.offset,
            proven: at.offset,
            asked: at.offset - 1,
            ..Self::default()
        };
    }

    /// Puts what was read, of a broker, behind what is there, and throws out what more than `limit` bytes hold, of what was asked for already and
    /// of what lies before the first question that `waits`. What does not belong there is not taken.
    pub(super) fn push(&mut self, record: Record, giver: Option<i32>, waits: Option<i64>, limit: usize) {
        if record.at.partition != self.partition || record.at.offset < self.next {
            return;
        }
        let size = record.size();
        self.next = record.at.offset + 1;
        match self.givers.back_mut() {
            Some((last, to)) if *last == giver => *to = self.next,
            Some(_) | None => self.givers.push_back((giver, self.next)),
        }
        self.bytes += size;
        self.ahead += size;
        self.records.push_back(Arc::new(record));
        let before = waits.unwrap_or(i64::MIN).max(self.asked.saturating_add(1));
        while self.bytes > limit
            && let Some(first) = self.records.front()
            && first.at.offset < before
        {
            let size = first.size();
            self.bytes -= size;
            if first.at.offset > self.asked {
                self.ahead -= size;
            }
            self.from = first.at.offset + 1;
            self.records.pop_front();
        }
        // Of what is not here any more, nothing need be proven.
        self.proven = self.proven.max(self.from);
        self.forget_givers();
    }

    /// Whether more is here than there should be.
    pub(super) fn is_over(&self, limit: usize) -> bool {
        self.bytes > limit
    }

    fn forget_givers(&mut self) {
        while self.givers.front().is_some_and(|(_, to)| *to <= self.proven) {
            self.givers.pop_front();
        }
    }

    /// The record, which is asked for now. `None` where it is not here, or not proven: see [`covers`](Self::covers).
    pub(super) fn take(&mut self, at: Position, incarnation: &str) -> Option<Arc<Record>> {
        if !self.covers(at, incarnation) || at.offset >= self.proven {
            return None;
        }
        let place = self.place(at)?;
        let record = Arc::clone(self.records.get(place)?);
        if at.offset > self.asked {
            self.streak = if at.offset - self.asked <= NEAR { self.streak.saturating_add(1) } else { 0 };
            let passed = self.records.range(..=place).rev().take_while(|record| record.at.offset > self.asked);
            self.ahead -= passed.map(|record| record.size()).sum::<usize>();
            self.asked = at.offset;
        }
        Some(record)
    }

    /// Whether whatever there is at this position is here.
    pub(super) fn covers(&self, at: Position, incarnation: &str) -> bool {
        self.is_of(at, incarnation) && (self.from..self.next).contains(&at.offset)
    }

    /// Whether the log was read there, and has no such record.
    pub(super) fn lacks(&self, at: Position, incarnation: &str) -> bool {
        self.covers(at, incarnation) && self.place(at).is_none()
    }

    /// Whether all that was read lies before it, in one reading that would have come by there.
    pub(super) fn is_before(&self, at: Position, incarnation: &str) -> bool {
        self.is_of(at, incarnation) && self.next <= at.offset
    }

    fn place(&self, at: Position) -> Option<usize> {
        self.records.binary_search_by_key(&at.offset, |record| record.at.offset).ok()
    }

    /// Whether it is reached by reading on, or by proving what was read.
    pub(super) fn leads_to(&self, at: Position, incarnation: &str) -> bool {
        self.is_of(at, incarnation) && (self.proven..self.next.saturating_add(NEAR)).contains(&at.offset)
    }

    /// What was read last and is not proven, if anything.
    pub(super) fn unproven(&self) -> Option<Unproven> {
        let (giver, to) = *self.givers.front()?;
        let place = self.records.partition_point(|record| record.at.offset < self.proven);
        Some(Unproven { incarnation: self.incarnation.clone(), count: self.records.len() - place, giver, to })
    }

    /// All that this broker gave first is of its incarnation.
    pub(super) fn prove(&mut self, unproven: &Unproven) {
        if self.incarnation == unproven.incarnation {
            self.proven = self.proven.max(unproven.to.min(self.next));
            self.forget_givers();
        }
    }

    /// Whether more is to be read ahead of whoever asks for one after another: of `limit` bytes, half at most:
    /// askers overtake one another. What is full is filled again when it is half empty.
    pub(super) fn wants_more(&mut self, limit: usize) -> bool {
        self.streak > 1 && self.has_room(limit)
    }

    fn has_room(&mut self, limit: usize) -> bool {
        if self.ahead >= limit / 2 {
            self.filling = false;
        } else if self.ahead < limit / 4 {
            self.filling = true;
        }
        self.filling
    }

    fn is_of(&self, at: Position, incarnation: &str) -> bool {
        !self.incarnation.is_empty() && self.partition == at.partition && self.incarnation == incarnation
    }
}

/// Whether two positions are so close that one reading reaches both.
pub(super) fn is_close(a: Position, b: Position) -> bool {
    a.partition == b.partition && a.offset.abs_diff(b.offset) < NEAR.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF: &str = "incarnation";

    fn at(offset: i64) -> Position {
        Position { partition: 0, offset }
    }

    fn record(offset: i64) -> Record {
        Record { at: at(offset), time: None, key: None, value: Some(vec![0; 872].into()), headers: Vec::new() }
    }

    #[test]
    fn what_was_asked_for_makes_room_and_nothing_else_does() {
        let mut shelf = Shelf::default();
        shelf.begin(at(0), OF);
        for offset in 0..20 {
            shelf.push(record(offset), Some(1), None, 10_000);
        }
        shelf.prove(&shelf.unproven().expect("twenty"));
        assert!((0..20).all(|offset| shelf.covers(at(offset), OF)), "nobody had any of it yet");
        for offset in 0..15 {
            assert_eq!(shelf.take(at(offset), OF).expect("is there").at, at(offset));
        }
        assert!(!shelf.wants_more(10_000), "five records of 1,000 bytes lie ahead");
        assert!(
            !shelf.wants_more(12_000) && shelf.wants_more(24_000) && shelf.wants_more(12_000),
            "a quarter is little"
        );
        shelf.push(record(20), Some(1), None, 10_000);
        assert!(!shelf.covers(at(10), OF) && shelf.covers(at(11), OF));
        assert!(shelf.take(at(12), OF).is_some(), "who was overtaken finds it still");
    }

    #[test]
    fn what_lies_before_the_question_that_waits_takes_no_room() {
        let mut shelf = Shelf::default();
        shelf.begin(at(0), OF);
        for offset in 0..500 {
            shelf.push(record(offset), Some(1), Some(499), 10_000);
            assert!(shelf.bytes <= 10_000 && shelf.ahead == shelf.bytes, "{offset}: {}", shelf.bytes);
        }
        assert!(!shelf.leads_to(at(0), OF) && !shelf.leads_to(at(489), OF) && shelf.leads_to(at(490), OF));
        let unproven = shelf.unproven().expect("ten");
        assert_eq!(unproven.count, 10);
        shelf.prove(&unproven);
        assert!(shelf.take(at(499), OF).is_some());
        assert_eq!(shelf.ahead, 0);
        shelf.push(record(500), Some(2), Some(500), 1);
        assert!(!shelf.is_over(1_000) && shelf.unproven().expect("one").giver == Some(2));
        shelf.push(record(501), Some(2), Some(500), 1);
        assert!(shelf.is_over(1_000) && shelf.covers(at(500), OF), "what is waited for stays");
    }

    #[test]
    fn a_gap_is_told_from_what_was_not_read() {
        let mut shelf = Shelf::default();
        shelf.begin(at(5), OF);
        shelf.push(record(7), Some(1), None, 10_000);
        shelf.push(record(6), Some(1), None, 10_000);
        assert!(shelf.lacks(at(5), OF) && shelf.take(at(5), OF).is_none());
        assert!(shelf.covers(at(6), OF) && shelf.take(at(6), OF).is_none(), "out of order is of another reading");
        assert!(!shelf.covers(at(8), OF) && shelf.leads_to(at(8), OF) && !shelf.leads_to(at(4), OF));
        assert!(!shelf.lacks(at(7), OF) && !shelf.lacks(at(8), OF) && shelf.is_before(at(8), OF));
        assert!(
            !shelf.covers(at(7), "another topic of the name")
                && !shelf.covers(Position { partition: 1, offset: 7 }, OF)
        );
    }

    #[test]
    fn nothing_is_given_away_before_it_is_proven() {
        let mut shelf = Shelf::default();
        shelf.begin(at(0), OF);
        shelf.push(record(0), Some(1), None, 10_000);
        shelf.push(record(1), Some(1), None, 10_000);
        let first = shelf.unproven().expect("two");
        assert_eq!((first.count, shelf.take(at(1), OF)), (2, None));
        assert!(shelf.leads_to(at(1), OF) && !shelf.lacks(at(1), OF));
        shelf.push(record(2), Some(1), None, 10_000);
        shelf.prove(&first);
        assert!(shelf.take(at(1), OF).is_some() && shelf.take(at(2), OF).is_none());
        let last = shelf.unproven().expect("one");
        assert_eq!(last.count, 1);
        shelf.begin(at(2), "another");
        shelf.push(record(2), Some(1), None, 10_000);
        shelf.prove(&last);
        assert_eq!(shelf.take(at(2), "another"), None, "it was of the former that this was seen");
    }

    #[test]
    fn a_broker_vouches_for_nothing_that_another_gave() {
        let mut shelf = Shelf::default();
        shelf.begin(at(0), OF);
        for (offset, giver) in [(0, 1), (1, 1), (2, 2), (3, 1)] {
            shelf.push(record(offset), Some(giver), None, 10_000);
        }
        for (count, giver, proven) in [(4, 1, 2), (2, 2, 3), (1, 1, 4)] {
            let unproven = shelf.unproven().expect("some");
            assert_eq!((unproven.count, unproven.giver), (count, Some(giver)));
            shelf.prove(&unproven);
            assert!((0..4).all(|offset| shelf.take(at(offset), OF).is_some() == (offset < proven)), "{proven}");
        }
        assert_eq!(shelf.unproven(), None);
    }
}
