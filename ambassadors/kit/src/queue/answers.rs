//! What is answered of a window.

use std::collections::BTreeMap;

use contract::wire::{Item, Withheld};
use contract::{ItemName, Key};

use super::leases::Lease;
use super::window::{State, Window};
use crate::source::{Page, SourceError, Tally};

impl<T: Clone + Send + 'static> Window<T> {
    /// Whether anything was ever in the queue since this runs.
    pub fn had_items(&self) -> bool {
        self.state().had_items
    }

    /// The item of this name.
    ///
    /// # Errors
    /// [`SourceError::Gone`] or [`SourceError::NotFound`].
    pub fn get(&self, name: &ItemName) -> Result<Item, SourceError> {
        let state = self.state();
        match state.leases.get(name).map(|lease| &lease.content) {
            Some(Ok(data)) => Ok(Item::new(name.clone(), data.clone())),
            None if state.gone.contains(name) || state.settled.contains(name) => Err(SourceError::Gone(name.clone())),
            Some(Err(_)) | None => Err(SourceError::NotFound(name.clone())),
        }
    }

    /// Part of the list, in the order in which messages came.
    pub fn page(&self, from: Option<u64>, max: usize) -> Page<ItemName, u64> {
        let state = self.state();
        let listed = state.leases.from(from.unwrap_or(0)).filter(|(_, lease)| lease.content.is_ok());
        let page = part(listed.map(|(place, lease)| (place, || lease.name.clone())), max);
        Page { complete: state.behind.is_some(), backlog: state.backlog(), ..page }
    }

    /// Part of what is held and not listed.
    pub fn withheld(&self, from: Option<u64>, max: usize) -> Page<Withheld, u64> {
        let state = self.state();
        let full = self.fullness.withheld().map(|one| (0, one));
        let held = state.leases.from(0).filter_map(|(place, lease)| Some((place + 1, lease.withheld()?)));
        let all: BTreeMap<u64, Withheld> = full.into_iter().chain(held).collect();
        let rest = all.range(from.unwrap_or(0)..);
        let page = part(rest.map(|(place, one)| (*place, || one.clone())), max);
        Page { complete: state.behind.is_some(), ..page }
    }

    /// It in figures.
    pub fn tally(&self) -> Tally {
        let state = self.state();
        let mut withheld: BTreeMap<&'static str, u64> = BTreeMap::new();
        let mut listed = 0;
        for (_, lease) in state.leases.from(0) {
            match &lease.content {
                Ok(_) => listed += 1,
                Err(why) => *withheld.entry(why.reason).or_default() += 1,
            }
        }
        if self.fullness.withheld().is_some() {
            withheld.insert("window-full", 1);
        }
        Tally {
            listed: Some(listed),
            withheld: withheld.into_iter().collect(),
            oldest: state.leases.from(0).next().map(|(_, lease)| lease.taken.elapsed()),
            backlog: state.backlog(),
        }
    }
}

impl<T> Lease<T> {
    fn withheld(&self) -> Option<Withheld> {
        let why = self.content.as_ref().err()?;
        Some(Withheld {
            key: Key::new(&self.key),
            reason: why.reason.to_owned(),
            message: format!("{}; it has a place in the window until it is settled as {}", why.message, self.name),
            pending: false,
            since: None,
        })
    }
}

impl<T> State<T> {
    /// Where nothing is listed, nothing only if a look that began after the last item left found nothing: what came behind it since an
    /// earlier look would be overlooked, and so would what was lost and is back in the queue.
    fn backlog(&self) -> Option<u64> {
        let (look, behind) = self.behind?;
        let unsure = look.0 != self.departures && self.leases.from(0).all(|(_, lease)| lease.content.is_err());
        Some(behind.max(u64::from(unsure)))
    }
}

/// At most `max` of these, which are in their order; where the rest begins, and how many those are.
fn part<T, F: Fn() -> T>(mut all: impl Iterator<Item = (u64, F)>, max: usize) -> Page<T, u64> {
    let items = all.by_ref().take(max).map(|(_, make)| make()).collect();
    let next = all.next().map(|(place, _)| place);
    let remaining = next.map_or(0, |_| all.count() as u64 + 1);
    Page { items, next, complete: false, remaining: Some(remaining), backlog: None }
}
