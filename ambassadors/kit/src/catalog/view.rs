//! What the catalog answers, under its lock for reading.

use std::time::Duration;

use contract::wire::Withheld;
use contract::{ItemName, Key, Timestamp};

use super::shelf::{Marks, Shelf, Shelved, SweepNumber};
use super::state::{Place, State, parse};
use super::{Entry, Known};
use crate::source::{Change, Page, Revision, SourceError, Tally};

/// How many entries one step of a sweep looks at.
const STEP: usize = 4_096;

impl<T: Clone> State<T> {
    pub(super) fn look(&self, key: &[u8]) -> Option<Known<T>> {
        match self.place(key)? {
            Place::Listed(seq) => self.listed.get(seq).map(|entry| Known::Listed(self.entry(&entry))),
            Place::Withheld(seq) => self.withheld.get(seq).map(|entry| Known::Withheld(entry.payload.clone())),
        }
    }

    pub(super) fn payload(&self, key: &[u8]) -> Option<T> {
        match self.place(key)? {
            Place::Listed(seq) => self.listed.get(seq).map(|entry| entry.payload.clone()),
            Place::Withheld(_) => None,
        }
    }

    pub(super) fn find(&self, name: &ItemName) -> Result<Entry<T>, SourceError> {
        match self.named(name).and_then(|seq| self.listed.get(seq)) {
            Some(entry) => Ok(self.entry(&entry)),
            None if self.gone.contains(self.hash(name.as_str().as_bytes())) => Err(SourceError::Gone(name.clone())),
            None => Err(SourceError::NotFound(name.clone())),
        }
    }

    pub(super) fn seen(&self, key: &[u8], sweep: SweepNumber) -> bool {
        let marks = match self.place(key) {
            Some(Place::Listed(seq)) => self.listed.get(seq).map(|entry| entry.marks),
            Some(Place::Withheld(seq)) => self.withheld.get(seq).map(|entry| entry.marks),
            None => None,
        };
        marks.is_some_and(|marks| marks.seen == sweep)
    }

    /// The unseen among the next entries, and where to go on; `None` at the end.
    pub(super) fn unseen(
        &self,
        sweep: SweepNumber,
        from: u64,
        unreadable: &impl Fn(&[u8]) -> bool,
    ) -> Option<(Vec<Box<[u8]>>, u64)> {
        if self.all_seen() {
            return None;
        }
        let listed = self.listed.from(from).take(STEP).map(|entry| (entry.seq, entry.marks, entry.key));
        let withheld = self.withheld.from(from).take(STEP).map(|entry| (entry.seq, entry.marks, entry.key));
        let mut step: Vec<_> = listed.chain(withheld).collect();
        step.sort_unstable_by_key(|(seq, ..)| *seq);
        step.truncate(STEP);
        let next = step.last()?.0 + 1;
        let unseen = step.into_iter().filter(|(_, marks, _)| marks.seen != sweep).map(|(.., key)| key.to_box());
        Some((unseen.filter(|key| !unreadable(key)).collect(), next))
    }

    pub(super) fn page(&self, from: u64, max: usize) -> Page<ItemName, u64> {
        paged(&self.listed, from, max, self.complete, |entry| parse(entry.name))
    }

    pub(super) fn withheld(&self, from: u64, max: usize) -> Page<Withheld, u64> {
        paged(&self.withheld, from, max, self.complete, |entry| {
            Some(Withheld {
                key: Key::new(&entry.key.to_box()),
                reason: entry.payload.reason.to_owned(),
                message: entry.payload.message.to_string(),
                pending: entry.payload.pending,
                since: Some(Timestamp(self.born_at + Duration::from_secs(entry.marks.since.into()))),
            })
        })
    }

    pub(super) fn changes(&self, since: Revision, max: usize) -> Result<Vec<Change>, SourceError> {
        self.log.after(since, max)
    }

    pub(super) fn tally(&self) -> Tally {
        Tally {
            listed: Some(self.listed.len() as u64),
            withheld: self.reasons.iter().map(|(reason, count)| (*reason, *count)).collect(),
            oldest: self.listed.from(0).next().map(|entry| self.age(entry.marks)),
            backlog: None,
        }
    }

    fn age(&self, marks: Marks) -> Duration {
        Duration::from_secs(self.born.elapsed().as_secs().saturating_sub(marks.since.into()))
    }

    fn entry(&self, entry: &Shelved<'_, T>) -> Entry<T> {
        Entry {
            name: parse(entry.name).expect("only names are listed"),
            key: entry.key.to_box(),
            payload: entry.payload.clone(),
            age: self.age(entry.marks),
        }
    }
}

fn paged<P, I>(
    shelf: &Shelf<P>,
    from: u64,
    max: usize,
    complete: bool,
    show: impl Fn(&Shelved<'_, P>) -> Option<I>,
) -> Page<I, u64> {
    let mut entries = shelf.from(from);
    let items = entries.by_ref().take(max).filter_map(|entry| show(&entry)).collect();
    let next = entries.next().map(|entry| entry.seq);
    let remaining = next.map_or(0, |next| shelf.count_from(next) as u64);
    Page { items, next, complete, remaining: Some(remaining), backlog: None }
}
