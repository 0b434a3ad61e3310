//! Attempts from their start, or from being taken over, to their end.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use contract::TraceContext;
use contract::attempt as variable;
use contract::exit::{CONFIG, NOT_EXECUTABLE, NOT_FOUND};
use process::{Child, Mark, Output, SpawnError, Spec};
use sidecar::fault;
use tokio::sync::watch;
use tracing::{debug, info, warn};

use super::place::{Place, Prepared};
use super::{Attempt, AttemptId, Ended, LEFTOVER_GRACE, Phase, Snapshot, StartError, blocking};

/// The longest pause before looking again for processes that would not die, or when `/proc` could not be read.
const AGAIN: Duration = Duration::from_secs(5);

/// What the executor is made of.
pub(super) struct Local {
    pub(super) place: Place,
    command: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    attempts: Mutex<HashMap<AttemptId, Known>>,
    seen: watch::Sender<Snapshot>,
}

/// What is known of an attempt, and how it is reached.
#[derive(Clone)]
pub(super) enum Known {
    /// It is being started.
    Starting,
    /// It is a child of this process.
    Child(Arc<Child>),
    /// It is the child of a manager that is dead.
    Adopted,
    /// It is over: nothing of it that can be recognised runs, and nothing at all where it is `gone`, by the kernel's proof.
    Finished { phase: Phase, gone: bool },
}

/// What an attempt may have left running when its leader has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// By the kernel's proof.
    Nothing,
    /// Nothing of its group or with its nonce.
    Unmarked,
    Anything,
}

impl Known {
    pub(super) fn phase(&self) -> Phase {
        match self {
            Self::Starting => Phase::Pending,
            Self::Child(_) | Self::Adopted => Phase::Running,
            Self::Finished { phase, .. } => phase.clone(),
        }
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("place", &self.place).field("command", &self.command).finish_non_exhaustive()
    }
}

impl Local {
    pub(super) fn new(place: Place, command: Vec<OsString>, environment: Vec<(OsString, OsString)>) -> Self {
        Self { place, command, environment, attempts: Mutex::default(), seen: watch::Sender::default() }
    }

    /// What is known of one attempt.
    pub(super) fn known(&self, id: &AttemptId) -> Option<Known> {
        self.lock().get(id).cloned()
    }

    /// What is known of all, whenever that changes.
    pub(super) fn observe(&self) -> watch::Receiver<Snapshot> {
        self.seen.subscribe()
    }

    pub(super) fn drop_knowledge<'a>(&self, ids: impl IntoIterator<Item = &'a AttemptId>) {
        self.change(|attempts| ids.into_iter().for_each(|id| drop(attempts.remove(id))));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AttemptId, Known>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut HashMap<AttemptId, Known>) -> T) -> T {
        let mut attempts = self.lock();
        let result = change(&mut attempts);
        let shown = attempts.iter().map(|(id, known)| (id.clone(), known.phase()));
        // Lost is for `look` alone to say.
        let mut shown: Vec<_> = shown.filter(|(_, phase)| *phase != Phase::Lost).collect();
        shown.sort_by(|a, b| a.0.cmp(&b.0));
        self.seen.send_replace(Snapshot { attempts: shown });
        result
    }

    fn know(&self, id: &AttemptId, known: Known) {
        self.change(|attempts| drop(attempts.insert(id.clone(), known)));
    }

    /// `known`, unless something is known already: then that.
    fn know_first(&self, id: &AttemptId, known: Known) -> Result<(), Known> {
        self.change(|attempts| match attempts.entry(id.clone()) {
            Entry::Occupied(other) => Err(other.get().clone()),
            Entry::Vacant(free) => {
                free.insert(known);
                Ok(())
            }
        })
    }

    /// Blocks until the child runs.
    pub(super) fn start(self: Arc<Self>, attempt: &Attempt) -> Result<(), StartError> {
        let id = attempt.id.clone();
        if self.know_first(&id, Known::Starting).is_err() {
            return Err(StartError::Conflict);
        }
        match self.prepare_and_spawn(attempt) {
            Ok(child) => {
                let child = Arc::new(child);
                self.know(&id, Known::Child(Arc::clone(&child)));
                debug!(attempt = id.0, item = %attempt.item, pid = child.id(), "attempt started");
                tokio::spawn(self.watch_child(id, child));
                Ok(())
            }
            Err(error) => {
                self.drop_knowledge([&id]);
                Err(error)
            }
        }
    }

    fn prepare_and_spawn(&self, attempt: &Attempt) -> Result<Child, StartError> {
        let spawn = || {
            let prepared = self.place.prepare(&attempt.id, &attempt.data).map_err(cannot_prepare)?;
            fault::point("executor.spawn.before").map_err(cannot_prepare)?;
            self.spec(attempt, prepared)?.spawn().map_err(|error| cannot_spawn(&error))
        };
        let spawned = spawn();
        if spawned.as_ref().is_err_and(|error| !matches!(error, StartError::Conflict)) {
            self.place.abandon(&attempt.id);
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
        let traced: Vec<_> = attempt.trace.iter().flat_map(TraceContext::variables).collect();
        let inherited = self.environment.iter().filter(|(name, _)| !traced.iter().any(|(own, _)| name == own));
        Ok(Spec::new(program)
            .args(arguments)
            .envs(inherited.map(|(name, value)| (name, value)))
            .envs(traced.iter().filter_map(|(name, value)| Some((name, (*value)?))))
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
        let (exit, left) = match child.wait().await {
            Ok(ended) if ended.alone => (Some(ended.exit.code()), Left::Nothing),
            Ok(ended) if ended.survivors.is_empty() => (Some(ended.exit.code()), Left::Unmarked),
            Ok(ended) => (Some(ended.exit.code()), Left::Anything),
            Err(error) => {
                warn!(attempt = id.0, %error, "nobody knows how an attempt ended");
                (None, Left::Anything)
            }
        };
        self.conclude(id, exit, left).await;
    }

    /// Takes over an attempt by its directory. One that was never spawned is absent, and what there is of it goes away.
    pub(super) async fn adopt(self: &Arc<Self>, id: AttemptId) -> io::Result<Phase> {
        let (place, looked) = (self.place.clone(), id.clone());
        let Some(lock) = blocking(move || place.lock_left(&looked)).await? else { return Ok(Phase::Absent) };
        if let Err(known) = self.know_first(&id, Known::Adopted) {
            return Ok(known.phase());
        }
        info!(attempt = id.0, "an attempt of a former manager is taken over");
        let local = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(error) = lock.freed().await {
                warn!(attempt = id.0, %error, "cannot wait for an attempt's lock");
            }
            local.conclude(id, None, Left::Anything).await;
        });
        Ok(Phase::Running)
    }

    /// TERM to those that hold the lock (the worker, which hands it on to what it runs), and after the grace KILL to
    /// everything; that it is over is seen by the lock.
    pub(super) async fn stop_adopted(self: &Arc<Self>, id: &AttemptId, grace: Duration) -> io::Result<()> {
        let all = self.marks(id);
        let holders: Vec<Mark> = all.iter().filter(|mark| matches!(mark, Mark::OpenFile(_))).cloned().collect();
        if process::terminate(&holders).await? == 0 {
            process::terminate(&all).await?;
        }
        let (local, id) = (Arc::clone(self), id.clone());
        tokio::spawn(async move {
            tokio::time::sleep(grace).await;
            if matches!(local.known(&id), Some(Known::Adopted))
                && let Err(error) = process::end(&all, Duration::ZERO).await
            {
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
    async fn conclude(self: Arc<Self>, id: AttemptId, exit: Option<u8>, left: Left) {
        if let Err(error) = fault::point("executor.over.before") {
            warn!(%error, "before an attempt is over");
        }
        // Nearly always nothing is left, and one look at the directory says everything.
        let is_bare = left != Left::Anything;
        let (place, over) = (self.place.clone(), id.clone());
        let bare = move || if is_bare && place.is_free(&over)? { place.ended(&over, exit).map(Some) } else { Ok(None) };
        let mut gone = false;
        let ended = match blocking(bare).await {
            Ok(Some(ended)) => {
                gone = left == Left::Nothing;
                Ok(ended)
            }
            Ok(None) | Err(_) => {
                self.shed(&id, is_bare).await;
                let (place, over) = (self.place.clone(), id.clone());
                blocking(move || place.ended(&over, exit)).await
            }
        };
        let ended = ended.unwrap_or_else(|error| {
            warn!(attempt = id.0, %error, "cannot read how an attempt ended");
            None
        });
        debug!(attempt = id.0, exit = ended.as_ref().map(|ended: &Ended| ended.exit), "attempt over");
        let phase = ended.map_or(Phase::Lost, Phase::Over);
        if let Err(error) = fault::point("executor.over.after") {
            warn!(%error, "after an attempt is over");
        }
        self.know(&id, Known::Finished { phase, gone });
    }

    /// Ends every process of the attempt. Of one that is bare only a process that threw its environment away and kept the
    /// lock can be left.
    async fn shed(&self, id: &AttemptId, is_bare: bool) {
        let mut pause = Duration::from_millis(1);
        loop {
            let (place, looked) = (self.place.clone(), id.clone());
            let free = blocking(move || place.is_free(&looked)).await;
            let free = free.unwrap_or_else(|error| {
                warn!(attempt = id.0, %error, "cannot look at an attempt's lock");
                false
            });
            if is_bare && free {
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
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_no_fault_of_the_item() {
        for errno in [rustix::io::Errno::NOSPC, rustix::io::Errno::DQUOT] {
            match cannot_prepare(errno.into()) {
                StartError::Throttled { why, .. } => assert!(why.contains("no room"), "{why}"),
                other => panic!("{other:?}"),
            }
        }
    }
}
