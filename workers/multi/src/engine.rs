//! One pipeline over one item: the plan says what, the crew does it, and everything that can happen meanwhile is heard here.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use contract::exit;
use sidecar::Shutdown;
use stage::protocol::{Ended, Reason};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};
use worker_kit::{Context, JobError, Progress};

use crate::crew::{Crew, News, Order};
use crate::inputs::{Inputs, Needed};
use crate::pipeline::Pipeline;
use crate::plan::{Action, Event, Outcome, Plan, Verdict};
use crate::record::{self, Records};

/// Between two lines on what is running.
const PROGRESS: Duration = Duration::from_secs(30);

/// Runs the stages to their end, and notes for the report what became of them. `Ok` when the item is done: the output of each stage
/// that succeeded lies in its directory then, and is given by stage.
///
/// # Errors
/// What the failure of a stage, `--timeout` or a signal means for the item.
pub(crate) async fn run<C: Crew>(
    pipeline: &Pipeline,
    inputs: &Inputs,
    crew: &mut C,
    context: &mut Context,
) -> Result<Vec<Option<PathBuf>>, JobError> {
    let mut engine = Engine {
        pipeline,
        inputs,
        crew,
        plan: Plan::new(pipeline),
        records: Records::new(pipeline),
        running: BTreeMap::new(),
        pauses: Vec::new(),
        stopped_for: None,
        shutdown: context.shutdown(),
        progress: context.progress(),
    };
    let end = engine.drive(context.timeout()).await;
    let json = engine.records.to_json(pipeline);
    let kept = tokio::fs::write(context.result_file(), json).await;
    if let Err(error) = kept {
        warn!(%error, "cannot keep what became of the stages for the report");
    }
    let verdict = end?;
    engine.conclude(verdict, context)
}

struct Engine<'a, C> {
    pipeline: &'a Pipeline,
    inputs: &'a Inputs,
    crew: &'a mut C,
    plan: Plan,
    records: Records,
    /// What runs, or is about to, and since when.
    running: BTreeMap<usize, (u32, Instant)>,
    /// Until when which stage waits for which attempt.
    pauses: Vec<(Instant, usize, u32)>,
    /// Why everything was told to stop.
    stopped_for: Option<JobError>,
    shutdown: Shutdown,
    progress: Progress,
}

impl<C: Crew> Engine<'_, C> {
    async fn drive(&mut self, timeout: Option<Duration>) -> Result<Verdict, JobError> {
        let begun = Instant::now();
        let mut tell = begun + PROGRESS;
        let mut aborted = false;
        self.on(&Event::Begin);
        loop {
            if let Some(verdict) = self.plan.verdict() {
                return Ok(verdict);
            }
            let due = self.pauses.iter().min().copied();
            let stopping = self.stopped_for.is_some();
            tokio::select! {
                biased;
                news = self.crew.news() => self.hear(news?),
                () = self.shutdown.draining(), if !stopping => self.stop_all(self.cancelled()),
                () = self.shutdown.aborting(), if !aborted => {
                    aborted = true;
                    for (stage, (attempt, _)) in &self.running {
                        self.crew.stop(*stage, *attempt, Duration::ZERO);
                    }
                }
                timeout = elapsed(begun, timeout), if !stopping => self.stop_all(self.too_long(timeout)),
                (_, stage, attempt) = come(due) => {
                    self.pauses.retain(|(_, paused, _)| *paused != stage);
                    self.on(&Event::Due { stage, attempt });
                }
                () = sleep_until(tell) => {
                    tell = Instant::now() + PROGRESS;
                    self.tell_progress();
                }
            }
        }
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Begun { stage, attempt } => {
                info!(stage = self.name(stage), attempt, "stage begun");
            }
            News::Over { stage, attempt, ended } => self.over(stage, attempt, *ended),
        }
    }

    fn over(&mut self, stage: usize, attempt: u32, ended: Ended) {
        self.running.remove(&stage);
        let (reason, exit_code) = (ended.reason, ended.exit_code);
        let (name, seconds) = (self.name(stage), ended.seconds);
        if reason == Reason::Completed {
            let (files, bytes) = (ended.outputs.files, ended.outputs.bytes);
            info!(stage = name, attempt, seconds, files, bytes, "stage over");
        } else {
            warn!(stage = name, attempt, seconds, ?reason, exit = exit_code, message = ended.message, "stage over");
        }
        self.records.over(stage, ended);
        self.on(&Event::Over { stage, attempt, reason, exit_code });
    }

    fn on(&mut self, event: &Event) {
        for action in self.plan.on(event) {
            match action {
                Action::Start { stage, attempt } => self.start(stage, attempt),
                Action::Stop { stage, attempt } => {
                    info!(stage = self.name(stage), attempt, "stopping stage");
                    self.crew.stop(stage, attempt, self.shutdown.grace());
                }
                Action::Pause { stage, attempt, pause } => {
                    info!(stage = self.name(stage), attempt, ?pause, "stage will be tried again");
                    self.pauses.push((Instant::now() + pause, stage, attempt));
                }
            }
        }
    }

    fn start(&mut self, stage: usize, attempt: u32) {
        let Some(of) = self.pipeline.stages.get(stage) else { return };
        self.records.begun(stage, attempt);
        self.running.insert(stage, (attempt, Instant::now()));
        let needed: Vec<_> = of.needs.iter().filter_map(|name| self.pipeline.place(name)).collect();
        let outputs: Vec<_> = needed.iter().map(|place| self.output(*place)).collect();
        let needed: Vec<_> = needed
            .iter()
            .zip(&outputs)
            .filter_map(|(place, output)| {
                Some(Needed { stage: self.pipeline.stages.get(*place)?, output: output.as_deref() })
            })
            .collect();
        match self.inputs.of(of, attempt, &needed) {
            Ok(environment) => self.crew.start(Order { stage, attempt, environment }),
            Err(error) => {
                let ended =
                    Ended::without_command(Reason::MachineError, format!("cannot hand over its input: {error}"));
                self.over(stage, attempt, ended);
            }
        }
    }

    /// What a stage has written, if it succeeded.
    fn output(&self, stage: usize) -> Option<PathBuf> {
        (self.plan.outcome(stage) == Some(Outcome::Succeeded)).then(|| self.crew.dir(stage).out())
    }

    fn stop_all(&mut self, why: JobError) {
        warn!(%why, "stopping all stages");
        self.stopped_for = Some(why);
        self.pauses.clear();
        self.on(&Event::Cancel);
    }

    fn cancelled(&self) -> JobError {
        const SIGTERM: u8 = 15;
        let message = format!("the worker was told to stop before the item was done{}", self.what_runs());
        JobError::new(exit::SIGNAL_BASE + SIGTERM, "Cancelled", message)
    }

    fn too_long(&self, timeout: Duration) -> JobError {
        let timeout = humantime::format_duration(timeout);
        let message = format!("the stages ran longer than --timeout {timeout} and were stopped{}", self.what_runs());
        JobError::new(exit::TIMEOUT, "Timeout", message)
    }

    fn what_runs(&self) -> String {
        let names: Vec<_> = self.running.keys().map(|stage| self.name(*stage)).collect();
        if names.is_empty() { String::new() } else { format!("; running then: {}", names.join(", ")) }
    }

    fn tell_progress(&self) {
        let running = self.running.iter().map(|(stage, (_, since))| {
            format!(
                "{} for {}",
                self.name(*stage),
                humantime::format_duration(Duration::from_secs(since.elapsed().as_secs()))
            )
        });
        let running = running.collect::<Vec<_>>().join(", ");
        let all = self.pipeline.stages.len();
        let over = (0..all).filter(|stage| self.plan.outcome(*stage).is_some()).count();
        #[expect(clippy::cast_precision_loss, reason = "there are a few hundred at most")]
        let fraction = over as f64 / all as f64;
        self.progress.report(Some(fraction), format!("{over} of {all} stages are over; running: {running}"));
    }

    fn name(&self, stage: usize) -> &str {
        self.pipeline.stages.get(stage).map_or("?", |stage| stage.name.as_str())
    }

    fn conclude(self, verdict: Verdict, context: &mut Context) -> Result<Vec<Option<PathBuf>>, JobError> {
        for stage in 0..self.pipeline.stages.len() {
            if let Some(outcome) = self.plan.outcome(stage) {
                debug!(stage = self.name(stage), outcome = record::word(outcome), "stage ended");
            }
        }
        match verdict {
            Verdict::Succeeded => Ok((0..self.pipeline.stages.len()).map(|stage| self.output(stage)).collect()),
            Verdict::Cancelled => Err(self.stopped_for.unwrap_or_else(|| unknown("the item was cancelled"))),
            Verdict::Failed { stage } => {
                let failed = self.pipeline.stages.get(stage).zip(self.records.of(stage));
                let (stage, record) = failed.ok_or_else(|| unknown("a stage failed"))?;
                if let Some(Ended { exit_code, signal, stdout_tail, stderr_tail, .. }) = &record.last {
                    context.note(*exit_code, *signal, stdout_tail.clone(), stderr_tail.clone());
                }
                Err(record::failure(stage, record))
            }
        }
    }
}

fn unknown(what: &str) -> JobError {
    JobError::new(exit::BUG, "Bug", format!("{what}, and nobody knows why"))
}

/// Resolves when `timeout` after `begun` is over.
async fn elapsed(begun: Instant, timeout: Option<Duration>) -> Duration {
    match timeout {
        Some(timeout) => {
            sleep_until(begun + timeout).await;
            timeout
        }
        None => std::future::pending().await,
    }
}

/// Resolves when a pause is over.
async fn come(due: Option<(Instant, usize, u32)>) -> (Instant, usize, u32) {
    match due {
        Some(due) => {
            sleep_until(due.0).await;
            due
        }
        None => std::future::pending().await,
    }
}
