//! A child and all its descendants, from the spawn until nothing of it is left.

use std::collections::{HashMap, HashSet};
use std::io;
use std::process::Command;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, getpid, getsid, kill_process_group, set_child_subreaper, waitid,
};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::hunt::{Found, purge};
use crate::life::Life;
use crate::mark::Mark;
use crate::output::{Kept, Pump, Source};
use crate::table::{self, Row};

/// How long the pipes may stay open once every process that is known to hold them has ended.
const DRAIN: Duration = Duration::from_secs(2);
/// How long somebody who is writing the program's file is waited for, in all about 60 ms.
const BUSY_RETRIES: [u64; 5] = [1, 3, 8, 16, 32];

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
    /// How many descendants it had left behind, which were ended.
    pub leftovers: usize,
    /// Pids of descendants that even SIGKILL did not end within 5 seconds: they hang in the kernel.
    pub survivors: Vec<u32>,
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
        mark: Option<Mark>,
        leftover_grace: Duration,
        outlives_us: bool,
    ) -> io::Result<Self> {
        adopt_orphans();
        let [stdout, stderr] = sources.map(|source| source.map(Source::pump));
        let pumps = Pumps { stdout: stdout.transpose()?, stderr: stderr.transpose()? };
        let leader = Leader::spawn(&mut command, outlives_us)?;
        // The child's ends of the pipes live in the command: while it does, they never reach their end.
        drop(command);
        let pid = leader.life.pid;
        let (kill_at, stop) = watch::channel(None);
        let (outcome_to, outcome) = watch::channel(None);
        let claim = Claim { leader: pid.as_raw_nonzero().get(), mark, seen: HashSet::new() };
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

/// The children of this process that are waited for by their own supervisors, by pid.
static LEADERS: LazyLock<Mutex<HashSet<i32>>> = LazyLock::new(Mutex::default);

fn leaders() -> MutexGuard<'static, HashSet<i32>> {
    LEADERS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn adopt_orphans() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if let Err(error) = set_child_subreaper(Some(getpid())) {
            tracing::warn!(%error, "cannot become a child subreaper: orphans of children may stay behind");
        }
    });
}

/// The child itself. Until it is reaped, its pid and so its group's id cannot pass to anybody else.
#[derive(Debug)]
struct Leader {
    life: Life,
    reaped: bool,
    outlives_us: bool,
}

impl Leader {
    fn spawn(command: &mut Command, outlives_us: bool) -> io::Result<Self> {
        let mut retries = BUSY_RETRIES.into_iter();
        loop {
            match command.spawn() {
                Ok(child) => {
                    let pid = Pid::from_child(&child);
                    leaders().insert(pid.as_raw_nonzero().get());
                    return Ok(Self { life: Life::child(pid), reaped: false, outlives_us });
                }
                // Another thread that is between fork and exec holds a copy of every descriptor, for a moment also of
                // one by which the program was just written.
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => match retries.next() {
                    Some(millis) => std::thread::sleep(Duration::from_millis(millis)),
                    None => return Err(error),
                },
                Err(error) => return Err(error),
            }
        }
    }

    fn signal_group(&self, signal: Signal) {
        if let Err(error) = kill_process_group(self.life.pid, signal) {
            tracing::debug!(group = %self.life.pid, ?signal, %error, "cannot signal the group");
        }
    }

    fn reap(&mut self) -> io::Result<Exit> {
        // Under one lock, so that a new child with the same pid cannot be entered in between.
        let mut leaders = leaders();
        leaders.remove(&self.life.pid.as_raw_nonzero().get());
        self.reaped = true;
        let status = waitid(WaitId::Pid(self.life.pid), WaitIdOptions::EXITED)?;
        let status = status.ok_or_else(|| io::Error::other("a child that ended has no status"))?;
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Ok(Exit::Code(u8::try_from(code & 0xff).unwrap_or(u8::MAX))),
            (None, Some(signal)) => Ok(Exit::Signal(signal)),
            (None, None) => Err(io::Error::other("a child ended neither by itself nor by a signal")),
        }
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        if self.reaped {
            return;
        }
        if !self.outlives_us {
            self.signal_group(Signal::KILL);
        }
        leaders().remove(&self.life.pid.as_raw_nonzero().get());
    }
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
    loop {
        let kill_at = *stop.borrow_and_update();
        if kill_at.is_some() && !asked {
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
                for life in found?.alive {
                    life.signal(Signal::KILL);
                }
            }
            // Without a handle there is nobody left to ask for anything: wait for the end alone.
            Ok(()) = stop.changed() => {}
        }
    }
    let kill_at = stop.borrow().unwrap_or_else(|| Instant::now() + leftover_grace);
    let purged = purge(move || claim.find(), stop, kill_at).await;
    let exit = leader.reap()?;
    let (stdout, stderr) = pumps.finish().await;
    let purged = purged?;
    if purged.ended > 0 {
        tracing::debug!(pid = %leader.life.pid, leftovers = purged.ended, "ended what a child had left behind");
    }
    Ok(Ended { exit, stdout, stderr, leftovers: purged.ended, survivors: purged.survivors })
}

async fn look(mut claim: Claim) -> io::Result<(Claim, io::Result<Found>)> {
    let looked = tokio::task::spawn_blocking(move || {
        let found = claim.find();
        (claim, found)
    });
    looked.await.map_err(io::Error::other)
}

/// By what a child's descendants are known: its group, its mark, being descended from one that was known, and, when
/// there is no other child they could be of, having been adopted by this process from another session.
struct Claim {
    leader: i32,
    mark: Option<Mark>,
    seen: HashSet<(i32, u64)>,
}

impl Claim {
    /// The descendants that are alive, the child itself apart; reaps those that have ended.
    fn find(&mut self) -> io::Result<Found> {
        let rows = table::rows()?;
        let spared = self_and_ancestors(&rows);
        let others = leaders().clone();
        let only_child = others.len() == 1 && others.contains(&self.leader);
        let me = own_pid();
        let session = own_session();
        let mut ours: HashSet<i32> = HashSet::from([self.leader]);
        let candidates: Vec<&Row> =
            rows.iter().filter(|row| !spared.contains(&row.pid) && !others.contains(&row.pid)).collect();
        for row in &candidates {
            let strayed = only_child && row.parent == me && row.session != session;
            let known = row.group == self.leader || strayed || self.seen.contains(&(row.pid, row.start));
            if known || self.mark.as_ref().is_some_and(|mark| mark.is_on(row)) {
                ours.insert(row.pid);
            }
        }
        loop {
            let born: Vec<i32> = candidates
                .iter()
                .filter(|row| ours.contains(&row.parent) && !ours.contains(&row.pid))
                .map(|row| row.pid)
                .collect();
            if born.is_empty() {
                break;
            }
            ours.extend(born);
        }
        let known: Vec<&Row> = candidates.into_iter().filter(|row| ours.contains(&row.pid)).collect();
        self.seen.extend(known.iter().map(|row| (row.pid, row.start)));
        reap_adopted(&rows, &self.seen);
        let unreaped = known.iter().any(|row| row.ended && row.parent != me && ours.contains(&row.parent));
        let alive = known.into_iter().filter(|row| !row.ended).filter_map(Life::of).collect();
        Ok(Found { alive, unreaped })
    }
}

fn own_pid() -> i32 {
    getpid().as_raw_nonzero().get()
}

fn own_session() -> i32 {
    getsid(None).map_or(0, |session| session.as_raw_nonzero().get())
}

/// Those that are never killed, whatever they carry.
pub(crate) fn self_and_ancestors(rows: &[Row]) -> HashSet<i32> {
    let parents: HashMap<i32, i32> = rows.iter().map(|row| (row.pid, row.parent)).collect();
    let mut all = HashSet::new();
    let mut next = Some(own_pid());
    while let Some(pid) = next.filter(|pid| all.insert(*pid)) {
        next = parents.get(&pid).copied();
    }
    all
}

/// Reaps what this process has adopted and what has ended, and nothing that another part of the program may be waiting
/// for: only those that were `seen` as somebody's descendants, belong to a child's group, or to another session (which a
/// direct child is not).
pub(crate) fn reap_adopted(rows: &[Row], seen: &HashSet<(i32, u64)>) {
    let me = own_pid();
    let session = own_session();
    let leaders = leaders();
    for row in rows.iter().filter(|row| row.ended && row.parent == me && !leaders.contains(&row.pid)) {
        let adopted = seen.contains(&(row.pid, row.start)) || leaders.contains(&row.group) || row.session != session;
        if adopted && let Some(pid) = row.id() {
            let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        }
    }
}
