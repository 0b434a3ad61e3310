//! How far a job is.

use std::fmt;

/// Tells how far the job is; cheap to clone, so that a [`Command::stdout_lines`](crate::Command::stdout_lines) callback can
/// hold one.
#[derive(Clone, Debug, Default)]
pub struct Progress {}

impl Progress {
    /// `fraction` of the whole, 0 to 1, where known, and a few words. Logged at most every few seconds, however often it is
    /// called.
    pub fn report(&self, fraction: Option<f64>, text: impl fmt::Display) {
        let _ = (fraction, text.to_string());
    }
}
