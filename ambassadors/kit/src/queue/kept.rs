//! Names that failed for good and have nowhere to go.

use std::collections::{HashMap, VecDeque};

use contract::ItemName;

use super::window::Why;

/// How many are known; the oldest make room. It is as many as a window can hold.
const MOST: usize = 65_536;

/// Why each was kept.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// With when each was kept last.
    names: HashMap<ItemName, (Why, u64)>,
    /// As they were kept; what was kept again or settled since counts no more.
    order: VecDeque<(ItemName, u64)>,
    next: u64,
}

impl Kept {
    pub(super) fn add(&mut self, name: &ItemName, why: Why) {
        self.names.insert(name.clone(), (why, self.next));
        self.order.push_back((name.clone(), self.next));
        self.next += 1;
        while self.order.len() > MOST {
            if let Some((oldest, kept)) = self.order.pop_front()
                && self.names.get(&oldest).is_some_and(|(_, last)| *last == kept)
            {
                self.names.remove(&oldest);
            }
        }
    }

    pub(super) fn get(&self, name: &ItemName) -> Option<Why> {
        self.names.get(name).map(|(why, _)| why.clone())
    }

    pub(super) fn remove(&mut self, name: &ItemName) {
        self.names.remove(name);
    }
}
