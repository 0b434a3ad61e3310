//! Which items are listed, so that what is listed no more can be told: one bit an item, and only complete lists count.

use crate::ledger::ItemId;

/// A set of items, as a bitmap over their numbers: 125 KB for a million.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdSet(Vec<u64>);

impl IdSet {
    /// Adds an item.
    pub fn insert(&mut self, id: ItemId) {
        let Some((word, bit)) = place(id) else { return };
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        if let Some(word) = self.0.get_mut(word) {
            *word |= bit;
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// Those that `other` does not have.
    pub fn minus(&self, other: &Self) -> Vec<ItemId> {
        let mut left = Vec::new();
        for (index, word) in self.0.iter().enumerate() {
            let mut rest = word & !other.0.get(index).copied().unwrap_or(0);
            while rest != 0 {
                let bit = rest.trailing_zeros() as usize;
                rest &= rest - 1;
                left.push(ItemId(i64::try_from(index * 64 + bit).unwrap_or(i64::MAX)));
            }
        }
        left
    }

    /// Adds all those of another.
    pub fn add(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (word, more) in self.0.iter_mut().zip(&other.0) {
            *word |= more;
        }
    }
}

impl FromIterator<ItemId> for IdSet {
    fn from_iter<I: IntoIterator<Item = ItemId>>(ids: I) -> Self {
        let mut set = Self::default();
        ids.into_iter().for_each(|id| set.insert(id));
        set
    }
}

/// SQLite numbers rows from 1.
fn place(id: ItemId) -> Option<(usize, u64)> {
    let id = usize::try_from(id.0).ok()?;
    Some((id / 64, 1 << (id % 64)))
}

/// What the lists so far have shown.
#[derive(Clone, Debug, Default)]
pub struct Presence {
    listed: IdSet,
}

impl Presence {
    /// Starts from what was listed when the ledger was last written.
    pub fn new(listed: impl IntoIterator<Item = ItemId>) -> Self {
        Self { listed: listed.into_iter().collect() }
    }

    /// Whether nothing was listed.
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// An item was seen to be listed, outside any walk: the next complete list says whether it is still.
    pub fn met(&mut self, id: ItemId) {
        self.listed.insert(id);
    }

    /// A walk through the list has ended; gives what it proves absent: nothing, unless it was complete.
    pub fn walked(&mut self, seen: IdSet, complete: bool) -> Vec<ItemId> {
        if !complete {
            self.listed.add(&seen);
            return Vec::new();
        }
        let absent = self.listed.minus(&seen);
        self.listed = seen;
        absent
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn set(ids: &BTreeSet<i64>) -> IdSet {
        ids.iter().map(|id| ItemId(*id)).collect()
    }

    proptest! {
        #[test]
        fn only_complete_lists_prove_absence(walks in prop::collection::vec(
            (prop::collection::btree_set(1_i64..300, 0..60), any::<bool>()), 0..10,
        )) {
            let mut presence = Presence::default();
            let mut model = BTreeSet::new();
            for (seen, complete) in walks {
                let absent: BTreeSet<i64> =
                    presence.walked(set(&seen), complete).into_iter().map(|id| id.0).collect();
                if complete {
                    prop_assert_eq!(absent, model.difference(&seen).copied().collect::<BTreeSet<_>>());
                    model = seen;
                } else {
                    prop_assert!(absent.is_empty());
                    model.extend(seen);
                }
                prop_assert_eq!(presence.is_empty(), model.is_empty());
            }
        }
    }
}
