#![doc = include_str!("../README.md")]

pub mod ambassador;
pub mod crew;
pub mod hands;
pub mod http;
pub mod images;
pub mod loader;
pub mod marked;
pub mod programs;
pub mod source;
pub mod sources;
pub mod supervised;
pub mod watched;
pub mod world;

pub use ambassador::Ambassador;
pub use crew::Ordeal;
pub use hands::{Hands, Ledger, drained_by_three};
pub use loader::Loader;
pub use marked::{Marked, marked};
pub use supervised::{Daemon, Ended, until, wait_until};
pub use watched::Watched;
pub use world::{Faults, Settling, World};

/// `item-0`, `item-1`, …: what a queue is filled with where only the order of it matters.
pub fn numbered(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|n| format!("item-{n}")).collect()
}
