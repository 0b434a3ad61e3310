//! Turns for each item: one whose file hangs must not take those of all the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ambassador_kit::source::SourceError;
use contract::ItemName;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Requests for one item that may wait for the file system at once.
const AT_ONCE: usize = 4;

/// A lane for each item that is asked for, as long as it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lanes(Arc<Mutex<HashMap<ItemName, Arc<Semaphore>>>>);

/// A place in an item's lane, given back when dropped.
#[derive(Debug)]
pub(crate) struct Lane {
    lanes: Lanes,
    name: ItemName,
    turns: Arc<Semaphore>,
    turn: Option<OwnedSemaphorePermit>,
}

impl Lanes {
    /// Waits for a turn in the item's lane.
    ///
    /// # Errors
    /// None in practice: lanes are never closed.
    pub(crate) async fn enter(&self, name: &ItemName) -> Result<Lane, SourceError> {
        let turns = {
            let mut lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(lanes.entry(name.clone()).or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE))))
        };
        let mut lane = Lane { lanes: self.clone(), name: name.clone(), turns, turn: None };
        let turn = Arc::clone(&lane.turns).acquire_owned().await;
        lane.turn = Some(turn.map_err(|e| SourceError::Internal(e.into()))?);
        Ok(lane)
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let mut lanes = self.lanes.0.lock().unwrap_or_else(PoisonError::into_inner);
        self.turn = None;
        // The map's and ours: nobody else uses it, and nobody can begin to while the map is locked.
        if Arc::strong_count(&self.turns) == 2 {
            lanes.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_full_lane_stops_nobody_else_and_leaves_nothing_behind() {
        let lanes = Lanes::default();
        let (one, other) = ("a".parse().expect("a name"), "b".parse().expect("a name"));
        let mut held = Vec::new();
        for _ in 0..AT_ONCE {
            held.push(lanes.enter(&one).await.expect("a turn"));
        }
        assert!(tokio::time::timeout(Duration::from_millis(1), lanes.enter(&one)).await.is_err(), "it is full");
        drop(lanes.enter(&other).await.expect("a turn"));
        held.pop();
        lanes.enter(&one).await.expect("there is a turn again");
        held.clear();
        assert!(lanes.0.lock().expect("not poisoned").is_empty());
    }
}
