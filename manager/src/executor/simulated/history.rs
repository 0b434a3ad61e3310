//! What ran, and what it says about the manager that asked for it.

use std::collections::BTreeMap;

use contract::ItemName;
use tokio::time::Instant;

use crate::executor::AttemptId;

/// One attempt, from when it began to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its nonce.
    pub id: AttemptId,
    /// The item.
    pub item: ItemName,
    /// Which attempt at the item it was.
    pub number: u32,
    /// The revision it ran under.
    pub revision: u64,
    /// When it began to run.
    pub began: Instant,
    /// When it ended; `None` while it runs.
    pub ended: Option<Instant>,
    /// How it ended; `None` while it runs and when that was lost.
    pub exit: Option<u8>,
}

/// Everything a remote ran.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// In the order in which they began.
    pub runs: Vec<Run>,
    /// What a manager may never do: start an attempt again after its end, forget one that is alive.
    pub violations: Vec<String>,
}

impl History {
    /// Pairs of runs of one item that ran at the same time; there may be none.
    pub fn overlaps(&self) -> Vec<(Run, Run)> {
        let by_item = self.by_item();
        let pairs = by_item.values().flat_map(|runs| runs.iter().zip(runs.iter().skip(1)));
        pairs
            .filter(|(first, second)| first.ended.is_none_or(|ended| ended > second.began))
            .map(|(first, second)| ((*first).clone(), (*second).clone()))
            .collect()
    }

    /// The runs of each item, in the order in which they began.
    pub fn by_item(&self) -> BTreeMap<&ItemName, Vec<&Run>> {
        let mut by_item: BTreeMap<&ItemName, Vec<&Run>> = BTreeMap::new();
        for run in &self.runs {
            by_item.entry(&run.item).or_default().push(run);
        }
        by_item
    }

    /// The most runs there were at one time.
    pub fn most_at_once(&self) -> usize {
        let at = |time: Instant| {
            self.runs.iter().filter(|run| run.began <= time && run.ended.is_none_or(|ended| ended > time)).count()
        };
        self.runs.iter().map(|run| at(run.began)).max().unwrap_or(0)
    }
}
