//! Which records there are, partition by partition: a bit for each, and nothing of what they say.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use roaring::RoaringTreemap;

use crate::naming::Position;

/// After how many offsets bits are packed again, where runs of them are shorter than the bits.
const PACK: u64 = 1 << 20;
/// How far below the oldest record those that left the list are remembered.
const REMEMBERED: u64 = 1 << 22;

/// Why a record is not listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    /// It has no value.
    Tombstone,
    /// Its value, key and headers are larger than `--max-value`.
    TooLarge,
    /// Its value is not what `--payload` says.
    Malformed,
}

impl Reason {
    /// Every one, in the order of their bitmaps.
    pub(super) const ALL: [Self; 3] = [Self::Tombstone, Self::TooLarge, Self::Malformed];

    /// The word of the contract.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Tombstone => "tombstone",
            Self::TooLarge => "too-large",
            Self::Malformed => "malformed",
        }
    }
}

/// What became of a record that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Listed,
    Withheld(Reason),
}

/// What is known of a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// A record lies there and is listed.
    Listed,
    /// One was listed there and is no more.
    Gone,
    /// Everything else: a gap, what is withheld, what was not read.
    Nothing,
}

/// Part of what there is, in the order of positions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part<T> {
    pub(super) items: Vec<T>,
    /// Where the rest begins.
    pub(super) next: Option<Position>,
    /// How many follow.
    pub(super) remaining: u64,
}

/// Told of every run of offsets that has come onto the list, or has left it.
pub(super) type Tell<'a> = &'a mut dyn FnMut(i32, RangeInclusive<u64>);

/// The records of a topic. Memory: at most a bit for each offset, and nearly nothing for runs of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    partitions: BTreeMap<i32, Partition>,
}

#[derive(Clone, Debug, Default)]
struct Partition {
    /// Everything below was read.
    next: u64,
    listed: RoaringTreemap,
    /// By [`Reason`].
    withheld: [RoaringTreemap; Reason::ALL.len()],
    gone: RoaringTreemap,
    packed: u64,
}

impl Index {
    /// A partition that is read from `start` on, if it was not known.
    pub(super) fn open(&mut self, partition: i32, start: i64) {
        let start = offset(start);
        self.partitions.entry(partition).or_insert_with(|| Partition {
            next: start,
            packed: start,
            ..Partition::default()
        });
    }

    /// The offset from which on a partition was not read; `None` if it was never opened.
    pub(super) fn next(&self, partition: i32) -> Option<i64> {
        self.partitions.get(&partition).map(|partition| signed(partition.next))
    }

    /// Whether no partition was opened yet.
    pub(super) fn is_empty(&self) -> bool {
        self.partitions.is_empty()
    }

    /// Records that were read, in the order of their offsets. What was read before is passed over: the log may be read again from
    /// wherever a connection was lost.
    pub(super) fn append(&mut self, partition: i32, records: impl IntoIterator<Item = (i64, Sort)>, tell: Tell<'_>) {
        let Some(known) = self.partitions.get_mut(&partition) else { return };
        let mut run: Option<(Sort, RangeInclusive<u64>)> = None;
        for (at, sort) in records {
            let at = offset(at);
            if at < known.next {
                continue;
            }
            known.next = at + 1;
            run = match run {
                Some((of, range)) if of == sort && range.end() + 1 == at => Some((of, *range.start()..=at)),
                Some((of, range)) => {
                    known.insert(of, range, &mut |range| tell(partition, range));
                    Some((sort, at..=at))
                }
                None => Some((sort, at..=at)),
            };
        }
        if let Some((of, range)) = run {
            known.insert(of, range, &mut |range| tell(partition, range));
        }
        known.pack();
    }

    /// The log begins at `low` now: what was before is gone.
    pub(super) fn trim(&mut self, partition: i32, low: i64, tell: Tell<'_>) {
        let low = offset(low);
        let Some(known) = self.partitions.get_mut(&partition) else { return };
        let Some(last) = low.checked_sub(1) else { return };
        known.next = known.next.max(low);
        for range in runs(&known.listed, 0..=last) {
            known.gone.insert_range(range.clone());
            tell(partition, range);
        }
        for bits in known.withheld.iter_mut().chain([&mut known.listed]) {
            if bits.min().is_some_and(|min| min < low) {
                bits.remove_range(..low);
            }
        }
        known.gone.remove_range(..low.saturating_sub(REMEMBERED));
    }

    /// The log ends at `high`, which is before what was read: a leader that had less took over. What lay behind is forgotten, and is
    /// read anew when other records take its place.
    pub(super) fn cut(&mut self, partition: i32, high: i64, tell: Tell<'_>) {
        let high = offset(high);
        let Some(known) = self.partitions.get_mut(&partition) else { return };
        for range in runs(&known.listed, high..=u64::MAX) {
            known.gone.insert_range(range.clone());
            tell(partition, range);
        }
        for bits in known.withheld.iter_mut().chain([&mut known.listed]) {
            bits.remove_range(high..);
        }
        known.next = known.next.min(high);
        known.packed = known.packed.min(high);
    }

    /// The record is there no more. Whether it was listed.
    pub(super) fn forget(&mut self, at: Position, tell: Tell<'_>) -> bool {
        let offset = offset(at.offset);
        let Some(known) = self.partitions.get_mut(&at.partition) else { return false };
        let was = known.listed.remove(offset);
        if was {
            known.gone.insert(offset);
            tell(at.partition, offset..=offset);
        }
        was
    }

    /// What is known of a position.
    pub(super) fn look(&self, at: Position) -> Known {
        let (Some(known), Ok(offset)) = (self.partitions.get(&at.partition), u64::try_from(at.offset)) else {
            return Known::Nothing;
        };
        if known.listed.contains(offset) {
            Known::Listed
        } else if known.gone.contains(offset) {
            Known::Gone
        } else {
            Known::Nothing
        }
    }

    /// At most `max` listed positions from `from` on, whatever that is.
    pub(super) fn page(&self, from: Option<Position>, max: usize) -> Part<Position> {
        self.part(from, max, |known| [(&known.listed, ())], |at, ()| at)
    }

    /// At most `max` withheld positions from `from` on, and why.
    pub(super) fn withheld(&self, from: Option<Position>, max: usize) -> Part<(Position, Reason)> {
        let [first, second, third] = Reason::ALL;
        self.part(
            from,
            max,
            |known| {
                let [one, two, three] = &known.withheld;
                [(one, first), (two, second), (three, third)]
            },
            |at, reason| (at, reason),
        )
    }

    /// How many are listed.
    pub(super) fn listed(&self) -> u64 {
        self.partitions.values().map(|known| known.listed.len()).sum()
    }

    /// How many are withheld, by reason.
    pub(super) fn withheld_counts(&self) -> [(Reason, u64); Reason::ALL.len()] {
        let mut counts = Reason::ALL.map(|reason| (reason, 0));
        for known in self.partitions.values() {
            for ((_, count), bits) in counts.iter_mut().zip(&known.withheld) {
                *count += bits.len();
            }
        }
        counts
    }

    /// A walk through bitmaps that share no offset, merged.
    fn part<'a, const N: usize, M: Copy + 'a, T>(
        &'a self,
        from: Option<Position>,
        max: usize,
        of: impl Fn(&'a Partition) -> [(&'a RoaringTreemap, M); N],
        show: impl Fn(Position, M) -> T,
    ) -> Part<T> {
        let from = from.unwrap_or(Position { partition: i32::MIN, offset: 0 });
        let (mut items, mut next, mut remaining) = (Vec::new(), None, 0);
        for (&partition, known) in self.partitions.range(from.partition..) {
            let start = if partition == from.partition { offset(from.offset) } else { 0 };
            if next.is_some() {
                remaining += of(known).iter().map(|(bits, _)| bits.len()).sum::<u64>();
                continue;
            }
            let mut walks = of(known).map(|(bits, mark)| {
                let mut walk = bits.iter();
                walk.advance_to(start);
                (walk.peekable(), mark)
            });
            loop {
                let first = walks.iter_mut().filter_map(|(walk, mark)| Some((*walk.peek()?, *mark, walk)));
                let Some((at, mark, walk)) = first.min_by_key(|(at, ..)| *at) else { break };
                let position = Position { partition, offset: signed(at) };
                if items.len() == max {
                    next = Some(position);
                    remaining += of(known).iter().map(|(bits, _)| from_on(bits, at)).sum::<u64>();
                    break;
                }
                walk.next();
                items.push(show(position, mark));
            }
        }
        Part { items, next, remaining }
    }
}

impl Partition {
    fn insert(&mut self, sort: Sort, range: RangeInclusive<u64>, tell: &mut dyn FnMut(RangeInclusive<u64>)) {
        // Only after a cut is it that an offset comes again.
        if !self.gone.is_empty() {
            self.gone.remove_range(range.clone());
        }
        match sort {
            Sort::Listed => {
                self.listed.insert_range(range.clone());
                tell(range);
            }
            Sort::Withheld(reason) => {
                if let Some((_, bits)) = Reason::ALL.into_iter().zip(&mut self.withheld).find(|(of, _)| *of == reason) {
                    bits.insert_range(range);
                }
            }
        }
    }

    fn pack(&mut self) {
        if self.next - self.packed.min(self.next) >= PACK {
            self.packed = self.next;
            for bits in self.withheld.iter_mut().chain([&mut self.listed, &mut self.gone]) {
                bits.optimize();
            }
        }
    }
}

/// Runs of neighbours within `within`, one after another: there may be as many as records.
fn runs(bits: &RoaringTreemap, within: RangeInclusive<u64>) -> impl Iterator<Item = RangeInclusive<u64>> {
    let mut walk = bits.iter();
    walk.advance_to(*within.start());
    let mut walk = walk.take_while(move |at| at <= within.end()).peekable();
    std::iter::from_fn(move || {
        let first = walk.next()?;
        let mut last = first;
        while let Some(next) = walk.next_if_eq(&(last + 1)) {
            last = next;
        }
        Some(first..=last)
    })
}

/// How many bits there are from `at` on.
fn from_on(bits: &RoaringTreemap, at: u64) -> u64 {
    bits.len() - at.checked_sub(1).map_or(0, |before| bits.rank(before))
}

/// An offset as bits count; what is none, since somebody made up a position, is the start.
fn offset(offset: i64) -> u64 {
    u64::try_from(offset).unwrap_or(0)
}

fn signed(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
