//! A child and all its descendants, from the spawn until nothing of it is left.

use std::io;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::claim::Claim;
use crate::hunt::{Found, Purged, purge};
use crate::leader::Leader;
use crate::limits::Limits;
use crate::mark::Mark;
use crate::nursery::{Nursery, nursery, nursery_at_once};
use crate::orphans::reap_orphans;
use crate::output::{Kept, Pump, Source};

/// How long the pipes may stay open once every process that is known to hold them has ended.
const DRAIN: Duration = Duration::from_secs(2);

/// The pauses before the kernel is asked whether anything is left, again where another child is just being spawned: one
/// that runs its program already, and is about to be entered, cannot be told from something left.
const ENTERED: [Duration; 3] = [Duration::ZERO, Duration::from_millis(1), Duration::from_millis(4)];

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exit {
    /// By itself, with this code.
    Code(u8),
    /// By this signal.
    Signal(i32),
}

impl Exit {
    /// The code as a shell gives it: `128 + n` for signal n.
    pub fn code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
        }
    }

    /// Whether it exited with 0.
    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }
}

/// A child that is over, with nothing of it left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How the child itself ended.
    pub exit: Exit,
    /// What was kept of its stdout.
    pub stdout: Kept,
    /// What was kept of its stderr.
    pub stderr: Kept,
    /// The most memory that it, or one of the descendants it waited for, held at once, in bytes (`ru_maxrss`). `None` where
    /// that is no more than this process itself has held: Linux tells the larger of the two.
    pub peak_memory: Option<u64>,
    /// How many descendants it had left behind, which were ended.
    pub leftovers: usize,
    /// Pids of descendants that even SIGKILL did not end within 5 seconds: they hang in the kernel.
    pub survivors: Vec<u32>,
    /// Whether the kernel has proved that nothing is left. Where it has not, what had thrown away every sign of where it
    /// came from (environment, group, session and parent) may live on, unless it was the only child.
    pub alone: bool,
}

type Outcome = Option<Result<Ended, Arc<io::Error>>>;

/// A running child. Dropping it kills the child and all its descendants, unless
/// [`Spec::outlives_us`](crate::Spec::outlives_us) was said.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    /// When KILL is due; `None` while nobody asked for a stop.
    kill_at: watch::Sender<Option<Instant>>,
    outcome: watch::Receiver<Outcome>,
    outlives_us: bool,
}

impl Child {
    pub(crate) fn start(
        mut command: Command,
        sources: [Option<Source>; 2],
        limits: Limits,
        mark: Option<Mark>,
        leftover_grace: Duration,
        outlives_us: bool,
    ) -> io::Result<Self> {
        let [stdout, stderr] = sources.map(|source| source.map(Source::pump));
        let pumps = Pumps { stdout: stdout.transpose()?, stderr: stderr.transpose()? };
        let leader = Leader::spawn(&mut command, outlives_us)?;
        // The child's ends of the pipes live in the command: while it does, they never reach their end.
        drop(command);
        let pid = leader.life.pid;
        // A child that cannot be limited is killed as its handle is dropped.
        limits.set(pid).map_err(|error| io::Error::other(format!("cannot set its resource limits: {error}")))?;
        let (kill_at, stop) = watch::channel(None);
        let (outcome_to, outcome) = watch::channel(None);
        let claim = Claim::new(pid, mark);
        tokio::spawn(async move {
            let ended = supervise(leader, claim, pumps, stop, leftover_grace).await;
            let _ = outcome_to.send(Some(ended.map_err(Arc::new)));
        });
        Ok(Self { pid, kill_at, outcome, outlives_us })
    }

    /// Its pid, which is its process group's id too.
    pub fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Waits until it and every descendant are over and its output is read. May be dropped and called again, by several
    /// at once, before and after the end. It returns late, not wrongly, for a child that hangs in the kernel.
    ///
    /// # Errors
    /// When its status was taken by somebody else (a `SIGCHLD` that is ignored, a stray `waitpid(-1)`), or `/proc` cannot
    /// be read.
    pub async fn wait(&self) -> io::Result<Ended> {
        let mut outcome = self.outcome.clone();
        let ended = outcome.wait_for(Option::is_some).await.map_err(|_| gone())?;
        match ended.as_ref() {
            Some(Ok(ended)) => Ok(ended.clone()),
            Some(Err(error)) => Err(io::Error::new(error.kind(), Arc::clone(error))),
            None => Err(gone()),
        }
    }

    /// Asks it to end, without waiting: TERM to its group now, after `grace` KILL to it and every descendant. Asked
    /// again, the earlier of the two deadlines counts.
    pub fn ask_to_stop(&self, grace: Duration) {
        let due = Instant::now() + grace;
        self.kill_at.send_if_modified(|kill_at| {
            let sooner = kill_at.is_none_or(|already| due < already);
            if sooner {
                *kill_at = Some(due);
            }
            sooner
        });
    }

    /// Asks it to end and waits until it is over.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub async fn stop(&self, grace: Duration) -> io::Result<Ended> {
        self.ask_to_stop(grace);
        self.wait().await
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.outlives_us {
            self.ask_to_stop(Duration::ZERO);
        }
    }
}

fn gone() -> io::Error {
    io::Error::other("the runtime that supervised this child has ended")
}

struct Pumps {
    stdout: Option<Pump>,
    stderr: Option<Pump>,
}

impl Pumps {
    async fn finish(self) -> (Kept, Kept) {
        let one = async |pump: Option<Pump>| match pump {
            Some(pump) => pump.finish(DRAIN).await,
            None => Kept::default(),
        };
        tokio::join!(one(self.stdout), one(self.stderr))
    }
}

async fn supervise(
    mut leader: Leader,
    mut claim: Claim,
    pumps: Pumps,
    mut stop: watch::Receiver<Option<Instant>>,
    leftover_grace: Duration,
) -> io::Result<Ended> {
    let mut asked = false;
    let mut killed = false;
    let mut reaping = Box::pin(reap_orphans());
    loop {
        let kill_at = *stop.borrow_and_update();
        if kill_at.is_some() && !asked {
            // Whom it leaves behind may be known by descent alone, which ends with it: they are noted before.
            (claim, _) = look(claim).await?;
            leader.signal_group(Signal::TERM);
            leader.signal_group(Signal::CONT);
            asked = true;
        }
        let due = async {
            match kill_at {
                Some(kill_at) if !killed => sleep_until(kill_at).await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = leader.life.ended() => break,
            () = due => {
                leader.signal_group(Signal::KILL);
                killed = true;
                let found;
                (claim, found) = look(claim).await?;
                for life in found.map(|found| found.alive).unwrap_or_default() {
                    life.signal(Signal::KILL);
                }
            }
            // Without a handle there is nobody left to ask for anything: wait for the end alone.
            Ok(()) = stop.changed() => {}
            never = &mut reaping => match never {},
        }
    }
    drop(reaping);
    let mut alone = None;
    for pause in ENTERED {
        if !pause.is_zero() {
            sleep(pause).await;
        }
        let ask = |leader: &mut Leader, nursery: &mut Nursery| (leader.reap_alone(nursery), nursery.is_spawning());
        let is_spawning;
        (alone, is_spawning) = match nursery_at_once().map(|mut nursery| ask(&mut leader, &mut nursery)) {
            Some(said) => said,
            None => {
                let said;
                (leader, said) = blocking(leader, move |leader| ask(leader, &mut nursery())).await?;
                said
            }
        };
        if alone.is_some() || !is_spawning {
            break;
        }
    }
    if let Some(reaped) = alone {
        let (reaped, (stdout, stderr)) = (reaped?, pumps.finish().await);
        let (exit, peak_memory) = (reaped.exit, reaped.peak_memory());
        return Ok(Ended { exit, stdout, stderr, peak_memory, leftovers: 0, survivors: Vec::new(), alone: true });
    }
    let kill_at = stop.borrow().unwrap_or_else(|| Instant::now() + leftover_grace);
    let purged = purge(move || claim.find(), stop, kill_at).await;
    let (leader, reaped) = blocking(leader, Leader::reap).await?;
    let (exit, peak_memory) = reaped.map(|reaped| (reaped.exit, reaped.peak_memory()))?;
    let (stdout, stderr) = pumps.finish().await;
    let purged = purged?;
    if purged.ended > 0 {
        tracing::debug!(pid = %leader.life.pid, leftovers = purged.ended, "ended what a child had left behind");
    }
    let Purged { ended: leftovers, survivors } = purged;
    Ok(Ended { exit, stdout, stderr, peak_memory, leftovers, survivors, alone: false })
}

async fn look(claim: Claim) -> io::Result<(Claim, io::Result<Found>)> {
    blocking(claim, Claim::find).await
}

/// Calls `f` on a thread that may wait.
async fn blocking<T: Send + 'static, R: Send + 'static>(
    mut with: T,
    f: impl FnOnce(&mut T) -> R + Send + 'static,
) -> io::Result<(T, R)> {
    let called = tokio::task::spawn_blocking(move || {
        let result = f(&mut with);
        (with, result)
    });
    called.await.map_err(io::Error::other)
}
