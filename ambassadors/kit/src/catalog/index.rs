//! From a hash to the sequence numbers of what has it, eight bytes each.

use hashbrown::HashTable;

/// Bits of a sequence number: a trillion entries in the life of a catalog.
const SEQ_BITS: u32 = 40;
const SEQ: u64 = (1 << SEQ_BITS) - 1;

/// Each element is a sequence number and, above it, 24 bits of the hash: enough to grow the table, and to pass over nearly
/// every stranger, without looking at entries that lie all over the memory.
#[derive(Debug, Default)]
pub(super) struct Index(HashTable<u64>);

impl Index {
    pub(super) fn insert(&mut self, hash: u64, seq: u64) {
        let element = tag(hash) | (seq & SEQ);
        self.0.insert_unique(spread(element), element, |element| spread(*element));
    }

    /// The sequence number of this hash that `is` the one meant.
    pub(super) fn find(&self, hash: u64, is: impl Fn(u64) -> bool) -> Option<u64> {
        let tag = tag(hash);
        let found = self.0.find(spread(tag), |element| element & !SEQ == tag && is(element & SEQ))?;
        Some(found & SEQ)
    }

    pub(super) fn remove(&mut self, hash: u64, seq: u64) {
        let element = tag(hash) | (seq & SEQ);
        if let Ok(found) = self.0.find_entry(spread(element), |other| *other == element) {
            found.remove();
        }
    }
}

/// The part of a hash that is kept.
fn tag(hash: u64) -> u64 {
    hash & !SEQ
}

/// A hash as the table wants it, made of what is kept (Fibonacci hashing).
fn spread(element: u64) -> u64 {
    (element >> SEQ_BITS).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}
