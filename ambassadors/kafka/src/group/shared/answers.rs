//! What whoever asks is told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ambassador_kit::source::{Page, SourceError, Tally};
use contract::wire::{Item, Withheld};
use contract::{ItemName, Key};

use super::super::state::Place;
use super::Shared;
use crate::naming::Position;
use crate::record::Record;

impl Shared {
    pub(in crate::group) fn get(&self, name: &ItemName) -> Result<Item, SourceError> {
        let state = self.state();
        let (record, naming) = match state.place(name) {
            Place::Here(at) => {
                let held = state.window.get(at).filter(|held| held.value.withheld.is_none());
                let found = held.zip(state.topic.as_ref());
                let found = found.map(|(held, topic)| (Arc::clone(&held.value.record), topic.naming.clone()));
                found.ok_or_else(|| SourceError::NotFound(name.clone()))?
            }
            Place::Over | Place::Elsewhere => return Err(SourceError::Gone(name.clone())),
            Place::Nowhere => return Err(SourceError::NotFound(name.clone())),
        };
        drop(state);
        record.item(&naming, &self.settings).map_err(|error| SourceError::Internal(error.into()))
    }

    pub(in crate::group) fn page(&self, from: Option<Position>, max: usize) -> Page<ItemName, Position> {
        let state = self.state();
        let Some(topic) = &state.topic else { return state.page_of(Vec::new(), None, 0) };
        let mut listed = state.window.held(from).filter(|(_, held)| held.value.withheld.is_none());
        let items = listed.by_ref().take(max).map(|(at, _)| topic.naming.name(at)).collect();
        let next = listed.next().map(|(at, _)| at);
        let rest = next.map_or(0, |_| listed.count() as u64 + 1);
        state.page_of(items, next, rest)
    }

    pub(in crate::group) fn withheld(&self, from: Option<Position>, max: usize) -> Page<Withheld, Position> {
        let state = self.state();
        let held = state.window.held(None).filter_map(|(at, held)| {
            let why = held.value.withheld.as_ref()?;
            let message = match (&self.membership.dead_letter_topic, &state.topic) {
                (None, Some(topic)) => {
                    format!("{}; commits wait for it until it is settled as {}", why.message, topic.naming.name(at))
                }
                _ => why.message.clone(),
            };
            Some((at, self.withheld_as(at, why.reason, &message, &held.value.record)))
        });
        let staying = state.staying.iter().map(|(at, one)| (*at, one.clone()));
        let nowhere = Position { partition: -1, offset: -1 };
        let full = self.fullness.withheld().map(|one| (nowhere, one));
        let all: BTreeMap<Position, Withheld> = full.into_iter().chain(held).chain(staying).collect();
        let from = from.unwrap_or(Position { partition: i32::MIN, offset: i64::MIN });
        let mut rest = all.range(from..);
        let items = rest.by_ref().take(max).map(|(_, one)| one.clone()).collect();
        let next = rest.next().map(|(at, _)| *at);
        let remaining = next.map_or(0, |_| rest.count() as u64 + 1);
        Page { backlog: None, ..state.page_of(items, next, remaining) }
    }

    pub(in crate::group) fn withheld_as(&self, at: Position, reason: &str, message: &str, record: &Record) -> Withheld {
        Withheld {
            key: Key::new(format!("{}/{}/{}", self.settings.topic, at.partition, at.offset).as_bytes()),
            reason: reason.to_owned(),
            message: message.to_owned(),
            pending: false,
            since: record.time,
        }
    }

    /// How long nobody need look. Who has nothing to do but to wait for others looks often: it may be theirs no more, or done.
    pub(in crate::group) fn until_the_next_look(&self) -> Duration {
        const OFTEN: Duration = Duration::from_secs(1);
        let state = self.state();
        let waits_for_others = state.window.size().0 == 0 && state.backlog().is_some_and(|backlog| backlog > 0);
        if waits_for_others { self.settings.when.poll.min(OFTEN) } else { self.settings.when.poll }
    }

    /// Whether anything was ever to be done, by us or by others.
    pub(in crate::group) fn had_items(&self) -> bool {
        let state = self.state();
        state.ends.had_items() || state.window.size().0 > 0
    }

    pub(in crate::group) fn tally(&self) -> Tally {
        let state = self.state();
        let mut withheld: BTreeMap<&'static str, u64> = BTreeMap::new();
        let mut listed = 0;
        for (_, held) in state.window.held(None) {
            match &held.value.withheld {
                Some(why) => *withheld.entry(why.reason).or_default() += 1,
                None => listed += 1,
            }
        }
        if !state.staying.is_empty() {
            withheld.insert("dead-letter", state.staying.len() as u64);
        }
        if self.fullness.withheld().is_some() {
            withheld.insert("window-full", 1);
        }
        let (items, bytes) = state.window.size();
        self.metrics.window_records.set(i64::try_from(items).unwrap_or(i64::MAX));
        self.metrics.window_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.metrics.uncommitted.set(i64::try_from(state.window.uncommitted()).unwrap_or(i64::MAX));
        Tally {
            listed: Some(listed),
            withheld: withheld.into_iter().collect(),
            oldest: state.window.oldest(),
            backlog: state.backlog(),
        }
    }
}
