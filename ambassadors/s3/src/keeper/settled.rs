//! What was settled while the bucket was being looked at: a page that was asked for before may still show it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Stamp;

/// Versions that are gone since the look under way began.
#[derive(Debug, Default)]
pub(crate) struct SettledNow(Mutex<HashMap<Box<[u8]>, Stamp>>);

impl SettledNow {
    /// This version of the key is gone. To be said before it is taken from the catalog.
    pub(crate) fn add(&self, key: &[u8], stamp: Stamp) {
        self.lock().insert(key.into(), stamp);
    }

    /// Whether this version of the key is gone.
    pub(super) fn has(&self, key: &[u8], stamp: Stamp) -> bool {
        let settled = self.lock();
        !settled.is_empty() && settled.get(key) == Some(&stamp)
    }

    /// Another look begins.
    pub(super) fn clear(&self) {
        std::mem::take(&mut *self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<[u8]>, Stamp>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Stamps;
    use super::*;

    #[test]
    fn what_is_settled_is_one_version_of_one_key_until_the_next_look() {
        let (settled, stamps) = (SettledNow::default(), Stamps::default());
        let (old, new) = (stamps.of("old"), stamps.of("new"));
        settled.add(b"a", old);
        assert!(settled.has(b"a", old) && !settled.has(b"a", new) && !settled.has(b"b", old));
        settled.add(b"a", new);
        assert!(settled.has(b"a", new));
        settled.clear();
        assert!(!settled.has(b"a", new));
    }
}
