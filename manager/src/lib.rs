#![doc = include_str!("../README.md")]

pub mod args;
mod attempt;
pub mod breaker;
pub mod clock;
pub mod command;
pub mod executor;
pub mod ledger;
pub mod metrics;
pub mod parallelism;
pub mod plan;
pub mod presence;
pub mod progress;
pub mod run;
mod shared;
pub mod source;
pub mod verdict;
mod walk;
