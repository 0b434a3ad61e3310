//! Directories that some worker has published: what lies in them is withheld.
//!
//! The marker that says so is seen before some of what lies there and after the rest. What was listed by then is found in the
//! catalog, not asked of the store: that costs no request, however many directories there are.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

/// Directories, by 64 bits of each, seeded at random, so that nobody who writes objects can make two meet.
#[derive(Debug, Default)]
struct Directories {
    known: HashSet<u64>,
    /// Those met since the look at everything began.
    met: HashSet<u64>,
}

/// Which directories are output, and from which something was listed.
#[derive(Debug, Default)]
pub(super) struct Outputs {
    hasher: RandomState,
    marked: Directories,
    /// Those in which, at any depth, something may be listed.
    inhabited: Directories,
    /// The one something was found in last: mostly the next key lies there too.
    last: String,
    /// Those that are new as output, and inhabited.
    fresh: HashSet<u64>,
}

impl Directories {
    /// Whether it was not known.
    fn meet(&mut self, dir: u64) -> bool {
        self.met.insert(dir);
        self.known.insert(dir)
    }
}

impl Outputs {
    /// A marker lies in this directory, which has its slash.
    pub(super) fn meet(&mut self, dir: &str) {
        let dir = self.hasher.hash_one(dir);
        if self.marked.meet(dir) && self.inhabited.known.contains(&dir) {
            self.fresh.insert(dir);
        }
    }

    /// This key is about to be listed.
    pub(super) fn inhabit(&mut self, key: &str) {
        let Some((dir, _)) = key.rsplit_once('/') else { return };
        if self.last == dir {
            return;
        }
        dir.clone_into(&mut self.last);
        for dir in directories(key) {
            self.inhabited.meet(self.hasher.hash_one(dir));
        }
    }

    /// Whether a key lies in one that is output.
    pub(super) fn holds(&self, key: &str) -> bool {
        self.any(&self.marked.known, key)
    }

    /// Whether something may be listed that lies in one that has become output.
    pub(super) fn is_fresh(&self) -> bool {
        !self.fresh.is_empty()
    }

    /// Whether a key lies in one that has become output.
    pub(super) fn holds_fresh(&self, key: &str) -> bool {
        self.any(&self.fresh, key)
    }

    /// What lay in those that have become output is withheld.
    pub(super) fn settle_fresh(&mut self) {
        self.fresh.clear();
    }

    /// A look at everything begins.
    pub(super) fn begin(&mut self) {
        self.marked.met.clear();
        self.inhabited.met.clear();
        self.last.clear();
    }

    /// It has seen everything: what has no marker any more is listed from the next look on.
    pub(super) fn end(&mut self) {
        for directories in [&mut self.marked, &mut self.inhabited] {
            directories.known = std::mem::take(&mut directories.met);
        }
        self.last.clear();
    }

    fn any(&self, dirs: &HashSet<u64>, key: &str) -> bool {
        !dirs.is_empty() && directories(key).any(|dir| dirs.contains(&self.hasher.hash_one(dir)))
    }
}

/// All directories that a key lies in, each with its slash.
fn directories(key: &str) -> impl Iterator<Item = &str> {
    key.match_indices('/').filter_map(|(at, _)| key.get(..=at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_below_a_marker_is_output_as_long_as_the_marker_lies_there() {
        let mut outputs = Outputs::default();
        outputs.begin();
        outputs.meet("out/a/");
        outputs.end();
        assert!(outputs.holds("out/a/b/c") && !outputs.holds("out/ab") && !outputs.holds("out/b/a"));
        outputs.begin();
        outputs.meet("out/a/");
        assert!(outputs.holds("out/a/b"), "also before the marker is met again");
        outputs.end();
        outputs.begin();
        outputs.end();
        assert!(!outputs.holds("out/a/b"));
    }

    #[test]
    fn only_a_marker_after_something_was_listed_is_worth_a_look() {
        let mut outputs = Outputs::default();
        outputs.begin();
        outputs.inhabit("out/a/b/1.jpg");
        outputs.meet("out/c/");
        assert!(!outputs.is_fresh());
        outputs.meet("out/a/");
        assert!(outputs.is_fresh() && outputs.holds_fresh("out/a/b/1.jpg") && !outputs.holds_fresh("out/c/1.jpg"));
        outputs.settle_fresh();
        outputs.meet("out/a/");
        assert!(!outputs.is_fresh(), "once");
        outputs.end();
        outputs.begin();
        outputs.end();
        outputs.meet("out/a/b/");
        assert!(!outputs.is_fresh() && outputs.inhabited.known.is_empty(), "what is gone is not remembered");
        // One key after another of one directory is told from what it was before.
        outputs.inhabit("out/a/b/1.jpg");
        outputs.begin();
        outputs.inhabit("out/a/b/2.jpg");
        outputs.end();
        assert!(!outputs.inhabited.known.is_empty());
    }
}
