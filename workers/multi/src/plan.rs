//! Which stage begins when, which is tried again, and what becomes of the item: events in, actions out. It knows no clock, no file
//! and no process, so that all of it can be tested by itself.
//!
//! A stage is `State::Waiting` until what it needs is over, then runs, one attempt at a time, and ends in exactly one [`Outcome`].

use std::time::Duration;

use stage::protocol::Reason;

use crate::pipeline::{OnError, Pipeline, Retries, RetryOn, When};

#[cfg(test)]
mod tests;

/// What has happened. What concerns an attempt that is over already changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The item is there.
    Begin,
    /// An attempt that was started is over, with nothing of it left.
    Over {
        /// Which stage, by its place in the pipeline.
        stage: usize,
        /// Which attempt at it.
        attempt: u32,
        /// How it ended.
        reason: Reason,
        /// The command's exit code, if it exited.
        exit_code: Option<u8>,
    },
    /// The pause before an attempt is over.
    Due {
        /// Which stage.
        stage: usize,
        /// Which attempt at it.
        attempt: u32,
    },
    /// Everything is to stop: the worker was told to, or the pipeline has run longer than it may.
    Cancel,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start an attempt; [`Event::Over`] says when it is over.
    Start {
        /// Which stage.
        stage: usize,
        /// Which attempt, from 1.
        attempt: u32,
    },
    /// Stop an attempt that runs; that it is over is still to be said.
    Stop {
        /// Which stage.
        stage: usize,
        /// Which attempt.
        attempt: u32,
    },
    /// Say [`Event::Due`] after a pause.
    Pause {
        /// Which stage.
        stage: usize,
        /// The attempt that is to come.
        attempt: u32,
        /// How long.
        pause: Duration,
    },
}

/// How a stage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Its output is there.
    Succeeded,
    /// Its last attempt failed.
    Failed,
    /// It was stopped, for the failure of another or because everything was.
    Cancelled,
    /// It was never begun.
    Skipped,
}

/// What becomes of the item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It is done.
    Succeeded,
    /// This stage, the first whose failure is the item's, has failed.
    Failed {
        /// Which stage.
        stage: usize,
    },
    /// It was told to stop before it was done or had failed.
    Cancelled,
}

/// A pipeline on its way.
#[derive(Clone, Debug)]
pub struct Plan {
    /// In an order in which each stands after those that it needs.
    stages: Vec<Planned>,
    /// The first failure that is the item's, or the cancellation before it.
    decided: Option<Verdict>,
    cancelled: bool,
}

#[derive(Clone, Debug)]
struct Planned {
    needs: Vec<usize>,
    always: bool,
    fatal: bool,
    retries: Retries,
    permanent_exit: Vec<u8>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Running { attempt: u32, stopping: bool },
    Pausing { next: u32 },
    Over(Outcome),
}

impl Plan {
    /// Of a pipeline that nothing has been done of.
    pub fn new(pipeline: &Pipeline) -> Self {
        let stages = pipeline.stages.iter().map(|stage| Planned {
            needs: stage.needs.iter().filter_map(|need| pipeline.place(need)).collect(),
            always: stage.when == When::Always,
            fatal: stage.on_error == OnError::Fail,
            retries: stage.retries.clone(),
            permanent_exit: stage.permanent_exit.clone(),
            state: State::Waiting,
        });
        Self { stages: stages.collect(), decided: None, cancelled: false }
    }

    /// What an event makes necessary.
    pub fn on(&mut self, event: &Event) -> Vec<Action> {
        match *event {
            Event::Begin => self.begin_ready(),
            Event::Over { stage, attempt, reason, exit_code } => self.over(stage, attempt, reason, exit_code),
            Event::Due { stage, attempt } => match self.stages.get_mut(stage) {
                Some(planned) if planned.state == (State::Pausing { next: attempt }) => {
                    planned.state = State::Running { attempt, stopping: false };
                    vec![Action::Start { stage, attempt }]
                }
                _ => Vec::new(),
            },
            Event::Cancel => self.cancel(),
        }
    }

    /// What became of the item; `None` until every stage is over.
    pub fn verdict(&self) -> Option<Verdict> {
        let is_over = self.stages.iter().all(Planned::is_over);
        is_over.then(|| self.decided.unwrap_or(Verdict::Succeeded))
    }

    /// How a stage ended; `None` until then.
    pub fn outcome(&self, stage: usize) -> Option<Outcome> {
        match self.stages.get(stage)?.state {
            State::Over(outcome) => Some(outcome),
            State::Waiting | State::Running { .. } | State::Pausing { .. } => None,
        }
    }

    fn over(&mut self, stage: usize, attempt: u32, reason: Reason, exit_code: Option<u8>) -> Vec<Action> {
        let (decided, cancelled) = (self.decided.is_some(), self.cancelled);
        let Some(planned) = self.stages.get_mut(stage) else { return Vec::new() };
        let State::Running { attempt: running, .. } = planned.state else { return Vec::new() };
        if running != attempt {
            return Vec::new();
        }
        if reason == Reason::Completed {
            planned.state = State::Over(Outcome::Succeeded);
            return self.begin_ready();
        }
        let may_go_on = !cancelled && (planned.always || !decided);
        if may_go_on && attempt <= planned.retries.limit && planned.is_tried_again(reason, exit_code) {
            let next = attempt + 1;
            planned.state = State::Pausing { next };
            return vec![Action::Pause { stage, attempt: next, pause: planned.pause_after(attempt) }];
        }
        let stopped = reason == Reason::Cancelled;
        planned.state = State::Over(if stopped { Outcome::Cancelled } else { Outcome::Failed });
        let mut actions = Vec::new();
        if planned.fatal && self.decided.is_none() {
            self.decided = Some(Verdict::Failed { stage });
            actions = self.stop(|planned| !planned.always);
        }
        actions.extend(self.begin_ready());
        actions
    }

    fn cancel(&mut self) -> Vec<Action> {
        self.cancelled = true;
        if self.verdict().is_none() {
            self.decided.get_or_insert(Verdict::Cancelled);
        }
        let actions = self.stop(|_| true);
        self.begin_ready();
        actions
    }

    /// Stops what runs of `which`; what waits for its next attempt gets none.
    fn stop(&mut self, which: impl Fn(&Planned) -> bool) -> Vec<Action> {
        let mut actions = Vec::new();
        for (stage, planned) in self.stages.iter_mut().enumerate().filter(|(_, planned)| which(planned)) {
            match planned.state {
                State::Running { attempt, stopping: false } => {
                    planned.state = State::Running { attempt, stopping: true };
                    actions.push(Action::Stop { stage, attempt });
                }
                State::Pausing { .. } => planned.state = State::Over(Outcome::Failed),
                State::Running { stopping: true, .. } | State::Waiting | State::Over(_) => {}
            }
        }
        actions
    }

    /// Begins what is ready, and skips what never will be: once a stage has failed whose failure matters, nothing begins but what
    /// always does. One pass is enough, since a stage stands after those that it needs.
    fn begin_ready(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        for stage in 0..self.stages.len() {
            let Some(planned) = self.stages.get(stage) else { continue };
            if planned.state != State::Waiting {
                continue;
            }
            let needed = || planned.needs.iter().filter_map(|need| self.stages.get(*need));
            let state = if self.cancelled || (self.decided.is_some() && !planned.always) {
                State::Over(Outcome::Skipped)
            } else if needed().all(Planned::is_over) {
                actions.push(Action::Start { stage, attempt: 1 });
                State::Running { attempt: 1, stopping: false }
            } else {
                State::Waiting
            };
            if let Some(planned) = self.stages.get_mut(stage) {
                planned.state = state;
            }
        }
        actions
    }
}

impl Planned {
    fn is_over(&self) -> bool {
        matches!(self.state, State::Over(_))
    }

    fn is_tried_again(&self, reason: Reason, exit_code: Option<u8>) -> bool {
        if reason == Reason::Error && exit_code.is_some_and(|code| self.permanent_exit.contains(&code)) {
            return false;
        }
        if self.retries.on.is_empty() {
            use Reason::{Cancelled, CommandNotExecutable, CommandNotFound};
            return !matches!(reason, Cancelled | CommandNotFound | CommandNotExecutable);
        }
        self.retries.on.iter().any(|on| match on {
            RetryOn::Code(code) => reason == Reason::Error && exit_code == Some(*code),
            RetryOn::Reason(named) => reason == *named,
        })
    }

    /// The pause after the nth attempt: it doubles each time.
    fn pause_after(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        self.retries.backoff.saturating_mul(1 << doublings).min(self.retries.max_backoff)
    }
}
