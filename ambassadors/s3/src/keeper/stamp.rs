//! What is kept beside each listed key.

use std::hash::{BuildHasher, RandomState};

/// Which version of a key is listed: 64 bits of it, seeded at random, so that nobody who writes objects can make two versions
/// meet. The version itself stands in the name, hashed; whoever reads or settles an item asks the store and names what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp(u64);

/// Makes stamps.
#[derive(Debug, Default)]
pub(crate) struct Stamps(RandomState);

impl Stamps {
    /// That of a version.
    pub(crate) fn of(&self, version: &str) -> Stamp {
        Stamp(self.0.hash_one(version))
    }
}
