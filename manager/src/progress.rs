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
    Log { last: Option<(Instant, Shown)> },
}

/// What a line says, so that the same is not said again.
type Shown = (Tally, Option<String>);

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

    /// `waiting`: for what, while nothing runs.
    pub(crate) fn show(&mut self, tally: &Tally, backlog: u64, waiting: Option<String>) {
        let over = tally.done + tally.dead;
        match &mut self.0 {
            Kind::Silent => {}
            Kind::Bar(bar) => {
                let all = over + tally.todo + tally.running + backlog;
                if (all > 0 || waiting.is_some()) && bar.is_hidden() {
                    bar.set_draw_target(ProgressDrawTarget::stderr());
                }
                bar.set_length(all);
                bar.set_position(over);
                let waiting = waiting.map(|what| format!(", waiting for {what}")).unwrap_or_default();
                bar.set_message(format!("{} running, {} failed{waiting}", tally.running, tally.dead));
            }
            Kind::Log { last } => {
                let now = Instant::now();
                let (since, shown) = last.get_or_insert_with(|| (now, (*tally, None)));
                if now.duration_since(*since) >= LOG_EVERY && *shown != (*tally, waiting.clone()) {
                    let Tally { todo, running, done, dead, .. } = *tally;
                    info!(todo, running, done, dead, backlog, waiting_for = waiting, "progress");
                    *last = Some((now, (*tally, waiting)));
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
