//! How far it is, for people: a bar on a terminal, now and then a log line elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tracing::info;

/// Without a terminal progress is logged this often.
const LOG_EVERY: Duration = Duration::from_secs(30);

/// Shows how many lines are loaded.
#[derive(Debug)]
pub(super) enum Progress {
    /// On a terminal.
    Bar(ProgressBar),
    /// Elsewhere.
    Log {
        /// When was something said last.
        last: Instant,
        /// How many bytes there are, where that is known.
        of: Option<u64>,
    },
}

impl Progress {
    /// Of so many bytes, where that is known, of which these are loaded, and so many lines.
    pub(super) fn on_stderr(of: Option<u64>, bytes: u64, lines: u64) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::Log { last: Instant::now(), of };
        }
        let (bar, template) = match of {
            Some(of) => (ProgressBar::new(of), "[{elapsed_precise}] {wide_bar} {bytes}/{total_bytes} {msg}"),
            None => (ProgressBar::new_spinner(), "{spinner} [{elapsed_precise}] {msg}"),
        };
        bar.set_style(ProgressStyle::with_template(template).expect("the template is well-formed"));
        bar.enable_steady_tick(Duration::from_millis(200));
        let beside = bar.clone();
        sidecar::run::around_log_lines(move |write| beside.suspend(write));
        let this = Self::Bar(bar);
        this.draw(lines, bytes);
        this
    }

    pub(super) fn show(&mut self, lines: u64, bytes: u64) {
        match self {
            Self::Bar(_) => self.draw(lines, bytes),
            Self::Log { last, of } if last.elapsed() >= LOG_EVERY => {
                info!(lines, bytes, of, "loaded");
                *last = Instant::now();
            }
            Self::Log { .. } => {}
        }
    }

    pub(super) fn finish(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }

    fn draw(&self, lines: u64, bytes: u64) {
        if let Self::Bar(bar) = self {
            bar.set_position(bytes);
            bar.set_message(format!("{lines} lines are loaded"));
        }
    }
}
