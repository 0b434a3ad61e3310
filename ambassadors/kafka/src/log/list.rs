//! The list as those who answer and those who read share it. No call does more than look at bits.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use ambassador_kit::source::{Change, Page, Revision, SourceError, Tally, new_incarnation};
use contract::ItemName;
use contract::wire::Withheld;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::sync::watch;

use super::changes::Changes;
use super::index::{Index, Known, Reason, Sort};
use crate::naming::{Naming, Position};

/// How many changes a stream of them takes at once.
const BATCH: usize = 1_024;

/// What is listed of a topic.
#[derive(Debug)]
pub(super) struct List {
    topic: String,
    source_id: String,
    state: RwLock<State>,
    /// Marked at every change.
    changed: watch::Sender<()>,
}

#[derive(Debug)]
struct State {
    incarnation: String,
    /// The topic that is read: its own id, and the names of its records. `None` until it was seen.
    of: Option<(String, Naming)>,
    index: Index,
    changes: Changes,
    /// Whether all that there was when reading began was read.
    whole: bool,
    /// The topic that had this name before, whose records were listed here.
    former: Option<(Naming, Index)>,
}

impl State {
    fn new() -> Self {
        Self {
            incarnation: new_incarnation(),
            of: None,
            index: Index::default(),
            changes: Changes::default(),
            whole: false,
            former: None,
        }
    }

    fn name(&self, at: Position) -> Option<ItemName> {
        self.of.as_ref().map(|(_, naming)| naming.name(at))
    }
}

impl List {
    pub(super) fn new(topic: &str, source_id: &str) -> Self {
        Self {
            topic: topic.to_owned(),
            source_id: source_id.to_owned(),
            state: RwLock::new(State::new()),
            changed: watch::Sender::new(()),
        }
    }

    /// The topic that is read now has this id. If it is another than before, everything begins anew; whether it does.
    pub(super) fn begin(&self, identity: &str) -> bool {
        let mut state = self.write();
        let before = match state.of.take() {
            Some((of, naming)) if of == identity => {
                state.of = Some((of, naming));
                return false;
            }
            before => before,
        };
        let index = std::mem::take(&mut state.index);
        let former = before.map(|(_, naming)| (naming, index));
        let naming = Naming::new(&self.source_id, &self.topic, identity);
        *state = State { of: Some((identity.to_owned(), naming)), former, ..State::new() };
        drop(state);
        self.changed.send_replace(());
        true
    }

    /// Whether the topic of this id is the one that was there before this. It never comes back: whoever tells of it has not heard yet.
    pub(super) fn is_former(&self, identity: &str) -> bool {
        let naming = Naming::new(&self.source_id, &self.topic, identity);
        self.read().former.as_ref().is_some_and(|(former, _)| *former == naming)
    }

    /// How records are named, and the id of the topic; `None` before it was seen.
    pub(super) fn naming(&self) -> Option<Naming> {
        self.read().of.as_ref().map(|(_, naming)| naming.clone())
    }

    /// Differs whenever the list began anew.
    pub(super) fn incarnation(&self) -> String {
        self.read().incarnation.clone()
    }

    /// Whether what is listed is this incarnation, and that the topic of this id.
    pub(super) fn is_of(&self, incarnation: &str, identity: &str) -> bool {
        let state = self.read();
        state.incarnation == incarnation && state.of.as_ref().is_some_and(|(of, _)| of == identity)
    }

    /// From which offset on a partition is to be read, if it was opened.
    pub(super) fn next(&self, partition: i32) -> Option<i64> {
        self.read().index.next(partition)
    }

    /// Whether nothing of this topic was opened yet.
    pub(super) fn is_unopened(&self) -> bool {
        self.read().index.is_empty()
    }

    /// Reads a partition from an offset on, unless it is read already.
    pub(super) fn open(&self, partition: i32, start: i64) {
        self.write().index.open(partition, start);
    }

    /// Records that were read, in the order in which they came.
    pub(super) fn append(&self, records: &[(Position, Sort)]) {
        self.change(|index, changes| {
            for of in records.chunk_by(|a, b| a.0.partition == b.0.partition) {
                let Some((first, _)) = of.first() else { continue };
                let each = of.iter().map(|(at, sort)| (at.offset, *sort));
                index.append(first.partition, each, &mut |partition, range| changes.record(partition, range, true));
            }
        });
    }

    /// See [`Index::trim`].
    pub(super) fn trim(&self, partition: i32, low: i64) {
        self.change(|index, changes| index.trim(partition, low, &mut |of, range| changes.record(of, range, false)));
    }

    /// See [`Index::cut`].
    pub(super) fn cut(&self, partition: i32, high: i64) {
        self.change(|index, changes| index.cut(partition, high, &mut |of, range| changes.record(of, range, false)));
    }

    /// See [`Index::forget`]. Of a record of this incarnation: another's has nothing to do with it.
    pub(super) fn forget(&self, incarnation: &str, at: Position) -> bool {
        if self.read().incarnation != incarnation {
            return false;
        }
        self.change(|index, changes| index.forget(at, &mut |of, range| changes.record(of, range, false)))
    }

    /// All that there was when reading began was read. Whether that is new.
    pub(super) fn set_whole(&self) -> bool {
        !std::mem::replace(&mut self.write().whole, true)
    }

    /// Whether all that there was when reading began was read.
    pub(super) fn is_whole(&self) -> bool {
        self.read().whole
    }

    /// Where the record of this name lies, and of which incarnation it is.
    ///
    /// # Errors
    /// [`SourceError::Gone`] when it was listed, [`SourceError::NotFound`] otherwise.
    pub(super) fn find(&self, name: &ItemName) -> Result<(Position, String), SourceError> {
        let state = self.read();
        if let Some(at) = state.of.as_ref().and_then(|(_, naming)| naming.position(name)) {
            return match state.index.look(at) {
                Known::Listed => Ok((at, state.incarnation.clone())),
                Known::Gone => Err(SourceError::Gone(name.clone())),
                Known::Nothing => Err(SourceError::NotFound(name.clone())),
            };
        }
        let former = state.former.as_ref().and_then(|(naming, index)| Some(index.look(naming.position(name)?)));
        match former {
            Some(Known::Listed | Known::Gone) => Err(SourceError::Gone(name.clone())),
            Some(Known::Nothing) | None => Err(SourceError::NotFound(name.clone())),
        }
    }

    pub(super) fn revision(&self) -> Revision {
        self.read().changes.revision()
    }

    /// At most `max` names from a position on.
    pub(super) fn page(&self, from: Option<Position>, max: usize) -> Page<ItemName, Position> {
        let state = self.read();
        let part = state.index.page(from, max);
        let items = part.items.into_iter().filter_map(|at| state.name(at)).collect();
        Page { items, next: part.next, complete: state.whole, remaining: Some(part.remaining), backlog: None }
    }

    /// At most `max` of what is withheld, from a position on; `message` says to people what a reason means.
    pub(super) fn withheld(
        &self,
        from: Option<Position>,
        max: usize,
        message: impl Fn(Reason) -> String,
    ) -> Page<Withheld, Position> {
        let state = self.read();
        let part = state.index.withheld(from, max);
        let items = part.items.into_iter().map(|(at, reason)| Withheld {
            key: contract::Key::new(format!("{}/{}/{}", self.topic, at.partition, at.offset).as_bytes()),
            reason: reason.word().to_owned(),
            message: message(reason),
            pending: false,
            since: None,
        });
        let items = items.collect();
        Page { items, next: part.next, complete: state.whole, remaining: Some(part.remaining), backlog: None }
    }

    pub(super) fn tally(&self) -> Tally {
        let state = self.read();
        let withheld = state.index.withheld_counts().into_iter().map(|(reason, count)| (reason.word(), count));
        Tally {
            listed: Some(state.index.listed()),
            withheld: withheld.filter(|(_, count)| *count > 0).collect(),
            oldest: None,
            backlog: None,
        }
    }

    /// The changes after a revision (after now without one) as they happen, until the list begins anew.
    ///
    /// # Errors
    /// [`SourceError::Expired`], also as the last element: for a revision that is not known any more, or a list that began anew.
    pub(super) fn changes(
        self: &Arc<Self>,
        since: Option<Revision>,
    ) -> Result<BoxStream<'static, Result<Change, SourceError>>, SourceError> {
        let heard = self.changed.subscribe();
        let (incarnation, since) = {
            let state = self.read();
            let since = since.unwrap_or_else(|| state.changes.revision());
            state.changes.after(since, 0)?;
            (state.incarnation.clone(), since)
        };
        let start = Some((Arc::clone(self), heard, incarnation, since));
        let batches = stream::unfold(start, |reader| async move {
            let (list, mut heard, incarnation, since) = reader?;
            loop {
                heard.mark_unchanged();
                match list.told(&incarnation, since) {
                    Ok(batch) if batch.is_empty() => {}
                    Ok(batch) => {
                        let last = batch.last().map_or(since, |change| change.revision);
                        let next = Some((Arc::clone(&list), heard, incarnation, last));
                        return Some((batch.into_iter().map(Ok).collect::<Vec<_>>(), next));
                    }
                    Err(error) => return Some((vec![Err(error)], None)),
                }
                heard.changed().await.ok()?;
            }
        });
        Ok(batches.flat_map(stream::iter).boxed())
    }

    fn told(&self, incarnation: &str, since: Revision) -> Result<Vec<Change>, SourceError> {
        let state = self.read();
        if state.incarnation != incarnation {
            return Err(SourceError::Expired("the topic was deleted and made again"));
        }
        let changed = state.changes.after(since, BATCH)?.into_iter();
        let named = changed.filter_map(|changed| {
            let name = state.name(changed.at)?;
            Some(Change { revision: changed.revision, listed: changed.listed, name })
        });
        Ok(named.collect())
    }

    fn change<R>(&self, act: impl FnOnce(&mut Index, &mut Changes) -> R) -> R {
        let mut state = self.write();
        let state = &mut *state;
        let before = state.changes.revision();
        let result = act(&mut state.index, &mut state.changes);
        if state.changes.revision() != before {
            self.changed.send_replace(());
        }
        result
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}
