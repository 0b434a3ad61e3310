//! What a source that sees its backend whole knows of it: every native key, listed or withheld, in the order in which it
//! became so.
//!
//! Thread-safe and synchronous; no call does I/O. Positions in the list are sequence numbers that are never used twice,
//! so a walk in pages meets whatever is listed throughout exactly once, however much comes and goes meanwhile.

mod index;
mod memory;
mod shelf;
mod state;
mod view;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use contract::ItemName;
use contract::wire::Withheld;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::sync::watch;

use self::shelf::SweepNumber;
use self::state::State;
use crate::source::{Change, Page, Revision, SourceError, Tally, new_incarnation};

/// The reason under which two native items are withheld that would have one name.
pub const NAME_COLLISION: &str = "name-collision";

/// How many changes a stream of changes takes from the log at once.
const BATCH: usize = 1_024;

/// Every native key a source knows, with a `T` beside each that is listed.
///
/// Memory: about 55 bytes and a `T` per listed item, beside the bytes of its name and of what follows the last slash in its key;
/// what goes before it is kept once for those that came together. A table grows by doubling, so it is less just before and
/// more just after: a million take 127 MB where names have 30 bytes, file names 16, and a `T` 20.
#[derive(Debug)]
pub struct Catalog<T> {
    incarnation: String,
    state: RwLock<State<T>>,
    revision: watch::Sender<Revision>,
}

/// Why a native item is not listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// One word of the contract's fixed set, also the label of the metric.
    pub reason: &'static str,
    /// For people: which pattern, how much longer, what to change. Shared where many items have the same.
    pub message: Arc<str>,
    /// Whether it will be listed by itself in a while.
    pub pending: bool,
}

/// A listed item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<T> {
    /// Its name.
    pub name: ItemName,
    /// Its native key.
    pub key: Box<[u8]>,
    /// What the source keeps with it.
    pub payload: T,
    /// How long it has been listed, to the second.
    pub age: Duration,
}

/// What a catalog knows of a native key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known<T> {
    /// It is listed.
    Listed(Entry<T>),
    /// It is not, and why.
    Withheld(Why),
}

/// What became of a key that was to be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// It is listed, and was not under this name before.
    Listed,
    /// It was listed under this name already; the payload is the new one.
    Kept,
    /// Another key has the same name: neither is listed.
    Collided,
}

/// The catalog, held for several changes; see [`Catalog::batch`].
#[derive(Debug)]
pub struct Batch<'a, T>(&'a mut State<T>);

impl<T: Clone> Batch<'_, T> {
    /// As [`Catalog::list`].
    pub fn list(&mut self, key: &[u8], name: &ItemName, payload: T) -> Listing {
        self.0.list(key, name, payload)
    }

    /// As [`Catalog::confirm`].
    pub fn confirm(&mut self, key: &[u8], unchanged: impl FnOnce(&T) -> bool) -> bool {
        self.0.confirm(key, unchanged)
    }
}

/// A look at the whole backend under way; see [`Catalog::start_sweep`].
#[derive(Debug)]
#[must_use = "what was not seen is only forgotten by end_sweep"]
pub struct Sweep(SweepNumber);

impl<T: Clone + Send + Sync + 'static> Catalog<T> {
    /// An empty one, of an incarnation of its own.
    pub fn new() -> Self {
        Self { incarnation: new_incarnation(), state: RwLock::new(State::new()), revision: watch::Sender::new(0) }
    }

    /// Differs from that of every other catalog, before a restart and after.
    pub fn incarnation(&self) -> &str {
        &self.incarnation
    }

    /// How often the list has changed.
    pub fn revision(&self) -> Revision {
        self.read().revision()
    }

    /// Lists the item of `key` as `name`, in the place of whatever stood for the key before: at the end when the name is
    /// new, where it stands when it is not. Counts as seen by a sweep.
    pub fn list(&self, key: &[u8], name: &ItemName, payload: T) -> Listing {
        self.change(|state| state.list(key, name, payload))
    }

    /// Withholds `key`, which is listed no more if it was. Counts as seen by a sweep.
    pub fn withhold(&self, key: &[u8], why: Why) {
        self.change(|state| state.withhold(key, why));
    }

    /// There is no `key` any more. Whether there was.
    pub fn forget(&self, key: &[u8]) -> bool {
        self.change(|state| state.forget(key))
    }

    /// Whether `key` is listed with a payload that `unchanged` accepts; if so it counts as seen by a sweep. Cheaper than
    /// [`list`](Self::list), since no name is needed.
    pub fn confirm(&self, key: &[u8], unchanged: impl FnOnce(&T) -> bool) -> bool {
        self.write().confirm(key, unchanged)
    }

    /// Several changes at once: cheaper than one after another, and seen by readers as one.
    ///
    /// No call of this catalog is to be made from within.
    pub fn batch<R>(&self, act: impl FnOnce(&mut Batch<'_, T>) -> R) -> R {
        self.change(|state| act(&mut Batch(state)))
    }

    /// The payload of `key`, if it is listed.
    pub fn payload(&self, key: &[u8]) -> Option<T> {
        self.read().payload(key)
    }

    /// What is known of `key`.
    pub fn look(&self, key: &[u8]) -> Option<Known<T>> {
        self.read().look(key)
    }

    /// The item listed as `name`.
    ///
    /// # Errors
    /// [`SourceError::Gone`] when it was listed not long ago, [`SourceError::NotFound`] otherwise.
    pub fn find(&self, name: &ItemName) -> Result<Entry<T>, SourceError> {
        self.read().find(name)
    }

    /// Begins a look at the whole backend: whatever is not listed, confirmed or withheld from here to
    /// [`end_sweep`](Self::end_sweep) was not seen.
    pub fn start_sweep(&self) -> Sweep {
        Sweep(self.write().start_sweep())
    }

    /// Ends a look: forgets every key that was not seen, unless `unreadable` says that it could not have been. Returns how
    /// many were forgotten. Only one sweep at a time; dropping a [`Sweep`] instead forgets nothing.
    pub fn end_sweep(&self, sweep: Sweep, unreadable: impl Fn(&[u8]) -> bool) -> usize {
        let mut forgotten = 0;
        let mut from = 0;
        loop {
            // In steps, so that readers are let in between.
            let step = self.read().unseen(sweep.0, from, &unreadable);
            let Some((keys, next)) = step else { return forgotten };
            for key in &keys {
                forgotten += usize::from(self.change(|state| state.forget_unseen(key, sweep.0)));
            }
            from = next;
        }
    }

    /// Whether the last look saw everything; `true` until it is said otherwise.
    pub fn set_complete(&self, complete: bool) {
        self.write().set_complete(complete);
    }

    /// At most `max` names, those listed longest first, from a sequence number on.
    pub fn page(&self, from: Option<u64>, max: usize) -> Page<ItemName, u64> {
        self.read().page(from.unwrap_or(0), max)
    }

    /// At most `max` of what is withheld, longest first, from a sequence number on.
    pub fn withheld(&self, from: Option<u64>, max: usize) -> Page<Withheld, u64> {
        self.read().withheld(from.unwrap_or(0), max)
    }

    /// The changes after a revision (after now without one) as they happen, without end.
    ///
    /// # Errors
    /// [`SourceError::Expired`] for a revision that the log does not reach back to, or that never was; later, as the
    /// stream's last element, when its reader falls so far behind.
    pub fn changes(
        self: &Arc<Self>,
        since: Option<Revision>,
    ) -> Result<BoxStream<'static, Result<Change, SourceError>>, SourceError> {
        let heard = self.revision.subscribe();
        let since = since.unwrap_or_else(|| self.revision());
        self.read().changes(since, 0)?;
        let batches = stream::unfold(Some((Arc::clone(self), heard, since)), |reader| async move {
            let (catalog, mut heard, since) = reader?;
            loop {
                heard.mark_unchanged();
                let changes = catalog.read().changes(since, BATCH);
                match changes {
                    Ok(batch) if batch.is_empty() => {}
                    Ok(batch) => {
                        let last = batch.last().map_or(since, |change| change.revision);
                        return Some((batch.into_iter().map(Ok).collect(), Some((Arc::clone(&catalog), heard, last))));
                    }
                    Err(error) => return Some((vec![Err(error)], None)),
                }
                heard.changed().await.ok()?;
            }
        });
        Ok(batches.flat_map(stream::iter).boxed())
    }

    /// The catalog in figures.
    pub fn tally(&self) -> Tally {
        self.read().tally()
    }

    fn change<R>(&self, act: impl FnOnce(&mut State<T>) -> R) -> R {
        let mut state = self.write();
        let before = state.revision();
        state.tick();
        let result = act(&mut state);
        let after = state.revision();
        drop(state);
        if after != before {
            self.revision.send_if_modified(|known| {
                let newer = after > *known;
                *known = after.max(*known);
                newer
            });
        }
        result
    }

    fn read(&self) -> RwLockReadGuard<'_, State<T>> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State<T>> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone + Send + Sync + 'static> Default for Catalog<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
