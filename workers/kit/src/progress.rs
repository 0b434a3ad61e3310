//! How far a job is.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two lines of progress in the log.
const EVERY: Duration = Duration::from_secs(5);

/// Tells how far the job is; cheap to clone, so that a [`Command::stdout_lines`](crate::Command::stdout_lines) callback can
/// hold one.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    last: Arc<Mutex<Option<Instant>>>,
}

impl Progress {
    /// `fraction` of the whole, 0 to 1, where known, and a few words. Logged at most every 5 seconds, however often it is
    /// called.
    pub fn report(&self, fraction: Option<f64>, text: impl fmt::Display) {
        if !self.is_due(Instant::now()) {
            return;
        }
        match fraction {
            Some(fraction) => {
                let percent = (fraction.clamp(0.0, 1.0) * 100.0).round();
                tracing::info!(percent, detail = %text, "progress");
            }
            None => tracing::info!(detail = %text, "progress"),
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // The first report starts the clock: what is done within it needs no line.
        let since = *last.get_or_insert(now);
        let due = now.duration_since(since) >= EVERY;
        if due {
            *last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chatty_job_gets_a_line_every_five_seconds() {
        let (progress, start) = (Progress::default(), Instant::now());
        let lines = (0..1000_u64).filter(|n| progress.is_due(start + Duration::from_millis(n * 20))).count();
        assert_eq!(lines, 3);
    }
}
