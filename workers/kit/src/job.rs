//! What a worker implements.

use std::ffi::OsString;

use contract::exit;

use crate::{Context, Relay};

/// What one kind of worker does with one item.
pub trait Job: Send + Sync {
    /// The programs it starts, for `--check`: each must be found and be executable.
    fn programs(&self) -> Vec<OsString>;

    /// What else `--check` can look at: what is there it says in the log, what is missing it gives back. Bounded in time.
    fn check(&self) -> impl Future<Output = Vec<JobError>> + Send {
        std::future::ready(Vec::new())
    }

    /// Where the inputs lie that an earlier process has fetched; the worker fetches them itself where this says nothing.
    fn relay(&self) -> Option<&Relay> {
        None
    }

    /// Makes the item's output from its inputs, in the directories the context names. Commands are started through the
    /// context only, so that group, timeout, signals and tails are one mechanism. `Ok` publishes what lies in
    /// [`Context::output_dir`].
    ///
    /// # Errors
    /// What [`Context::run`] returned, or why this item cannot be done.
    fn run(self, context: &mut Context) -> impl Future<Output = Result<(), JobError>> + Send;
}

/// Why an item was not done, and what the worker exits with.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct JobError {
    pub(crate) code: u8,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    /// The command's own exit code, where that is what failed.
    pub(crate) command_code: Option<i32>,
}

impl JobError {
    /// An exit code of [`contract::exit`], a word for metrics in camel case (`CorruptVideo`), and one line for people that
    /// names the thing and the next step.
    pub fn new(code: u8, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), command_code: None }
    }

    /// The same of a command that ended with `code`, or by `signal`: 1–63 stay as they are, 64 and above are 1, a signal is
    /// 128 + n; what `--permanent-exit` names becomes 65.
    pub fn of_command(
        code: Option<i32>,
        signal: Option<i32>,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        let own = match (code, signal) {
            (Some(code), _) => {
                u8::try_from(code).ok().filter(|code| *code <= exit::USER_MAX).unwrap_or(exit::USER_OTHER)
            }
            (None, signal) => {
                u8::try_from(signal.unwrap_or_default()).unwrap_or_default().saturating_add(exit::SIGNAL_BASE)
            }
        };
        Self { command_code: code, ..Self::new(own, reason, message) }
    }

    /// What the worker exits with.
    pub fn code(&self) -> u8 {
        self.code
    }

    /// The same, with more for people to go by.
    #[must_use]
    pub fn with_hint(mut self, hint: &str) -> Self {
        self.message.push_str("; ");
        self.message.push_str(hint);
        self
    }
}
