//! What a catalog remembers of the past: its last changes, and the names it listed not long ago. Both are bounded.

use std::collections::{HashSet, VecDeque};

use contract::ItemName;

use crate::source::{Change, Revision, SourceError};

/// Changes a watch can catch up with.
const CHANGES: usize = 16_384;
/// Names that are remembered as gone: at least the last so many, at most twice that.
const GONE: usize = 65_536;

/// The last changes, each with its revision, without gaps.
#[derive(Debug, Default)]
pub(super) struct Log {
    changes: VecDeque<Change>,
    revision: Revision,
}

impl Log {
    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    pub(super) fn record(&mut self, name: ItemName, listed: bool) {
        self.revision += 1;
        if self.changes.len() == CHANGES {
            self.changes.pop_front();
        }
        self.changes.push_back(Change { revision: self.revision, listed, name });
    }

    /// At most `max` changes after `since`.
    pub(super) fn after(&self, since: Revision, max: usize) -> Result<Vec<Change>, SourceError> {
        let behind = self.revision.checked_sub(since).ok_or(SourceError::Expired("that revision never was"))?;
        let skip = usize::try_from(behind)
            .ok()
            .and_then(|behind| self.changes.len().checked_sub(behind))
            .ok_or(SourceError::Expired("that revision is too old to tell what changed since"))?;
        Ok(self.changes.iter().skip(skip).take(max).cloned().collect())
    }
}

/// Names that were listed, by hash: a false memory, one in 10^14 with the set full, says 410 where 404 was right.
#[derive(Debug, Default)]
pub(super) struct Gone {
    young: HashSet<u64>,
    old: HashSet<u64>,
}

impl Gone {
    pub(super) fn add(&mut self, name: u64) {
        if self.young.len() == GONE {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(name);
    }

    pub(super) fn remove(&mut self, name: u64) {
        for names in [&mut self.young, &mut self.old] {
            // An empty set would hash it all the same.
            if !names.is_empty() {
                names.remove(&name);
            }
        }
    }

    pub(super) fn contains(&self, name: u64) -> bool {
        self.young.contains(&name) || self.old.contains(&name)
    }
}
