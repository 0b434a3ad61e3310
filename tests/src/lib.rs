//! The real programs, started and stopped by tests: see `README.md`.

pub mod programs;
pub mod supervised;
pub mod world;

pub use supervised::{Daemon, Ended, wait_until};
pub use world::{Faults, Settling, World};
