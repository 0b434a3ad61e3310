//! What was settled and is not done with: names that were not at hand, and native items that failed and were told to stay.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use contract::ItemName;

use crate::source::Outcome;

/// Names remembered at most; the oldest make room.
const MOST: usize = 10_000;
/// How long a name is remembered.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// What was settled, by name and, with its version `V`, by native key. In memory only: after a restart a manager settles again
/// whatever is listed again.
#[derive(Debug)]
pub struct Remembered<V>(Mutex<Inner<V>>);

#[derive(Debug)]
struct Inner<V> {
    outcomes: HashMap<ItemName, (Outcome, Instant)>,
    order: VecDeque<(ItemName, Instant)>,
    stays: HashMap<Box<[u8]>, V>,
}

impl<V> Default for Remembered<V> {
    fn default() -> Self {
        Self(Mutex::new(Inner { outcomes: HashMap::new(), order: VecDeque::new(), stays: HashMap::new() }))
    }
}

impl<V: PartialEq> Remembered<V> {
    /// This name was settled and nothing of that name is listed.
    pub fn settle(&self, name: &ItemName, outcome: &Outcome) {
        let mut inner = self.lock();
        let now = Instant::now();
        inner.order.push_back((name.clone(), now));
        inner.outcomes.insert(name.clone(), (outcome.clone(), now));
        while let Some((name, at)) = inner.order.front().cloned() {
            if inner.order.len() <= MOST && at.elapsed() < LONGEST {
                break;
            }
            inner.order.pop_front();
            if inner.outcomes.get(&name).is_some_and(|(_, last)| *last == at) {
                inner.outcomes.remove(&name);
            }
        }
    }

    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        let inner = self.lock();
        inner.outcomes.is_empty() && inner.stays.is_empty()
    }

    /// Whether this name was settled before it was listed.
    pub fn was_settled(&self, name: &ItemName) -> bool {
        self.lock().outcomes.get(name).is_some_and(|(_, at)| at.elapsed() < LONGEST)
    }

    /// How it was settled; from now on it is not remembered.
    pub fn take(&self, name: &ItemName) -> Option<Outcome> {
        self.lock().outcomes.remove(name).map(|(outcome, _)| outcome)
    }

    /// This version of a native item failed for good, and stays where it is.
    pub fn stay(&self, key: &[u8], version: V) {
        self.lock().stays.insert(key.into(), version);
    }

    /// Whether it did. Another version of it has not.
    pub fn stays(&self, key: &[u8], version: V) -> bool {
        let mut inner = self.lock();
        let stays = inner.stays.get(key).map(|stays| *stays == version);
        if stays == Some(false) {
            inner.stays.remove(key);
        }
        stays == Some(true)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner<V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_and_the_youngest_stay() {
        let remembered = Remembered::<u64>::default();
        let name = |n: usize| ItemName::derive(b"", n.to_string().as_bytes(), b"");
        for n in 0..MOST + 5 {
            remembered.settle(&name(n), &Outcome::Done);
            remembered.settle(&name(MOST + 4), &Outcome::Done);
        }
        assert!(remembered.was_settled(&name(MOST + 4)));
        assert!(!remembered.was_settled(&name(0)));
        assert!(remembered.lock().outcomes.len() <= MOST);
        assert_eq!(remembered.take(&name(MOST + 4)), Some(Outcome::Done));
        assert_eq!(remembered.take(&name(MOST + 4)), None);
    }

    #[test]
    fn only_the_version_that_failed_stays() {
        let remembered = Remembered::default();
        remembered.stay(b"k", 1);
        assert!(remembered.stays(b"k", 1));
        assert!(!remembered.stays(b"k", 2));
        assert!(!remembered.stays(b"k", 1));
    }
}
