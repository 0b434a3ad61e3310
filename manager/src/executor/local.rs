//! Attempts as child processes of this machine, which live on when the manager dies and are found again when it is back.
//!
//! Each attempt has a directory, `<state>/attempts/<id>/`. A lock file in it is flocked before the spawn and is the child's
//! stdin, and the child's environment carries the attempt's nonce: an attempt is over when the lock is free and nobody
//! carries the nonce. What it left is ended before it counts as over, so that no second attempt meets the first.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use contract::attempt as variable;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use process::{Child, Mark, Output, SpawnError, Spec};
use sidecar::fault;
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tracing::{debug, info, warn};

use super::{Attempt, AttemptId, Ended, Executor, ExecutorError, Phase, Snapshot, StartError};
use contract::exit::{CONFIG, NOT_EXECUTABLE, NOT_FOUND};

mod logs;
mod place;
mod trash;

pub use logs::{InvalidKeepLogs, KeepLogs};
use place::{Place, Prepared};

/// How long what a worker leaves behind may take to end after SIGTERM.
const LEFTOVER_GRACE: Duration = Duration::from_secs(1);
/// How long to wait before looking again for processes that would not die, or when `/proc` could not be read.
const AGAIN: Duration = Duration::from_secs(5);

/// What to run, and where.
#[derive(Clone, Debug)]
pub struct LocalConfig {
    /// The manager's state directory; attempts are kept in `attempts`, their logs afterwards in `logs`.
    pub state: PathBuf,
    /// The worker's command: program and arguments.
    pub command: Vec<OsString>,
    /// The environment attempts inherit ([`std::env::vars_os`]).
    pub environment: Vec<(OsString, OsString)>,
    /// Variables that are the manager's own and not inherited ([`sidecar::cli::variables`]).
    pub withheld: Vec<OsString>,
    /// How much of what attempts wrote outlives them.
    pub keep_logs: KeepLogs,
}

/// Runs attempts as child processes. Cheap to clone; clones are one executor.
#[derive(Clone, Debug)]
pub struct LocalExecutor(Arc<Local>);

struct Local {
    place: Place,
    command: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    attempts: Mutex<HashMap<AttemptId, Known>>,
    seen: watch::Sender<Snapshot>,
}

struct Known {
    phase: Phase,
    by: By,
}

/// How an attempt is reached.
#[derive(Clone)]
enum By {
    /// It is being started.
    Starting,
    /// It is a child of this process.
    Child(Arc<Child>),
    /// It is the child of a manager that is dead.
    Adopted,
}

impl LocalExecutor {
    /// Takes over the state directory: every attempt a former manager left is running, or about to be found over. To be
    /// called within a tokio runtime; only one executor at a time may have the directory (the ledger's lock sees to it).
    ///
    /// # Errors
    /// When the directories cannot be made or read.
    pub async fn open(config: LocalConfig) -> io::Result<Self> {
        let LocalConfig { state, command, environment, withheld, keep_logs } = config;
        let (place, left) = blocking(move || {
            let place = Place::open(&state, keep_logs)?;
            let left = place.attempts()?;
            Ok((place, left))
        })
        .await?;
        let withheld: HashSet<OsString> = withheld.into_iter().collect();
        let inherited = |name: &OsString| !withheld.contains(name) && !fault::is_variable(name);
        let local = Arc::new(Local {
            place,
            command,
            environment: environment.into_iter().filter(|(name, _)| inherited(name)).collect(),
            attempts: Mutex::default(),
            seen: watch::Sender::default(),
        });
        for id in left {
            local.adopt(id).await?;
        }
        Ok(Self(local))
    }

    /// Ends and clears away every attempt that `is_known` does not know: the ledger has no row for it, so nobody will ever
    /// ask. Says how many there were.
    ///
    /// # Errors
    /// When the directories cannot be read or cleared.
    pub async fn sweep(&self, is_known: impl Fn(&AttemptId) -> bool + Send) -> Result<usize, ExecutorError> {
        let local = &self.0;
        fault::point("executor.sweep.before")?;
        let place = local.place.clone();
        let unknown: Vec<AttemptId> =
            blocking(move || place.attempts()).await?.into_iter().filter(|id| !is_known(id)).collect();
        for id in &unknown {
            warn!(attempt = id.0, "an attempt the ledger does not know is ended and cleared away");
            self.stop(id, LEFTOVER_GRACE).await?;
            let mut seen = local.seen.subscribe();
            while is_live(&self.look(id).await?) {
                seen.changed().await.map_err(io::Error::other)?;
            }
            self.forget(id).await?;
        }
        fault::point("executor.sweep.after")?;
        Ok(unknown.len())
    }
}

fn is_live(phase: &Phase) -> bool {
    matches!(phase, Phase::Pending | Phase::Running)
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("place", &self.place).field("command", &self.command).finish_non_exhaustive()
    }
}

impl Executor for LocalExecutor {
    async fn start(&self, attempt: &Attempt) -> Result<(), StartError> {
        let (local, attempt) = (Arc::clone(&self.0), attempt.clone());
        // In a task of its own: a start that is dropped half-way would leave an attempt that nobody watches.
        let started = tokio::spawn(async move { local.start(&attempt).await }).await;
        started.unwrap_or_else(|error| Err(StartError::Unknown { why: error.to_string() }))
    }

    async fn stop(&self, id: &AttemptId, grace: Duration) -> Result<(), ExecutorError> {
        let mut seen = self.0.seen.subscribe();
        loop {
            let by = self.0.lock().get(id).filter(|known| is_live(&known.phase)).map(|known| known.by.clone());
            match by {
                Some(By::Child(child)) => child.ask_to_stop(grace),
                Some(By::Adopted) => self.0.stop_adopted(id, grace).await?,
                Some(By::Starting) => {
                    seen.changed().await.map_err(io::Error::other)?;
                    continue;
                }
                None => {}
            }
            return Ok(());
        }
    }

    fn observe(&self) -> BoxStream<'static, Snapshot> {
        WatchStream::new(self.0.seen.subscribe()).boxed()
    }

    async fn look(&self, id: &AttemptId) -> Result<Phase, ExecutorError> {
        if let Some(known) = self.0.lock().get(id) {
            return Ok(known.phase.clone());
        }
        Ok(self.0.adopt(id.clone()).await?)
    }

    async fn forget(&self, id: &AttemptId) -> Result<(), ExecutorError> {
        match self.look(id).await? {
            Phase::Absent => return Ok(()),
            phase if is_live(&phase) => {
                return Err(ExecutorError { why: format!("attempt {} is running and cannot be forgotten", id.0) });
            }
            _ => {}
        }
        let (place, gone) = (self.0.place.clone(), id.clone());
        blocking(move || {
            fault::point("executor.forget.before")?;
            place.keep_logs(&gone);
            let discarded = place.discard(&gone)?;
            fault::point("executor.forget.after")?;
            discarded.remove();
            fault::point("executor.remove.after")
        })
        .await?;
        self.0.change(|attempts| drop(attempts.remove(id)));
        Ok(())
    }
}

impl Local {
    fn lock(&self) -> MutexGuard<'_, HashMap<AttemptId, Known>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is known and shows it to observers.
    fn change<T>(&self, change: impl FnOnce(&mut HashMap<AttemptId, Known>) -> T) -> T {
        let mut attempts = self.lock();
        let result = change(&mut attempts);
        // Lost is for `look` alone to say.
        let shown = attempts.iter().filter(|(_, known)| known.phase != Phase::Lost);
        let mut shown: Vec<_> = shown.map(|(id, known)| (id.clone(), known.phase.clone())).collect();
        shown.sort_by(|a, b| a.0.cmp(&b.0));
        self.seen.send_replace(Snapshot { attempts: shown });
        result
    }

    async fn start(self: &Arc<Self>, attempt: &Attempt) -> Result<(), StartError> {
        let id = attempt.id.clone();
        if !self.change(|attempts| reserve(attempts, &id, Phase::Pending, By::Starting)) {
            return Err(StartError::Conflict);
        }
        let result = self.prepare_and_spawn(attempt).await;
        match result {
            Ok(child) => {
                let child = Arc::new(child);
                let known = Known { phase: Phase::Running, by: By::Child(Arc::clone(&child)) };
                self.change(|attempts| attempts.insert(id.clone(), known));
                debug!(attempt = id.0, item = %attempt.item, pid = child.id(), "attempt started");
                tokio::spawn(Arc::clone(self).watch_child(id, child));
                Ok(())
            }
            Err(error) => {
                self.change(|attempts| drop(attempts.remove(&id)));
                Err(error)
            }
        }
    }

    async fn prepare_and_spawn(&self, attempt: &Attempt) -> Result<Child, StartError> {
        let (place, id, data) = (self.place.clone(), attempt.id.clone(), attempt.data.clone());
        let prepared = blocking(move || {
            let prepared = place.prepare(&id, &data);
            if prepared.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::AlreadyExists) {
                place.abandon(&id);
            }
            prepared
        });
        let prepared = prepared.await.map_err(cannot_prepare)?;
        let spawned = fault::point("executor.spawn.before").map_err(cannot_prepare).and_then(|()| {
            self.spec(attempt, prepared).and_then(|spec| spec.spawn().map_err(|error| cannot_spawn(&error)))
        });
        if spawned.is_err() {
            let (place, id) = (self.place.clone(), attempt.id.clone());
            let _ = blocking(move || {
                place.abandon(&id);
                Ok(())
            })
            .await;
        }
        let child = spawned?;
        // The child runs: told to fail, this point only logs, since `start` cannot take the spawn back.
        if let Err(error) = fault::point("executor.spawn.after") {
            warn!(%error, "after the spawn");
        }
        Ok(child)
    }

    /// The command as this attempt runs it. The lock goes along as its stdin, and with the spec our copy is closed.
    fn spec(&self, attempt: &Attempt, prepared: Prepared) -> Result<Spec, StartError> {
        let (program, arguments) = self.command.split_first().ok_or_else(|| StartError::Refused {
            exit: CONFIG,
            why: "no command was given: name the worker after --".to_owned(),
        })?;
        let dir = self.place.attempt(&attempt.id);
        Ok(Spec::new(program)
            .args(arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env(variable::WORK_ITEM_FILE, dir.item())
            .env(variable::WORK_ITEM_NAME, attempt.item.as_str())
            .env(variable::ATTEMPT, attempt.number.to_string())
            .env(variable::REVISION, attempt.revision.to_string())
            .env(variable::REPORT, dir.report())
            .env("TMPDIR", dir.tmp())
            .mark(variable::ATTEMPT_ID, &attempt.id.0)
            .stdin(prepared.lock)
            .stdout(Output::File(prepared.stdout))
            .stderr(Output::File(prepared.stderr))
            .leftover_grace(LEFTOVER_GRACE)
            .outlives_us())
    }

    async fn watch_child(self: Arc<Self>, id: AttemptId, child: Arc<Child>) {
        let exit = match child.wait().await {
            Ok(ended) if ended.survivors.is_empty() => Some(ended.exit.code()),
            Ok(ended) => {
                warn!(attempt = id.0, survivors = ?ended.survivors, "an attempt is not over: processes do not die");
                Some(ended.exit.code())
            }
            Err(error) => {
                warn!(attempt = id.0, %error, "nobody knows how an attempt ended");
                None
            }
        };
        drop(child);
        self.conclude(id, exit).await;
    }

    /// Takes over an attempt by its directory. One that was never spawned is absent, and what there is of it goes away.
    async fn adopt(self: &Arc<Self>, id: AttemptId) -> io::Result<Phase> {
        let (place, looked) = (self.place.clone(), id.clone());
        let Some(lock) = blocking(move || place.lock_left(&looked)).await? else { return Ok(Phase::Absent) };
        let ours = self.change(|attempts| reserve(attempts, &id, Phase::Running, By::Adopted));
        if !ours {
            return Ok(self.lock().get(&id).map_or(Phase::Absent, |known| known.phase.clone()));
        }
        info!(attempt = id.0, "an attempt of a former manager is taken over");
        let local = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(error) = lock.freed().await {
                warn!(attempt = id.0, %error, "cannot wait for an attempt's lock");
            }
            local.conclude(id, None).await;
        });
        Ok(Phase::Running)
    }

    /// TERM to those that hold the lock (the worker, which hands it on to what it runs), and after the grace KILL to
    /// everything; that it is over is seen by the lock.
    async fn stop_adopted(&self, id: &AttemptId, grace: Duration) -> io::Result<()> {
        let all = self.marks(id);
        let holders: Vec<Mark> = all.iter().filter(|mark| matches!(mark, Mark::OpenFile(_))).cloned().collect();
        if process::terminate(&holders).await? == 0 {
            process::terminate(&all).await?;
        }
        let id = id.clone();
        tokio::spawn(async move {
            tokio::time::sleep(grace).await;
            if let Err(error) = process::end(&all, Duration::ZERO).await {
                warn!(attempt = id.0, %error, "cannot kill an attempt");
            }
        });
        Ok(())
    }

    fn marks(&self, id: &AttemptId) -> Vec<Mark> {
        let mut marks = vec![Mark::environment(variable::ATTEMPT_ID, &id.0)];
        marks.extend(Mark::open_file(&self.place.attempt(id).lock()).ok());
        marks
    }

    /// The leader is gone: ends what it left, reads how it ended, and says so.
    async fn conclude(self: Arc<Self>, id: AttemptId, exit: Option<u8>) {
        if let Err(error) = fault::point("executor.over.before") {
            warn!(%error, "before an attempt is over");
        }
        self.shed(&id, exit.is_some()).await;
        let (place, over) = (self.place.clone(), id.clone());
        let ended = blocking(move || place.ended(&over, exit)).await.unwrap_or_else(|error| {
            warn!(attempt = id.0, %error, "cannot read how an attempt ended");
            None
        });
        debug!(attempt = id.0, exit = ended.as_ref().map(|ended: &Ended| ended.exit), "attempt over");
        let phase = ended.map_or(Phase::Lost, Phase::Over);
        if let Err(error) = fault::point("executor.over.after") {
            warn!(%error, "after an attempt is over");
        }
        self.change(|attempts| attempts.insert(id, Known { phase, by: By::Adopted }));
    }

    /// Ends every process of the attempt. What a child of ours left in its group or with the nonce has been ended already,
    /// so then only one that threw its environment away and kept the lock can be left.
    async fn shed(&self, id: &AttemptId, was_child: bool) {
        let mut pause = Duration::from_millis(1);
        loop {
            let (place, looked) = (self.place.clone(), id.clone());
            let lock = blocking(move || Ok(place.lock_left(&looked)?.is_none_or(|lock| lock.is_free_now()))).await;
            let free = lock.unwrap_or_else(|error| {
                warn!(attempt = id.0, %error, "cannot look at an attempt's lock");
                false
            });
            if was_child && free {
                return;
            }
            match process::end(&self.marks(id), LEFTOVER_GRACE).await {
                Ok(purged) if purged.survivors.is_empty() => {
                    if purged.ended > 0 {
                        info!(attempt = id.0, ended = purged.ended, "processes an attempt left behind were ended");
                    }
                    if free {
                        return;
                    }
                }
                Ok(purged) => {
                    warn!(attempt = id.0, survivors = ?purged.survivors, "processes of an attempt do not die")
                }
                Err(error) => warn!(attempt = id.0, %error, "cannot look for processes of an attempt"),
            }
            // Soon at first: a process that is just being spawned has a copy of every descriptor for a moment.
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(AGAIN);
        }
    }
}

fn reserve(attempts: &mut HashMap<AttemptId, Known>, id: &AttemptId, phase: Phase, by: By) -> bool {
    match attempts.entry(id.clone()) {
        std::collections::hash_map::Entry::Occupied(_) => false,
        std::collections::hash_map::Entry::Vacant(free) => {
            free.insert(Known { phase, by });
            true
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

impl From<io::Error> for ExecutorError {
    fn from(error: io::Error) -> Self {
        Self { why: error.to_string() }
    }
}

/// Nothing was spawned; whether the same attempt may be tried later depends on what was in the way.
fn cannot_prepare(error: io::Error) -> StartError {
    match error.kind() {
        io::ErrorKind::AlreadyExists => StartError::Conflict,
        io::ErrorKind::InvalidInput => StartError::Refused { exit: CONFIG, why: error.to_string() },
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StartError::Throttled {
            why: format!("no room for another attempt: {error}; free some, or keep the state elsewhere"),
            retry: None,
        },
        _ => StartError::Throttled { why: error.to_string(), retry: None },
    }
}

fn cannot_spawn(error: &SpawnError) -> StartError {
    use std::error::Error;
    let why = error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
    match error {
        SpawnError::NotFound { .. } => StartError::Refused { exit: NOT_FOUND, why },
        SpawnError::NotExecutable { .. } => StartError::Refused { exit: NOT_EXECUTABLE, why },
        SpawnError::Arguments { .. } | SpawnError::Directory { .. } => StartError::Refused { exit: CONFIG, why },
        SpawnError::Exhausted { .. } | SpawnError::Other { .. } => StartError::Throttled { why, retry: None },
    }
}

#[cfg(test)]
mod tests;
