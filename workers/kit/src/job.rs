//! The door of this crate: what a worker implements, and how it is started.

use std::process::ExitCode;

use clap::Parser;

use crate::{Context, WorkerArgs};

/// What one kind of worker does with one item.
pub trait Job: Send {
    /// The programs it starts, for `--check`: each must be found and be executable.
    fn programs(&self) -> Vec<std::ffi::OsString>;

    /// Makes the item's output from its inputs, in the directories the context names. Commands are started through the
    /// context only, so that group, timeout, signals and tails are one mechanism. `Ok` publishes what lies in
    /// [`Context::output_dir`].
    ///
    /// # Errors
    /// What [`Context::run`] returned, or why this item cannot be done.
    fn run(self, context: &mut Context) -> impl Future<Output = Result<(), JobError>> + Send;
}

/// Why a job did not make its output, and what the worker exits with.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct JobError {
    pub(crate) code: u8,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl JobError {
    /// An exit code of [`contract::exit`], a word for metrics in camel case (`CorruptVideo`), and one line for people that
    /// names the thing and the next step.
    pub fn new(code: u8, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into() }
    }
}

/// Runs a worker's whole life: parses `A`, splits it into the shared flags and the job, does one item, reports, exits.
pub fn main<A: Parser, J: Job>(split: impl FnOnce(A) -> (WorkerArgs, J)) -> ExitCode {
    sidecar::cli::main(|args| {
        let (worker, job) = split(args);
        drop((worker, job));
        ExitCode::from(contract::exit::BUG)
    })
}
