//! One settlement of an item at a time.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use contract::ItemName;

use crate::source::SourceError;

/// Items that are being settled. Cheap to clone; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Turns(Arc<Mutex<HashSet<ItemName>>>);

/// The right to settle an item, of which there is one; given back when it is dropped.
#[derive(Debug)]
#[must_use = "it is given back when it is dropped"]
pub struct Turn {
    turns: Turns,
    name: ItemName,
}

impl Turns {
    /// The right to settle this item, unless somebody has it.
    ///
    /// # Errors
    /// [`SourceError::Unavailable`] while it is being settled: whoever asks again hears what became of it.
    pub fn take(&self, name: &ItemName) -> Result<Turn, SourceError> {
        if self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone()) {
            return Ok(Turn { turns: self.clone(), name: name.clone() });
        }
        let why = "this item is being settled already".into();
        Err(SourceError::Unavailable { why, retry: Duration::from_secs(1) })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_settled_by_one_at_a_time_and_others_meanwhile() {
        let (turns, name) = (Turns::default(), |key: &[u8]| ItemName::derive(b"", key, b""));
        let turn = turns.take(&name(b"a")).expect("it is free");
        let refused = turns.clone().take(&name(b"a")).expect_err("it is taken");
        assert!(matches!(&refused, SourceError::Unavailable { why, .. } if why.contains("being settled already")));
        drop(turns.take(&name(b"b")).expect("another is free"));
        drop(turn);
        drop(turns.take(&name(b"a")).expect("it is free again"));
    }
}
