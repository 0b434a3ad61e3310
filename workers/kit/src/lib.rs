#![doc = include_str!("../README.md")]

mod account;
mod args;
mod check;
mod command;
mod context;
mod environment;
mod inputs;
mod item;
mod job;
mod leavings;
mod life;
mod progress;
mod record;
mod relay;
mod scratch;
mod stores;
mod template;
mod trip;
mod verdict;

pub use args::WorkerArgs;
pub use command::{Command, Exit};
pub use context::Context;
pub use job::{Job, JobError};
pub use life::{Asked, main, main_or_errand};
pub use process::Limits;
pub use progress::Progress;
pub use relay::Relay;
pub use scratch::RUN_VARIABLE;
pub use trip::RESULT_MAX;
