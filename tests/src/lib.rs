#![doc = include_str!("../README.md")]

pub mod crew;
pub mod hands;
pub mod http;
pub mod images;
pub mod programs;
pub mod sources;
pub mod supervised;
pub mod world;

pub use crew::Crew;
pub use hands::{Hands, Ledger};
pub use supervised::{Daemon, Ended, wait_until};
pub use world::{Faults, Settling, World};
