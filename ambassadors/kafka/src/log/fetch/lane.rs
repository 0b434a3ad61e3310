//! A place in the log that is read from: where questions wait, and what was read of it.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ambassador_kit::source::SourceError;
use tokio::sync::oneshot;

use super::Fetched;
use super::shelf::{Shelf, is_close};
use crate::naming::Position;
use crate::record::Record;

/// A question.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) at: Position,
    pub(super) incarnation: String,
    pub(super) since: Instant,
    /// By which seeking the log was read there without it.
    missed: Option<u64>,
    pub(super) answer: oneshot::Sender<Result<Fetched, SourceError>>,
}

impl Ask {
    pub(super) fn new(at: Position, incarnation: &str, answer: oneshot::Sender<Result<Fetched, SourceError>>) -> Self {
        Self { at, incarnation: incarnation.to_owned(), since: Instant::now(), missed: None, answer }
    }

    /// The log has it no more.
    fn gone(self) {
        // Fails when who asked has left.
        let _ = self.answer.send(Ok(Fetched::Gone));
    }

    /// The log was read there without it, by a seeking of this number. What leaves the list is looked for twice: nobody would look again.
    fn missed(mut self, seeking: u64) -> Option<Self> {
        if self.missed.is_some_and(|before| before != seeking) {
            self.gone();
            return None;
        }
        self.missed = Some(seeking);
        Some(self)
    }
}

/// Where questions and the thread meet.
#[derive(Debug)]
pub(super) struct Lane {
    state: Mutex<State>,
    pub(super) woken: Condvar,
    /// Bytes of records that are kept.
    pub(super) limit: usize,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) shelf: Shelf,
    pub(super) waiting: VecDeque<Ask>,
    /// When it was last of use, in questions.
    used: u64,
    /// What is read ahead is read to the log's end.
    pub(super) ended: bool,
    /// How often it has sought.
    pub(super) seeks: u64,
}

impl Lane {
    /// One that keeps so many bytes of records.
    pub(super) fn new(limit: usize) -> Self {
        Self { state: Mutex::default(), woken: Condvar::new(), limit }
    }

    /// The record, if it was read already.
    pub(super) fn have(&self, at: Position, incarnation: &str, turn: u64) -> Option<Arc<Record>> {
        let mut state = self.lock();
        let record = state.shelf.take(at, incarnation)?;
        state.used = turn;
        let hungry = !state.ended && state.shelf.wants_more(self.limit);
        drop(state);
        if hungry {
            self.wake();
        }
        Some(record)
    }

    /// Whether it comes by there, or is about to.
    pub(super) fn is_near(&self, at: Position, incarnation: &str) -> bool {
        let state = self.lock();
        let asked = state.waiting.iter().any(|ask| ask.incarnation == incarnation && is_close(ask.at, at));
        asked || (state.waiting.is_empty() && state.shelf.leads_to(at, incarnation))
    }

    /// The less, the sooner it may be sent elsewhere.
    pub(super) fn load(&self) -> (usize, u64) {
        let state = self.lock();
        (state.waiting.len(), state.used)
    }

    /// Whether the question is taken.
    pub(super) fn ask(&self, ask: Ask, turn: u64, most: usize) -> bool {
        let mut state = self.lock();
        if state.waiting.len() >= most {
            return false;
        }
        state.used = turn;
        state.ended = false;
        state.waiting.push_back(ask);
        drop(state);
        self.wake();
        true
    }

    /// Something has changed that the thread should know.
    pub(super) fn wake(&self) {
        self.woken.notify_one();
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Answers what can be answered, and lets go of those who have left.
    pub(super) fn settle(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let mut rest = VecDeque::with_capacity(self.waiting.len());
        for ask in std::mem::take(&mut self.waiting) {
            if ask.answer.is_closed() {
                continue;
            }
            if let Some(record) = self.shelf.take(ask.at, &ask.incarnation) {
                // Fails when who asked has left.
                let _ = ask.answer.send(Ok(Fetched::Record(record)));
            } else if self.shelf.lacks(ask.at, &ask.incarnation) {
                rest.extend(ask.missed(self.seeks));
            } else {
                rest.push_back(ask);
            }
        }
        self.waiting = rest;
    }

    /// A partition was read to its end, and reaches so far: answers those of its questions whose records are not in it.
    pub(super) fn settle_at_end(&mut self, partition: i32, incarnation: &str, there: &Range<i64>) {
        let mut rest = VecDeque::with_capacity(self.waiting.len());
        for ask in std::mem::take(&mut self.waiting) {
            if ask.at.partition != partition || ask.incarnation != incarnation {
                rest.push_back(ask);
            } else if !there.contains(&ask.at.offset) {
                ask.gone();
            } else if self.shelf.is_before(ask.at, incarnation) {
                rest.extend(ask.missed(self.seeks));
            } else {
                rest.push_back(ask);
            }
        }
        self.waiting = rest;
    }

    /// This incarnation is another's topic now: there is nothing left of it.
    pub(super) fn disown(&mut self, incarnation: &str) {
        self.shelf = Shelf::default();
        let (gone, rest) =
            std::mem::take(&mut self.waiting).into_iter().partition(|ask| ask.incarnation == incarnation);
        self.waiting = rest;
        VecDeque::into_iter(gone).for_each(Ask::gone);
    }

    /// Puts what was read with what is there, and makes room for it.
    pub(super) fn put(&mut self, record: Record, giver: Option<i32>, limit: usize) {
        let waits = self.waiting.iter().filter(|ask| self.shelf.leads_to(ask.at, &ask.incarnation));
        let waits = waits.map(|ask| ask.at.offset).min();
        self.shelf.push(record, giver, waits, limit);
    }

    /// Whether some question waits only for a proof of what was read.
    pub(super) fn may_settle(&self) -> bool {
        self.waiting.iter().any(|ask| self.shelf.covers(ask.at, &ask.incarnation))
    }

    /// The oldest question whose answer was not read yet.
    pub(super) fn sought(&self) -> Option<&Ask> {
        self.waiting.iter().find(|ask| !self.shelf.covers(ask.at, &ask.incarnation))
    }

    /// Where to read so that the oldest question is answered, and those close by with it.
    pub(super) fn target(&self) -> Option<Position> {
        let first = self.waiting.front()?;
        let close =
            self.waiting.iter().filter(|ask| ask.incarnation == first.incarnation && is_close(ask.at, first.at));
        close.map(|ask| ask.at).min()
    }
}
