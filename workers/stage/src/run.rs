//! One command, run as an attempt at a stage: the same in a stage's container and as a child of the multi-worker itself.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use contract::Timestamp;
use process::{Child, Output, SpawnError, Spec};
use sidecar::fault;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::files::next_step;
use crate::protocol::{Ended, Outputs, Reason};
use crate::{Boot, StageDir};

mod handover;
mod memory;
mod room;
mod verdict;
mod words;

use self::handover::Refusal;

pub use memory::OomCounter;
pub use process::reap_orphans;
pub use words::expand;

/// By which every descendant of a command is known.
pub const RUN_VARIABLE: &str = "LONGSHORE_STAGE_RUN";

/// How long after KILL is due a command that does not end is given up: it hangs in the kernel.
const HANGS: Duration = Duration::from_secs(15);

/// The longest grace that makes a difference: what others write is not to be reckoned with.
const LONGEST_GRACE: Duration = Duration::from_secs(30 * 24 * 3600);

/// What is to be run, and all that it is given.
#[derive(Clone, Debug)]
pub struct Work {
    /// The program and its arguments, in which [`expand`] replaces the variables of `environment`.
    pub command: Vec<OsString>,
    /// Where it runs; this process's own directory if it is not said.
    pub directory: Option<PathBuf>,
    /// Variables that it gets beneath those of `environment`: its container's own, without the settings of ours.
    pub inherited: BTreeMap<OsString, OsString>,
    /// Variables that it is given, as in [`Go::environment`](crate::protocol::Go::environment). `OUTPUT_DIR` and `TMPDIR` are
    /// set beside these.
    pub environment: BTreeMap<String, OsString>,
    /// Where it writes. The directory must exist.
    pub stage: StageDir,
    /// Which attempt this is.
    pub attempt: u32,
    /// How long it may run.
    pub timeout: Option<Duration>,
    /// From TERM to KILL once it has run for too long.
    pub grace: Duration,
    /// How much of the end of each of stdout and stderr is kept, in bytes. Both pass through to our own.
    pub tail_bytes: usize,
    /// Unique to what runs now: by it the next life finds and ends what a killed one has left running ([`end_leftovers`]).
    pub mark: Boot,
    /// Where the kernel counts whom it has killed for want of memory.
    pub oom: OomCounter,
}

/// Tells a run to stop.
#[derive(Clone, Debug)]
pub struct Stopper(watch::Sender<Option<Duration>>);

/// Whether a run shall stop. Where every [`Stopper`] is gone, it never shall.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<Option<Duration>>);

/// The two ends of what tells a run to stop.
pub fn stop() -> (Stopper, Stop) {
    let (to, from) = watch::channel(None);
    (Stopper(to), Stop(from))
}

impl Stopper {
    /// Stop: TERM now, after `grace` KILL. Asked again, the shorter grace counts, from when it was asked for.
    pub fn stop(&self, grace: Duration) {
        self.0.send_replace(Some(grace.min(LONGEST_GRACE)));
    }
}

impl Stop {
    fn is_asked(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Resolves when one asks, or asks again.
    async fn asked(&mut self) -> Duration {
        loop {
            if self.0.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            if let Some(grace) = *self.0.borrow_and_update() {
                return grace;
            }
        }
    }
}

/// Ends what carries one of these marks: what killed lives have left running. Gives how many there were.
///
/// # Errors
/// When `/proc` cannot be read.
pub async fn end_leftovers(marks: &[Boot]) -> io::Result<usize> {
    if marks.is_empty() {
        return Ok(0);
    }
    let marks: Vec<_> = marks.iter().map(|boot| process::Mark::environment(RUN_VARIABLE, boot.as_str())).collect();
    process::end(&marks, Duration::from_secs(1)).await.map(|purged| purged.ended)
}

/// Runs a command to its end, and hands over what it wrote if it exits with 0. `started` hears its pid; if that fails, the
/// command is stopped. When this returns nothing of the command runs any more; what is left of a failed attempt lies where it
/// was until [`clear`] or the next attempt.
///
/// To be called within a runtime that has I/O and time enabled.
pub async fn run(work: Work, mut stop: Stop, started: impl FnOnce(u32, Timestamp) -> io::Result<()> + Send) -> Ended {
    let begun = Instant::now();
    let mut ended = attempt(work, &mut stop, started, begun).await.unwrap_or_else(|failed| *failed);
    ended.ended_at = Timestamp::now();
    ended.seconds = begun.elapsed().as_secs_f64();
    ended
}

/// Why a command is being stopped.
#[derive(Clone, Debug)]
enum Cause {
    Timeout(Duration),
    Cancelled,
    Machine(String),
}

async fn attempt(
    work: Work,
    stop: &mut Stop,
    started: impl FnOnce(u32, Timestamp) -> io::Result<()> + Send,
    begun: Instant,
) -> Result<Ended, Box<Ended>> {
    let machine = |error: io::Error| Box::new(Ended::without_command(Reason::MachineError, error.to_string()));
    if stop.is_asked() {
        return Err(Box::new(Ended::without_command(
            Reason::Cancelled,
            "cancelled before its command was started".into(),
        )));
    }
    fault::point("stage.room.before").map_err(machine)?;
    make_room(&work.stage, work.attempt).await.map_err(|error| {
        Box::new(Ended::without_command(Reason::MachineError, format!("{error}{}", next_step(&error))))
    })?;
    fault::point("stage.room.after").map_err(machine)?;
    let killed_before = work.oom.read();
    let child = spawn(&work).map_err(|error| Box::new(verdict::unspawned(&error)))?;
    let started_at = Timestamp::now();
    let told = fault::point("stage.spawn.after").and_then(|()| started(child.id(), started_at));
    let first = told.err().map(|error| {
        let message = format!("cannot say that the command runs: {error}{}", next_step(&error));
        (Cause::Machine(message), Duration::ZERO)
    });
    let (waited, cause) = wait(&child, &work, stop, first, begun).await;
    let mut ended = match waited {
        Ok(ended) => verdict::of(&ended, cause, [killed_before, work.oom.read()]),
        Err(error) => {
            let step = if error.kind() == io::ErrorKind::NotFound { "; a container must have /proc" } else { "" };
            Ended::without_command(Reason::MachineError, format!("cannot see the command's end: {error}{step}"))
        }
    };
    ended.started_at = Some(started_at);
    if ended.reason == Reason::Completed {
        match hand_over(&work.stage, work.attempt).await {
            Ok(Ok(outputs)) => ended.outputs = outputs,
            Ok(Err(refusal)) => verdict::refuse(&mut ended, &refusal),
            Err(error) => return Err(machine(error)),
        }
    }
    Ok(ended)
}

fn spawn(work: &Work) -> Result<Child, SpawnError> {
    let mut given = work.environment.clone();
    given.insert("OUTPUT_DIR".into(), work.stage.partial(work.attempt).into());
    given.insert("TMPDIR".into(), work.stage.temporary().into());
    let mut words = work.command.iter().map(|word| expand(word, &given));
    let mut spec = Spec::new(words.next().unwrap_or_default())
        .args(words)
        .envs(&work.inherited)
        .envs(&given)
        .mark(RUN_VARIABLE, work.mark.as_str())
        .stdout(Output::Tee { keep: work.tail_bytes })
        .stderr(Output::Tee { keep: work.tail_bytes });
    if let Some(directory) = &work.directory {
        spec = spec.cwd(directory);
    }
    spec.spawn()
}

/// Waits until nothing of the command is left, and sees to it that it will be.
async fn wait(
    child: &Child,
    work: &Work,
    stop: &mut Stop,
    first: Option<(Cause, Duration)>,
    begun: Instant,
) -> (io::Result<process::Ended>, Option<Cause>) {
    let mut cause = None;
    let mut give_up = None;
    if let Some((why, grace)) = first {
        child.ask_to_stop(grace);
        (cause, give_up) = (Some(why), Some(Instant::now() + grace + HANGS));
    }
    loop {
        let too_long = async {
            match work.timeout {
                Some(limit) if cause.is_none() => sleep(limit.saturating_sub(begun.elapsed())).await,
                _ => std::future::pending().await,
            }
        };
        let hangs = async {
            match give_up {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let (why, grace) = tokio::select! {
            biased;
            ended = child.wait() => return (ended, cause),
            grace = stop.asked() => (Cause::Cancelled, grace),
            () = too_long => (Cause::Timeout(work.timeout.unwrap_or_default()), work.grace.min(LONGEST_GRACE)),
            () = hangs => {
                let error = io::Error::other("it does not die of SIGKILL: it hangs in the kernel, on a disk or a server that is away");
                return (Err(error), cause);
            }
        };
        child.ask_to_stop(grace);
        let due = Instant::now() + grace + HANGS;
        give_up = Some(give_up.map_or(due, |already: Instant| already.min(due)));
        cause = cause.or(Some(why));
    }
}

/// Removes what attempts that are over have left beside their output: unfinished output and temporary files.
///
/// # Errors
/// What could not be removed; it is named.
pub async fn clear(dir: &StageDir) -> io::Result<()> {
    if room::clear_at_once(dir)? {
        return Ok(());
    }
    let dir = dir.clone();
    blocking(move || room::clear(&dir)).await
}

/// Empty directories for an attempt. Another thread costs more than most attempts give it to do; the others would hold up whoever
/// waits, and get one.
async fn make_room(dir: &StageDir, attempt: u32) -> io::Result<()> {
    if room::make_at_once(dir, attempt)? {
        return Ok(());
    }
    let dir = dir.clone();
    blocking(move || room::make(&dir, attempt)).await
}

async fn hand_over(dir: &StageDir, attempt: u32) -> io::Result<Result<Outputs, Refusal>> {
    if handover::is_little(dir, attempt) {
        return Ok(handover::hand_over(dir, attempt));
    }
    let dir = dir.clone();
    blocking(move || Ok(handover::hand_over(&dir, attempt))).await
}

async fn blocking<T: Send + 'static>(f: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(f).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests;
