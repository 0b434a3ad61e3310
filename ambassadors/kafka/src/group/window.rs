//! What the group handed us and nobody has settled: what is listed, and how far each partition may be committed. Knows no Kafka.
//!
//! Records of a partition come in the order of their offsets, with gaps where nothing lies. What is settled leaves in any order. A
//! partition may be committed up to the first record that is not settled, or past the last that came, so that gaps never block. What was
//! settled beyond that is known until it is committed, also while somebody else has the partition: it is not listed twice.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use roaring::RoaringTreemap;

use crate::naming::Position;

/// How much is taken before some of it is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Records.
    pub(super) items: usize,
    /// Bytes of them; one record more than fits is taken.
    pub(super) bytes: usize,
}

/// What was handed to us, each with a `T`.
#[derive(Debug)]
pub(super) struct Window<T> {
    bounds: Bounds,
    partitions: BTreeMap<i32, Partition<T>>,
    items: usize,
    bytes: usize,
}

/// A record that waits to be settled.
#[derive(Debug)]
pub(super) struct Held<T> {
    pub(super) value: T,
    pub(super) since: Instant,
    bytes: usize,
}

#[derive(Debug)]
struct Partition<T> {
    /// Whether it is ours now.
    assigned: bool,
    /// Past the last record that came, or that there is none before.
    next: i64,
    /// What the group is known to have.
    committed: Option<i64>,
    held: BTreeMap<i64, Held<T>>,
    /// Settled, and not committed.
    settled: RoaringTreemap,
    /// From the first to the last record that was ever held.
    seen: Option<RangeInclusive<i64>>,
}

/// What became of a record that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivered {
    /// It waits to be settled.
    Held,
    /// It was settled before.
    Settled,
    /// Its partition is not ours.
    Stray,
    /// One behind it came before: the log is another than it was.
    Backwards,
}

/// What became of a position that was settled.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Settled<T> {
    /// It was held; here is what was held with it.
    Now(T),
    /// It had been settled before.
    Before,
    /// It is not at hand.
    Unknown,
}

/// What is known of a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// It waits to be settled.
    Held,
    /// It is settled.
    Settled,
    /// It was held, and its partition was taken away: whoever has that now decides. If that is us, it is to come again.
    Elsewhere,
    /// It was never here.
    Never,
}

impl<T> Window<T> {
    /// An empty one.
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, partitions: BTreeMap::new(), items: 0, bytes: 0 }
    }

    /// A partition is ours, from `from` on; `committed` is what the group has of it, if it has anything. Where that lies before what
    /// we committed, somebody has set the group back on purpose, and everything comes again.
    pub(super) fn assign(&mut self, partition: i32, from: i64, committed: Option<i64>) {
        self.revoke(partition);
        let part = self.partitions.entry(partition).or_insert_with(Partition::new);
        if part.committed.is_some_and(|before| from < before) {
            part.settled.clear();
        }
        part.settled.remove_range(..offset(from));
        (part.assigned, part.next, part.committed) = (true, from, committed);
    }

    /// A partition is ours no more, and what is held of it is listed no more. How many records that were.
    pub(super) fn revoke(&mut self, partition: i32) -> usize {
        let Some(part) = self.partitions.get_mut(&partition) else { return 0 };
        part.assigned = false;
        let held = std::mem::take(&mut part.held);
        self.items -= held.len();
        self.bytes -= held.values().map(|held| held.bytes).sum::<usize>();
        held.len()
    }

    /// Nothing that was known holds any more.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.bounds);
    }

    /// Whether another record may be taken.
    pub(super) fn has_room(&self) -> bool {
        self.items < self.bounds.items && self.bytes < self.bounds.bytes
    }

    /// How many records wait, and their bytes.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.items, self.bytes)
    }

    /// A record came, of so many bytes. `value` is made only where it is to be held.
    pub(super) fn deliver(&mut self, at: Position, bytes: usize, value: impl FnOnce() -> T) -> Delivered {
        let part = match self.come(at) {
            Ok(part) => part,
            Err(refused) => return refused,
        };
        if part.settled.contains(offset(at.offset)) {
            return Delivered::Settled;
        }
        let seen = part.seen.get_or_insert(at.offset..=at.offset);
        *seen = at.offset.min(*seen.start())..=at.offset.max(*seen.end());
        part.held.insert(at.offset, Held { value: value(), since: Instant::now(), bytes });
        self.items += 1;
        self.bytes += bytes;
        Delivered::Held
    }

    /// A record came that is nobody's work.
    pub(super) fn pass(&mut self, at: Position) -> Delivered {
        self.come(at).map_or_else(|refused| refused, |_| Delivered::Settled)
    }

    fn come(&mut self, at: Position) -> Result<&mut Partition<T>, Delivered> {
        let part = self.partitions.get_mut(&at.partition).filter(|part| part.assigned).ok_or(Delivered::Stray)?;
        if at.offset.saturating_add(1) == part.next {
            // It is told twice, as may happen where partitions are given or taken.
            return Err(Delivered::Settled);
        }
        if at.offset < part.next {
            // What lies from there on now is other work than what lay there.
            part.settled.remove_range(offset(at.offset)..);
            part.seen = part.seen.take().map(|seen| *seen.start()..=at.offset - 1).filter(|seen| !seen.is_empty());
            return Err(Delivered::Backwards);
        }
        part.next = at.offset.saturating_add(1);
        Ok(part)
    }

    /// Nothing lies before `next` that did not come: a transaction's marker was read, which is no record.
    pub(super) fn reach(&mut self, partition: i32, next: i64) {
        if let Some(part) = self.partitions.get_mut(&partition).filter(|part| part.assigned) {
            part.next = part.next.max(next);
        }
    }

    /// This record is done.
    pub(super) fn settle(&mut self, at: Position) -> Settled<T> {
        let Some(part) = self.partitions.get_mut(&at.partition) else { return Settled::Unknown };
        match part.held.remove(&at.offset) {
            Some(held) => {
                part.settled.insert(offset(at.offset));
                self.items -= 1;
                self.bytes -= held.bytes;
                Settled::Now(held.value)
            }
            None if part.is_settled(at.offset) => Settled::Before,
            None => Settled::Unknown,
        }
    }

    /// This record is done; it was held a while ago, and may have been taken away since.
    pub(super) fn settle_late(&mut self, at: Position) {
        if let Settled::Unknown = self.settle(at)
            && let Some(part) = self.partitions.get_mut(&at.partition)
        {
            part.settled.insert(offset(at.offset));
        }
    }

    /// What is known of a position.
    pub(super) fn known(&self, at: Position) -> Known {
        match self.partitions.get(&at.partition) {
            Some(part) if part.held.contains_key(&at.offset) => Known::Held,
            Some(part) if part.is_settled(at.offset) => Known::Settled,
            Some(part) if part.assigned && at.offset < part.next => Known::Never,
            Some(part) if part.seen.as_ref().is_some_and(|seen| seen.contains(&at.offset)) => Known::Elsewhere,
            Some(_) | None => Known::Never,
        }
    }

    /// Where each of our partitions may be committed, of those where that is more than the group has.
    pub(super) fn committable(&self) -> Vec<Position> {
        let ours = self.partitions.iter().filter(|(_, part)| part.assigned);
        let ahead = ours.filter(|(_, part)| part.committed.is_none_or(|committed| committed < part.prefix()));
        ahead.map(|(partition, part)| Position { partition: *partition, offset: part.prefix() }).collect()
    }

    /// The group has this now.
    pub(super) fn committed(&mut self, at: Position) {
        let Some(part) = self.partitions.get_mut(&at.partition) else { return };
        if part.committed.is_none_or(|committed| committed < at.offset) {
            part.committed = Some(at.offset);
            part.settled.remove_range(..offset(at.offset));
        }
    }

    /// Past the last record that came, of each partition that is ours.
    pub(super) fn positions(&self) -> impl Iterator<Item = Position> {
        let ours = self.partitions.iter().filter(|(_, part)| part.assigned);
        ours.map(|(partition, part)| Position { partition: *partition, offset: part.next })
    }

    /// How many records were settled beyond what the group has: these come again if we are killed now.
    pub(super) fn uncommitted(&self) -> u64 {
        self.partitions.values().filter(|part| part.assigned).map(|part| part.settled.len()).sum()
    }

    /// How far a commit would take the group, in offsets.
    pub(super) fn due(&self) -> u64 {
        let ours = self.partitions.values().filter(|part| part.assigned);
        let due = ours.map(|part| part.prefix() - part.committed.unwrap_or_else(|| part.prefix()));
        due.map(|offsets| u64::try_from(offsets).unwrap_or(0)).sum()
    }

    /// What waits, from a position on, in the order of positions.
    pub(super) fn held(&self, from: Option<Position>) -> impl Iterator<Item = (Position, &Held<T>)> {
        let from = from.unwrap_or(Position { partition: i32::MIN, offset: i64::MIN });
        self.partitions.range(from.partition..).flat_map(move |(partition, part)| {
            let first = if *partition == from.partition { from.offset } else { i64::MIN };
            let held = part.held.range(first..);
            held.map(move |(offset, held)| (Position { partition: *partition, offset: *offset }, held))
        })
    }

    /// What waits at a position.
    pub(super) fn get(&self, at: Position) -> Option<&Held<T>> {
        self.partitions.get(&at.partition)?.held.get(&at.offset)
    }

    /// What waits at a position, to be changed.
    pub(super) fn get_mut(&mut self, at: Position) -> Option<&mut T> {
        Some(&mut self.partitions.get_mut(&at.partition)?.held.get_mut(&at.offset)?.value)
    }

    /// How long the record that waits longest has waited.
    pub(super) fn oldest(&self) -> Option<Duration> {
        let since = self.partitions.values().flat_map(|part| part.held.values().map(|held| held.since)).min();
        since.map(|since| since.elapsed())
    }
}

impl<T> Partition<T> {
    fn new() -> Self {
        let settled = RoaringTreemap::new();
        Self { assigned: false, next: 0, committed: None, held: BTreeMap::new(), settled, seen: None }
    }

    fn is_settled(&self, at: i64) -> bool {
        self.settled.contains(offset(at)) || self.committed.is_some_and(|committed| at < committed)
    }

    /// Everything before this is settled, or nothing.
    fn prefix(&self) -> i64 {
        self.held.first_key_value().map_or(self.next, |(first, _)| *first)
    }
}

/// As the bitmap has it; offsets of records are never negative.
fn offset(offset: i64) -> u64 {
    u64::try_from(offset).unwrap_or_default()
}

#[cfg(test)]
mod tests;
