#![doc = include_str!("../README.md")]

mod args;
mod command;
mod context;
mod job;
mod progress;

pub use args::WorkerArgs;
pub use command::{Command, Exit};
pub use context::Context;
pub use job::{Job, JobError, main};
pub use progress::Progress;
