//! Messages of one identity that come while one of them is held, and how those that are done were settled.

use std::collections::{HashMap, HashSet, VecDeque};

use contract::ItemName;

use super::{Tag, Verdict};

/// Rejected names remembered at most; the oldest make room.
const MOST: usize = 65_536;

#[derive(Debug, Default)]
pub(super) struct Twins {
    held: HashMap<ItemName, Vec<Tag>>,
    rejected: HashSet<ItemName>,
    order: VecDeque<ItemName>,
}

impl Twins {
    /// Another of this name came.
    pub(super) fn add(&mut self, name: &ItemName, tag: Tag) {
        self.held.entry(name.clone()).or_default().push(tag);
    }

    /// That one is to be held by itself after all. Whether nobody has settled it.
    pub(super) fn take_back(&mut self, name: &ItemName, tag: Tag) -> bool {
        let Some(tags) = self.held.get_mut(name) else { return false };
        let before = tags.len();
        tags.retain(|held| *held != tag);
        let was_there = tags.len() < before;
        if tags.is_empty() {
            self.held.remove(name);
        }
        was_there
    }

    /// All others of this name, to be settled with it.
    pub(super) fn take(&mut self, name: &ItemName) -> Vec<Tag> {
        self.held.remove(name).unwrap_or_default()
    }

    /// All that came is the broker's again.
    pub(super) fn forget_tags(&mut self) {
        self.held.clear();
    }

    /// The broker was told this of it; it may not have heard.
    pub(super) fn settled(&mut self, name: &ItemName, verdict: Verdict) {
        if verdict == Verdict::Ack {
            self.rejected.remove(name);
        } else if self.rejected.insert(name.clone()) {
            self.order.push_back(name.clone());
            while self.order.len() > MOST {
                let oldest = self.order.pop_front();
                oldest.map(|oldest| self.rejected.remove(&oldest));
            }
        }
    }

    /// What the broker was told of one that is settled.
    pub(super) fn verdict(&self, name: &ItemName) -> Verdict {
        if self.rejected.contains(name) { Verdict::Reject } else { Verdict::Ack }
    }
}
