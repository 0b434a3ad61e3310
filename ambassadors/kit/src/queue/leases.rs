//! What is taken and not settled, in the order in which it came.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use contract::ItemName;
use serde_json::{Map, Value};

use super::window::Why;

/// A message that is taken.
#[derive(Debug)]
pub(super) struct Lease<T> {
    pub(super) name: ItemName,
    /// By which the backend knows it.
    pub(super) token: T,
    /// The native key, for people.
    pub(super) key: Box<[u8]>,
    /// The item's data; or why there is no item.
    pub(super) content: Result<Map<String, Value>, Why>,
    pub(super) trace_id: Option<String>,
    pub(super) taken: Instant,
}

/// Leases by place, which only grows, and by name.
#[derive(Debug)]
pub(super) struct Leases<T> {
    places: BTreeMap<u64, Lease<T>>,
    names: HashMap<ItemName, u64>,
    next: u64,
}

impl<T> Default for Leases<T> {
    fn default() -> Self {
        Self { places: BTreeMap::new(), names: HashMap::new(), next: 0 }
    }
}

impl<T> Leases<T> {
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Nothing is done where the name is there already.
    pub(super) fn insert(&mut self, lease: Lease<T>) {
        if self.names.contains_key(&lease.name) {
            return;
        }
        self.names.insert(lease.name.clone(), self.next);
        self.places.insert(self.next, lease);
        self.next += 1;
    }

    /// With its place; one that was lost and taken again has another.
    pub(super) fn find(&self, name: &ItemName) -> Option<(u64, &Lease<T>)> {
        let place = *self.names.get(name)?;
        Some((place, self.places.get(&place)?))
    }

    pub(super) fn get(&self, name: &ItemName) -> Option<&Lease<T>> {
        self.places.get(self.names.get(name)?)
    }

    /// The one that was at this place, if it still is there.
    pub(super) fn at(&mut self, name: &ItemName, place: u64) -> Option<&mut Lease<T>> {
        self.names.get(name).filter(|now| **now == place)?;
        self.places.get_mut(&place)
    }

    pub(super) fn remove(&mut self, name: &ItemName) -> Option<Lease<T>> {
        self.places.remove(&self.names.remove(name)?)
    }

    /// From this place on.
    pub(super) fn from(&self, place: u64) -> impl Iterator<Item = (u64, &Lease<T>)> {
        self.places.range(place..).map(|(place, lease)| (*place, lease))
    }
}
