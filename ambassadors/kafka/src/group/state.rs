//! What is known of the topic, and what is held of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use ambassador_kit::source::Page;
use contract::ItemName;
use contract::wire::Withheld;

use super::ends::Ends;
use super::window::{Bounds, Known, Window};
use crate::naming::{Naming, Position};
use crate::record::Record;

/// A record that waits to be settled.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) record: Arc<Record>,
    /// Why it is not listed.
    pub(super) withheld: Option<Why>,
    /// It is being written to the dead letter topic.
    pub(super) leaving: bool,
}

/// Why a record is no item.
#[derive(Clone, Debug)]
pub(super) struct Why {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) topic: Option<Topic>,
    pub(super) window: Window<Letter>,
    pub(super) ends: Ends,
    /// Since when nothing is held, if nothing is.
    pub(super) emptied: Instant,
    /// Whether the group has told us what is ours.
    pub(super) joined: Option<bool>,
    /// What keeps the thread that takes records from it.
    pub(super) trouble: Option<String>,
    /// What came of the last look at topic and group; `None` before the first.
    pub(super) looked: Option<Result<(), String>>,
    /// Failed, settled, and still in the topic.
    pub(super) staying: VecDeque<(Position, Withheld)>,
}

/// The topic as it is since it was last made.
#[derive(Clone, Debug)]
pub(super) struct Topic {
    pub(super) identity: String,
    pub(super) naming: Naming,
    /// Of the topic of this name that was there before, if we have seen it.
    pub(super) before: Option<Naming>,
    /// Partitions that were there when we first looked.
    pub(super) first: usize,
    pub(super) partitions: Vec<i32>,
    /// How many topics of the name were there before, since we run.
    pub(super) generation: u64,
    pub(super) looked: Instant,
}

/// Where the item of a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the window.
    Here(Position),
    /// Settled, or gone with the topic that it was of.
    Over,
    /// With the partition that was taken away.
    Elsewhere,
    /// It was never here.
    Nowhere,
}

impl State {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            topic: None,
            window: Window::new(bounds),
            ends: Ends::default(),
            emptied: Instant::now(),
            joined: None,
            trouble: None,
            looked: None,
            staying: VecDeque::new(),
        }
    }

    /// Another topic has this name now.
    pub(super) fn forget_all(&mut self) {
        self.window.clear();
        self.ends = self.ends.anew();
        self.staying.clear();
        self.joined = self.joined.map(|_| false);
        self.emptied = Instant::now();
    }

    pub(super) fn place(&self, name: &ItemName) -> Place {
        let Some(topic) = &self.topic else { return Place::Nowhere };
        let Some(at) = topic.naming.position(name) else {
            let before = topic.before.as_ref().is_some_and(|before| before.position(name).is_some());
            return if before { Place::Over } else { Place::Nowhere };
        };
        match self.window.known(at) {
            Known::Held => Place::Here(at),
            Known::Settled => Place::Over,
            Known::Elsewhere => Place::Elsewhere,
            Known::Never => Place::Nowhere,
        }
    }

    pub(super) fn generation(&self) -> Option<u64> {
        self.topic.as_ref().map(|topic| topic.generation)
    }

    /// Whether the topic was made again since it was this.
    pub(super) fn is_other(&self, topic: &Topic) -> bool {
        self.topic.as_ref().is_none_or(|now| now.generation != topic.generation)
    }

    /// Partitions were given or taken.
    pub(super) fn rebalanced(&mut self) {
        self.emptied = Instant::now();
    }

    pub(super) fn page_of<T>(&self, items: Vec<T>, next: Option<Position>, remaining: u64) -> Page<T, Position> {
        let complete = self.joined == Some(true);
        Page { items, next, complete, remaining: Some(remaining), backlog: self.backlog() }
    }

    /// How much waits behind the window, in all partitions of the topic. Nothing only where a look that began after the window was empty
    /// found nothing.
    pub(super) fn backlog(&self) -> Option<u64> {
        let behind = self.ends.behind(self.window.positions())?;
        let unsure = self.window.size().0 == 0 && !self.ends.is_since(self.emptied);
        Some(behind.max(u64::from(unsure)))
    }
}
