//! How far it is, for people: a bar on a terminal, now and then a log line elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing::info;

use crate::ledger::Tally;

/// Without a terminal progress is logged this often, where there is any.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// Shows how many items are done.
#[derive(Debug)]
pub struct Progress(Kind);

#[derive(Debug)]
enum Kind {
    Silent,
    Bar(ProgressBar),
    Log { last: Option<(Instant, Tally)> },
}

impl Progress {
    /// Shows nothing.
    pub fn silent() -> Self {
        Self(Kind::Silent)
    }

    /// A bar below the log lines where stderr is a terminal, else a line a minute.
    pub fn on_stderr() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(Kind::Log { last: None });
        }
        // Drawn once there is something to draw.
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden());
        let style = ProgressStyle::with_template("{spinner} [{elapsed_precise}] {wide_bar} {pos}/{len} {msg}");
        bar.set_style(style.expect("the template is well-formed"));
        bar.enable_steady_tick(Duration::from_millis(200));
        let beside = bar.clone();
        sidecar::run::around_log_lines(move |write| beside.suspend(write));
        Self(Kind::Bar(bar))
    }

    pub(crate) fn show(&mut self, tally: &Tally, backlog: u64) {
        let over = tally.done + tally.dead;
        match &mut self.0 {
            Kind::Silent => {}
            Kind::Bar(bar) => {
                let all = over + tally.todo + tally.running + backlog;
                if all > 0 && bar.is_hidden() {
                    bar.set_draw_target(ProgressDrawTarget::stderr());
                }
                bar.set_length(all);
                bar.set_position(over);
                bar.set_message(format!("{} running, {} failed", tally.running, tally.dead));
            }
            Kind::Log { last } => {
                let now = Instant::now();
                let (since, shown) = last.get_or_insert((now, *tally));
                if now.duration_since(*since) >= LOG_EVERY && *shown != *tally {
                    let Tally { todo, running, done, dead, .. } = *tally;
                    info!(todo, running, done, dead, backlog, "progress");
                    *last = Some((now, *tally));
                }
            }
        }
    }

    pub(crate) fn finish(&mut self) {
        if let Kind::Bar(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
