//! The catalog under its lock: what is listed, what is withheld, the two indexes over both, and every way they change.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use contract::ItemName;
use foldhash::quality::RandomState;

use super::index::Index;
use super::memory::{Gone, Log};
use super::shelf::{KeptKey, Marks, Shelf, SweepNumber};
use super::{Listing, NAME_COLLISION, Why};
use crate::source::Revision;

/// Where an entry lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Listed(u64),
    Withheld(u64),
}

#[derive(Debug)]
pub(super) struct State<T> {
    pub(super) listed: Shelf<T>,
    /// The name is empty, except for those that collided.
    pub(super) withheld: Shelf<Why>,
    /// Sequence numbers, which the shelves share: each is on one of them.
    by_key: Index,
    by_name: Index,
    /// What is withheld because of a name that another key has too.
    collided: HashMap<ItemName, HashMap<Box<[u8]>, T>>,
    pub(super) reasons: BTreeMap<&'static str, u64>,
    pub(super) log: Log,
    pub(super) gone: Gone,
    /// Seeded at random: nobody who names files knows which of them meet.
    hasher: RandomState,
    next: u64,
    /// Seconds since it was born, as of the last [`tick`](Self::tick).
    now: u32,
    sight: Sight,
    pub(super) complete: bool,
    pub(super) born: Instant,
    pub(super) born_at: SystemTime,
}

/// The sweep, and how many entries it has seen: where it saw all, none has to be looked for.
#[derive(Clone, Copy, Debug, Default)]
struct Sight {
    sweep: SweepNumber,
    entries: usize,
}

impl Sight {
    fn see(&mut self, marks: &mut Marks) {
        self.entries += usize::from(marks.seen != self.sweep);
        marks.seen = self.sweep;
    }

    fn comes(&mut self, seen: SweepNumber) {
        self.entries += usize::from(seen == self.sweep);
    }

    fn goes(&mut self, marks: Marks) {
        // Fewer than were counted only where numbers have gone round.
        self.entries = self.entries.saturating_sub(usize::from(marks.seen == self.sweep));
    }
}

impl<T: Clone> State<T> {
    pub(super) fn new() -> Self {
        Self {
            listed: Shelf::default(),
            withheld: Shelf::default(),
            by_key: Index::default(),
            by_name: Index::default(),
            collided: HashMap::new(),
            reasons: BTreeMap::new(),
            log: Log::default(),
            gone: Gone::default(),
            hasher: RandomState::default(),
            next: 0,
            now: 0,
            sight: Sight::default(),
            complete: true,
            born: Instant::now(),
            born_at: SystemTime::now(),
        }
    }

    pub(super) fn revision(&self) -> Revision {
        self.log.revision()
    }

    /// Looks at the clock, once for all that is done under one lock.
    pub(super) fn tick(&mut self) {
        self.now = u32::try_from(self.born.elapsed().as_secs()).unwrap_or(u32::MAX);
    }

    pub(super) fn list(&mut self, key: &[u8], name: &ItemName, payload: T) -> Listing {
        // Each once: these texts are long, and there may be millions.
        let (key_hash, name_hash) = (self.hash(key), self.hash(name.as_str().as_bytes()));
        match self.place_of(key, key_hash) {
            Some(Place::Listed(seq))
                if self.listed.get(seq).is_some_and(|entry| entry.name == name.as_str().as_bytes()) =>
            {
                if let Some((old, marks)) = self.listed.get_mut(seq) {
                    *old = payload;
                    self.sight.see(marks);
                }
                return Listing::Kept;
            }
            Some(Place::Withheld(seq))
                if self.withheld.get(seq).is_some_and(|entry| entry.name == name.as_str().as_bytes()) =>
            {
                self.mark_withheld(seq);
                if let Some(old) = self.collided.get_mut(name).and_then(|all| all.get_mut(key)) {
                    *old = payload;
                }
                return Listing::Collided;
            }
            Some(_) => {
                self.forget(key);
            }
            None => {}
        }
        if let Some(other) = self.named_of(name, name_hash) {
            let seen = self.listed.get(other).map_or(self.sight.sweep, |entry| entry.marks.seen);
            if let Some((other_key, other_payload)) = self.unlist(other) {
                self.collide(&other_key, name, other_payload, seen);
            }
        }
        if self.collided.contains_key(name) {
            self.collide(key, name, payload, self.sight.sweep);
            return Listing::Collided;
        }
        self.enlist((key, key_hash), (name, name_hash), payload, self.sight.sweep);
        Listing::Listed
    }

    pub(super) fn withhold(&mut self, key: &[u8], why: Why) {
        if let Some(Place::Withheld(seq)) = self.place(key)
            && let Some(entry) = self.withheld.get(seq)
            && entry.name.is_empty()
            && entry.payload.reason == why.reason
        {
            // The same reason still: it keeps its place and since when.
            if let Some((old, marks)) = self.withheld.get_mut(seq) {
                *old = why;
                self.sight.see(marks);
            }
            return;
        }
        self.forget(key);
        self.shelve(key, "", why, self.sight.sweep);
    }

    pub(super) fn forget(&mut self, key: &[u8]) -> bool {
        match self.place(key) {
            None => return false,
            Some(Place::Listed(seq)) => {
                self.unlist(seq);
            }
            Some(Place::Withheld(seq)) => {
                let name = self.withheld.get(seq).and_then(|entry| parse(entry.name));
                self.unshelve(key, seq);
                if let Some(name) = name {
                    self.leave_collision(key, &name);
                }
            }
        }
        true
    }

    /// Forgets a key that was found unseen, unless a hint has come for it since.
    pub(super) fn forget_unseen(&mut self, key: &[u8], sweep: SweepNumber) -> bool {
        !self.seen(key, sweep) && self.forget(key)
    }

    pub(super) fn confirm(&mut self, key: &[u8], unchanged: impl FnOnce(&T) -> bool) -> bool {
        let Some(Place::Listed(seq)) = self.place(key) else { return false };
        self.listed.get_mut(seq).is_some_and(|(payload, marks)| {
            let same = unchanged(payload);
            if same {
                self.sight.see(marks);
            }
            same
        })
    }

    pub(super) fn start_sweep(&mut self) -> SweepNumber {
        self.sight = Sight { sweep: self.sight.sweep.wrapping_add(1), entries: 0 };
        self.sight.sweep
    }

    /// Whether the sweep has seen every entry there is.
    pub(super) fn all_seen(&self) -> bool {
        self.sight.entries == self.listed.len() + self.withheld.len()
    }

    pub(super) fn set_complete(&mut self, complete: bool) {
        self.complete = complete;
    }

    /// Key and name come with their hashes.
    fn enlist(
        &mut self,
        (key, key_hash): (&[u8], u64),
        (name, name_hash): (&ItemName, u64),
        payload: T,
        seen: SweepNumber,
    ) {
        let (seq, marks) = self.stamp(seen);
        self.listed.push(seq, name.as_str(), key, marks, payload);
        self.by_name.insert(name_hash, seq);
        self.by_key.insert(key_hash, seq);
        self.gone.remove(name_hash);
        self.log.record(name.clone(), true);
    }

    fn unlist(&mut self, seq: u64) -> Option<(Box<[u8]>, T)> {
        let entry = self.listed.get(seq)?;
        let (name, key, marks) = (parse(entry.name)?, entry.key.to_box(), entry.marks);
        let hash = self.hash(name.as_str().as_bytes());
        self.by_name.remove(hash, seq);
        self.unindex(&key, seq);
        self.sight.goes(marks);
        let payload = self.listed.remove(seq)?;
        self.gone.add(hash);
        self.log.record(name, false);
        Some((key, payload))
    }

    fn shelve(&mut self, key: &[u8], name: &str, why: Why, seen: SweepNumber) {
        *self.reasons.entry(why.reason).or_default() += 1;
        let (seq, marks) = self.stamp(seen);
        self.withheld.push(seq, name, key, marks, why);
        self.index(key, seq);
    }

    fn unshelve(&mut self, key: &[u8], seq: u64) {
        self.unindex(key, seq);
        if let Some(entry) = self.withheld.get(seq) {
            self.sight.goes(entry.marks);
        }
        if let Some(why) = self.withheld.remove(seq)
            && let Some(count) = self.reasons.get_mut(why.reason)
        {
            *count -= 1;
            if *count == 0 {
                self.reasons.remove(why.reason);
            }
        }
    }

    fn collide(&mut self, key: &[u8], name: &ItemName, payload: T, seen: SweepNumber) {
        let why = Why {
            reason: NAME_COLLISION,
            message: Arc::from(format!("another native item has the name {name} too; rename either of them")),
            pending: false,
        };
        self.shelve(key, name.as_str(), why, seen);
        self.collided.entry(name.clone()).or_default().insert(key.into(), payload);
    }

    /// `key` no longer has `name`; if only one other has, that one is listed.
    fn leave_collision(&mut self, key: &[u8], name: &ItemName) {
        let Some(all) = self.collided.get_mut(name) else { return };
        all.remove(key);
        if all.len() > 1 {
            return;
        }
        for (key, payload) in self.collided.remove(name).unwrap_or_default() {
            let Some(Place::Withheld(seq)) = self.place(&key) else { continue };
            let seen = self.withheld.get(seq).map_or(self.sight.sweep, |entry| entry.marks.seen);
            self.unshelve(&key, seq);
            let hashes = (self.hash(&key), self.hash(name.as_str().as_bytes()));
            self.enlist((&key, hashes.0), (name, hashes.1), payload, seen);
        }
    }

    fn mark_withheld(&mut self, seq: u64) {
        if let Some((_, marks)) = self.withheld.get_mut(seq) {
            self.sight.see(marks);
        }
    }

    fn stamp(&mut self, seen: SweepNumber) -> (u64, Marks) {
        self.sight.comes(seen);
        let seq = self.next;
        self.next += 1;
        (seq, Marks { seen, since: self.now })
    }

    pub(super) fn hash(&self, text: &[u8]) -> u64 {
        self.hasher.hash_one(text)
    }

    pub(super) fn named(&self, name: &ItemName) -> Option<u64> {
        self.named_of(name, self.hash(name.as_str().as_bytes()))
    }

    fn named_of(&self, name: &ItemName, hash: u64) -> Option<u64> {
        let name = name.as_str().as_bytes();
        self.by_name.find(hash, |seq| self.listed.get(seq).is_some_and(|entry| entry.name == name))
    }

    pub(super) fn place(&self, key: &[u8]) -> Option<Place> {
        self.place_of(key, self.hash(key))
    }

    fn place_of(&self, key: &[u8], hash: u64) -> Option<Place> {
        let is = |seq| key_at(&self.listed, &self.withheld, seq).is_some_and(|kept| kept.is(key));
        let seq = self.by_key.find(hash, is)?;
        Some(if self.listed.get(seq).is_some() { Place::Listed(seq) } else { Place::Withheld(seq) })
    }

    fn index(&mut self, key: &[u8], seq: u64) {
        self.by_key.insert(self.hash(key), seq);
    }

    fn unindex(&mut self, key: &[u8], seq: u64) {
        self.by_key.remove(self.hash(key), seq);
    }
}

fn key_at<'a, T>(listed: &'a Shelf<T>, withheld: &'a Shelf<Why>, seq: u64) -> Option<KeptKey<'a>> {
    listed.get(seq).map(|entry| entry.key).or_else(|| withheld.get(seq).map(|entry| entry.key))
}

pub(super) fn parse(name: &[u8]) -> Option<ItemName> {
    std::str::from_utf8(name).ok().and_then(|name| ItemName::parse(name).ok())
}
