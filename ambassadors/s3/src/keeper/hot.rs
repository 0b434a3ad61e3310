//! Where new keys are likely to turn up: behind the greatest known key of prefixes that have grown before.
//!
//! A store cannot be asked for what is new, only for what follows a key. Where names grow, by date or by number, that finds all
//! that is new by one request. Nothing rests on it: what turns up elsewhere is found when its turn comes.

use std::collections::HashMap;

use contract::Timestamp;

/// Prefixes that are remembered.
const TAILS: usize = 64;
/// Prefixes compared while everything is looked at, before those are left that were written to last.
const CANDIDATES: usize = 1_024;
/// How many keys before the greatest a tail begins: writers at work at the same time finish out of order.
const OVERLAP: usize = 500;

/// What follows `after` among the keys that begin with `prefix`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    pub(super) prefix: String,
    pub(super) after: Option<String>,
    /// The poll that found something new here last, counted.
    hit: u64,
}

/// The tails of one prefix and of those within it.
#[derive(Debug)]
pub(super) struct Hot {
    root: Tail,
    within: Vec<Tail>,
    polls: u64,
}

/// Which prefixes were written to last, while everything is looked at.
#[derive(Debug, Default)]
pub(super) struct Newest {
    greatest: Option<String>,
    within: HashMap<String, (Timestamp, String)>,
}

impl Tail {
    pub(super) fn of(prefix: &str, after: Option<String>) -> Self {
        Self { prefix: prefix.to_owned(), after, hit: 0 }
    }
}

impl Newest {
    /// An object that is there.
    pub(super) fn see(&mut self, key: &str, written: Option<Timestamp>) {
        if self.greatest.as_deref().is_none_or(|greatest| greatest < key) {
            self.greatest = Some(key.to_owned());
        }
        let (Some(written), Some((folder, _))) = (written, key.rsplit_once('/')) else { return };
        if let Some((last, greatest)) = self.within.get_mut(folder) {
            *last = written.max(*last);
            if greatest.as_str() < key {
                key.clone_into(greatest);
            }
            return;
        }
        if self.within.len() >= CANDIDATES {
            let mut times: Vec<_> = self.within.values().map(|(time, _)| *time).collect();
            times.sort_unstable();
            let middle = times.get(times.len() / 2).copied().unwrap_or(written);
            self.within.retain(|_, (time, _)| *time > middle);
        }
        if self.within.len() < CANDIDATES {
            self.within.insert(folder.to_owned(), (written, key.to_owned()));
        }
    }
}

impl Hot {
    /// Of everything that begins with `prefix`.
    pub(super) fn new(prefix: &str) -> Self {
        Self { root: Tail::of(prefix, None), within: Vec::new(), polls: 0 }
    }

    /// Everything was looked at.
    pub(super) fn seed(&mut self, newest: Newest) {
        self.root.after = newest.greatest;
        let mut within: Vec<_> = newest.within.into_iter().collect();
        within.sort_unstable_by_key(|(_, (written, _))| std::cmp::Reverse(*written));
        for (folder, (_, greatest)) in within.into_iter().take(TAILS / 4).rev() {
            self.grew(&format!("{folder}/"), &greatest);
        }
    }

    /// A key turned up that was not known: what follows it, in each of the prefixes it lies in, is likely to grow.
    pub(super) fn learn(&mut self, key: &str) {
        let from = self.root.prefix.len();
        let folders: Vec<usize> = key.match_indices('/').map(|(at, _)| at + 1).filter(|at| *at > from).collect();
        for at in folders {
            if let Some(prefix) = key.get(..at) {
                self.grew(prefix, key);
            }
        }
    }

    fn grew(&mut self, prefix: &str, key: &str) {
        let hit = self.polls;
        if let Some(tail) = self.within.iter_mut().find(|tail| tail.prefix == prefix) {
            tail.hit = hit;
            return;
        }
        if self.within.len() >= TAILS
            && let Some(coldest) = self.within.iter().enumerate().min_by_key(|(_, tail)| tail.hit).map(|(at, _)| at)
        {
            self.within.swap_remove(coldest);
        }
        self.within.push(Tail { prefix: prefix.to_owned(), after: Some(key.to_owned()), hit });
    }

    /// The tails to look at now: that of everything, and those that grew last, `most` in all.
    pub(super) fn tails(&mut self, most: usize) -> Vec<Tail> {
        self.polls += 1;
        self.within.sort_by_key(|tail| std::cmp::Reverse(tail.hit));
        let mut tails = vec![self.root.clone()];
        for tail in &self.within {
            // What follows the same key in a prefix around it is shown there.
            let shown = tails.iter().any(|other| tail.prefix.starts_with(&other.prefix) && tail.after == other.after);
            if !shown && tails.len() < most {
                tails.push(tail.clone());
            }
        }
        tails
    }

    /// A page of a tail was looked at. `keys` are in order.
    pub(super) fn looked(&mut self, tail: &Tail, keys: &[String], found: bool) {
        let polls = self.polls;
        let mut all = std::iter::once(&mut self.root).chain(&mut self.within);
        let Some(known) = all.find(|known| known.prefix == tail.prefix) else { return };
        if found {
            known.hit = polls;
        }
        let moved = keys.len().checked_sub(OVERLAP + 1).and_then(|at| keys.get(at));
        if let Some(after) = moved.filter(|after| known.after.as_ref().is_none_or(|before| before < *after)) {
            known.after = Some(after.clone());
        }
    }

    /// What lies within a prefix may not be asked for by itself.
    pub(super) fn only_root(&mut self) {
        self.within.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes(tails: &[Tail]) -> Vec<&str> {
        tails.iter().map(|tail| tail.prefix.as_str()).collect()
    }

    #[test]
    fn what_grew_last_is_looked_at_first_and_the_end_of_everything_always() {
        let mut hot = Hot::new("in/");
        assert_eq!(prefixes(&hot.tails(8)), ["in/"]);
        hot.learn("in/a/2024/x");
        hot.tails(8);
        hot.learn("in/b/y");
        assert_eq!(prefixes(&hot.tails(8)), ["in/", "in/b/", "in/a/"], "what is shown by in/a/ is not asked for again");
        assert_eq!(prefixes(&hot.tails(2)), ["in/", "in/b/"]);
        hot.only_root();
        assert_eq!(prefixes(&hot.tails(8)), ["in/"]);
    }

    #[test]
    fn a_tail_moves_on_and_leaves_room_for_those_that_come_late() {
        let mut hot = Hot::new("");
        let keys: Vec<_> = (0..1_000).map(|n| format!("k{n:04}")).collect();
        let tail = hot.tails(1).remove(0);
        hot.looked(&tail, &keys, true);
        assert_eq!(hot.tails(1)[0].after.as_deref(), Some("k0499"));
        hot.looked(&tail, &keys[600..], true);
        assert_eq!(hot.tails(1)[0].after.as_deref(), Some("k0499"), "few keys need no move");
        hot.looked(&tail, &keys[..600], false);
        assert_eq!(hot.tails(1)[0].after.as_deref(), Some("k0499"), "never back");
    }

    #[test]
    fn the_prefixes_written_to_last_are_looked_at_after_a_start() {
        let mut newest = Newest::default();
        for n in 0..5_000_u32 {
            let written = Timestamp::from_unix_nanos(i128::from(n) * 1_000_000_000);
            newest.see(&format!("tenant-{n:05}/a"), Some(written));
        }
        newest.see("tenant-04999/b", None);
        let mut hot = Hot::new("");
        hot.seed(newest);
        let tails = hot.tails(4);
        assert_eq!(tails.len(), 4);
        assert_eq!(tails[0].after.as_deref(), Some("tenant-04999/b"));
        assert!(prefixes(&tails).iter().skip(1).all(|prefix| *prefix > "tenant-04900/"), "{tails:?}");
        for n in 0..1_000 {
            hot.learn(&format!("new-{n}/a"));
        }
        assert!(hot.within.len() <= TAILS);
    }
}
