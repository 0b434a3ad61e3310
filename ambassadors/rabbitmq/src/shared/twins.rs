//! Messages of one identity that come while one of them is held.

use std::collections::HashMap;

use contract::ItemName;

use super::Tag;

#[derive(Debug, Default)]
pub(super) struct Twins(HashMap<ItemName, Vec<Tag>>);

impl Twins {
    /// Another of this name came.
    pub(super) fn add(&mut self, name: &ItemName, tag: Tag) {
        self.0.entry(name.clone()).or_default().push(tag);
    }

    /// That one is to be held by itself after all. Whether nobody has settled it.
    pub(super) fn take_back(&mut self, name: &ItemName, tag: Tag) -> bool {
        let Some(tags) = self.0.get_mut(name) else { return false };
        let before = tags.len();
        tags.retain(|held| *held != tag);
        let was_there = tags.len() < before;
        if tags.is_empty() {
            self.0.remove(name);
        }
        was_there
    }

    /// All others of this name, to be settled with it.
    pub(super) fn take(&mut self, name: &ItemName) -> Vec<Tag> {
        self.0.remove(name).unwrap_or_default()
    }

    /// All that came is the broker's again.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}
