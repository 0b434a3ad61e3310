//! What was ours when a connection ended of which the broker may not know yet.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use contract::ItemName;

/// Names of messages that the broker may take to be in our hands: until it has noticed, it says that they wait nowhere.
#[derive(Debug)]
pub(super) struct Owed {
    names: HashSet<ItemName>,
    until: Instant,
}

impl Default for Owed {
    fn default() -> Self {
        Self { names: HashSet::new(), until: Instant::now() }
    }
}

impl Owed {
    /// These were held. For so long it may take the broker to notice.
    pub(super) fn add(&mut self, names: impl IntoIterator<Item = ItemName>, patience: Duration) {
        self.names.extend(names);
        self.until = Instant::now() + patience;
    }

    /// This one came again.
    pub(super) fn came(&mut self, name: &ItemName) {
        self.names.remove(name);
    }

    /// Whether some may still be taken for ours. Those that others have by now, or that are gone, never come.
    pub(super) fn is_any(&mut self) -> bool {
        if self.until <= Instant::now() {
            self.names.clear();
        }
        !self.names.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_held_is_waited_for_until_it_comes_or_for_a_while() {
        let (mut owed, name) = (Owed::default(), |n: &str| ItemName::derive(b"", n.as_bytes(), b""));
        assert!(!owed.is_any());
        owed.add([name("a"), name("b")], Duration::from_secs(3_600));
        owed.came(&name("a"));
        assert!(owed.is_any());
        owed.came(&name("b"));
        assert!(!owed.is_any());
        owed.add([name("a")], Duration::ZERO);
        assert!(!owed.is_any());
    }
}
