//! What to do about each name of one page of a list: a pure function, asked page by page.
//!
//! A page is what the source has just shown, or what the ledger says is ready; the rules are the same. Nothing here looks
//! at a clock, counts down a counter of its own or remembers the page before.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::time::Duration;

use contract::ItemName;

use crate::clock::Time;
use crate::ledger::{ItemId, Row, Seen, State};

/// A done item that is listed still is settled again after this long: its source may have come back from a backup, or
/// have said 204 and meant later.
pub const RESETTLE_AFTER: Duration = Duration::from_secs(60);

/// What holds of the whole queue at this moment.
#[derive(Clone, Copy, Debug)]
pub struct Now<'a> {
    /// The time.
    pub at: Time,
    /// Items with an attempt under way, of whatever revision.
    pub running: &'a HashSet<ItemName>,
    /// Items that this process has started, where their number is limited.
    pub started: &'a HashSet<ItemName>,
    /// What the source is told.
    pub settles: Settles,
    /// Whether what is new was there before the first run and is to be left alone.
    pub skip_new: bool,
}

/// What a source is told of what became of its items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settles {
    /// Nothing: it does not want to know.
    Nothing,
    /// What is done. That others are dead is kept back, since their failure may not be theirs.
    Done,
    /// Everything.
    All,
}

/// How much may be started. Each [`plan`] takes from it what it uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Attempts.
    pub slots: usize,
    /// Items not started by this process before; `None`: no limit.
    pub fresh: Option<usize>,
    /// Why nothing may be started at all.
    pub hold: Option<Hold>,
}

/// Why nothing is started for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hold {
    /// An operator paused the queue.
    Paused,
    /// The manager is about to end.
    Draining,
    /// The first attempts all ended alike.
    Breaker,
    /// The source does not give its items.
    Source,
}

/// What is decided for one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The name.
    pub name: ItemName,
    /// What the ledger knew of it.
    pub row: Option<Row>,
    /// What the ledger is to know of it, where it is new.
    pub new: Option<State>,
    /// What to do.
    pub act: Act,
}

/// What to do about one item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Attempt it now.
    Start,
    /// Tell the source that it is done, or dead.
    Settle {
        /// Its number.
        id: ItemId,
        /// Whether it is dead.
        dead: bool,
    },
    /// Nothing.
    Leave(Why),
}

/// Why nothing is done about an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is under way.
    Running,
    /// It is done.
    Done,
    /// It was given up.
    Dead,
    /// It is not to be done.
    Skipped,
    /// Its time has not come: it failed, or could not be read.
    Waits(Time),
    /// As many as allowed are under way.
    NoSlot,
    /// As many as `--limit` allows were started.
    Limit,
    /// Nothing is started for now.
    Held(Hold),
}

/// Decides for each name of a page, the first mention of it, in the page's order.
///
/// `rows` holds what the ledger knows of these names; a name without a row is new.
pub fn plan(names: &[ItemName], rows: &HashMap<ItemName, Row>, now: Now<'_>, budget: &mut Budget) -> Vec<Decision> {
    let mut met = HashSet::with_capacity(names.len());
    let first = names.iter().filter(|name| met.insert(*name));
    first
        .map(|name| {
            let row = rows.get(name);
            let new = match row {
                None if now.skip_new => Some(State::Skipped),
                None => Some(State::Todo),
                Some(_) => None,
            };
            Decision { name: name.clone(), row: row.cloned(), new, act: act(name, row, now, budget) }
        })
        .collect()
}

fn act(name: &ItemName, row: Option<&Row>, now: Now<'_>, budget: &mut Budget) -> Act {
    if now.running.contains(name) {
        return Act::Leave(Why::Running);
    }
    match row {
        None if now.skip_new => Act::Leave(Why::Skipped),
        None => start(name, now.at, now, budget),
        Some(row) => match row.state {
            State::Todo => start(name, row.not_before, now, budget),
            State::Running => Act::Leave(Why::Running),
            State::Skipped => Act::Leave(Why::Skipped),
            State::Done | State::Dead => {
                let dead = row.state == State::Dead;
                let due = row.settled.is_none_or(|settled| now.at.since(settled) >= RESETTLE_AFTER);
                let told = match now.settles {
                    Settles::Nothing => false,
                    Settles::Done => !dead,
                    Settles::All => true,
                };
                match told && due {
                    true => Act::Settle { id: row.id, dead },
                    false => Act::Leave(if dead { Why::Dead } else { Why::Done }),
                }
            }
        },
    }
}

fn start(name: &ItemName, not_before: Time, now: Now<'_>, budget: &mut Budget) -> Act {
    if let Some(hold) = budget.hold {
        return Act::Leave(Why::Held(hold));
    }
    if not_before > now.at {
        return Act::Leave(Why::Waits(not_before));
    }
    let fresh = !now.started.contains(name);
    if fresh && budget.fresh == Some(0) {
        return Act::Leave(Why::Limit);
    }
    if budget.slots == 0 {
        return Act::Leave(Why::NoSlot);
    }
    budget.slots -= 1;
    if fresh {
        budget.fresh = budget.fresh.map(|left| left - 1);
    }
    Act::Start
}

/// What of these decisions the ledger is told before anything is done.
pub fn seen(decisions: &[Decision]) -> Seen {
    let new = decisions.iter().filter_map(|d| Some((d.name.clone(), d.new?))).collect();
    let absent = |row: &Row| row.absent_since.is_some().then_some(row.id);
    Seen { new, returned: decisions.iter().filter_map(|d| d.row.as_ref().and_then(absent)).collect() }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Paused => "paused",
            Self::Draining => "draining",
            Self::Breaker => "breaker open",
            Self::Source => "source unavailable",
        })
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.write_str("running"),
            Self::Done => f.write_str("done"),
            Self::Dead => f.write_str("dead (try again with `queue-manager ledger retry`)"),
            Self::Skipped => f.write_str("skipped"),
            Self::Waits(until) => write!(f, "waits until {until}"),
            Self::NoSlot => f.write_str("waits for a free slot (--parallelism)"),
            Self::Limit => f.write_str("beyond --limit"),
            Self::Held(hold) => write!(f, "{hold}"),
        }
    }
}

#[cfg(test)]
mod tests;
