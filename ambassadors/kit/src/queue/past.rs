//! Names that were: the youngest of many.

use std::collections::{HashMap, VecDeque};

use contract::ItemName;

/// How many are known.
const MOST: usize = 65_536;

/// The youngest names that were added.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// With when each was added last.
    names: HashMap<ItemName, u64>,
    /// As they were added; what was added again or removed since counts no more.
    order: VecDeque<(ItemName, u64)>,
    next: u64,
}

impl Past {
    pub(super) fn contains(&self, name: &ItemName) -> bool {
        self.names.contains_key(name)
    }

    pub(super) fn add(&mut self, name: &ItemName) {
        self.names.insert(name.clone(), self.next);
        self.order.push_back((name.clone(), self.next));
        self.next += 1;
        while self.order.len() > MOST {
            if let Some((oldest, added)) = self.order.pop_front()
                && self.names.get(&oldest) == Some(&added)
            {
                self.names.remove(&oldest);
            }
        }
    }

    /// Its place in the order stays, until it is the oldest.
    pub(super) fn remove(&mut self, name: &ItemName) {
        self.names.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_youngest_are_known_also_those_that_were_known_before() {
        let (mut past, name) = (Past::default(), |n: usize| ItemName::derive(b"", n.to_string().as_bytes(), b""));
        for round in 0..3 {
            past.remove(&name(0));
            for n in 0..MOST / 2 {
                past.add(&name(n));
                assert!(past.contains(&name(n)), "{n} in round {round}");
            }
        }
        past.add(&name(MOST));
        assert!(past.contains(&name(0)) && past.order.len() == MOST && past.names.len() == MOST / 2 + 1);
        for n in MOST..2 * MOST {
            past.add(&name(n));
        }
        assert!(!past.contains(&name(0)) && past.contains(&name(MOST)));
    }
}
