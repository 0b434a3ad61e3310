//! Attempts as child processes of this machine, which live on when the manager dies and are found again when it is back.
//!
//! Each attempt has a directory, `<state>/attempts/<id>/`. A lock file in it is flocked before the spawn and is the child's
//! stdin, and the child's environment carries the attempt's nonce: an attempt is over when the lock is free and nobody
//! carries the nonce. What it left is ended before it counts as over, so that no second attempt meets the first.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use contract::TraceContext;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use sidecar::fault;
use tokio_stream::wrappers::WatchStream;
use tracing::warn;

use super::{Attempt, AttemptId, Ended, Executor, ExecutorError, Phase, Snapshot, StartError};

mod logs;
mod place;
mod running;
mod spare;

pub use logs::{InvalidKeepLogs, KeepLogs};
use place::Place;
use running::{Known, Local};

/// How long what a worker leaves behind may take to end after SIGTERM.
const LEFTOVER_GRACE: Duration = Duration::from_secs(1);

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
        let environment = environment.into_iter().filter(|(name, _)| inherited(name)).collect();
        let local = Arc::new(Local::new(place, command, environment));
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
            let mut seen = local.observe();
            while is_live(&self.look(id).await?) {
                seen.changed().await.map_err(io::Error::other)?;
            }
            self.forget(std::slice::from_ref(id)).await?;
        }
        fault::point("executor.sweep.after")?;
        Ok(unknown.len())
    }
}

fn is_live(phase: &Phase) -> bool {
    matches!(phase, Phase::Pending | Phase::Running)
}

impl Executor for LocalExecutor {
    async fn start(&self, attempt: &Attempt) -> Result<(), StartError> {
        let (local, attempt) = (Arc::clone(&self.0), attempt.clone());
        // On a thread that may block, and to its end: a start that is dropped half-way would leave an attempt that nobody
        // watches.
        let started = tokio::task::spawn_blocking(move || local.start(&attempt)).await;
        started.unwrap_or_else(|error| Err(StartError::Unknown { why: error.to_string() }))
    }

    async fn stop(&self, id: &AttemptId, grace: Duration) -> Result<(), ExecutorError> {
        let mut seen = self.0.observe();
        loop {
            let known = self.0.known(id);
            match known {
                Some(Known::Starting) => seen.changed().await.map_err(io::Error::other)?,
                Some(Known::Child(child)) => {
                    child.ask_to_stop(grace);
                    return Ok(());
                }
                Some(Known::Adopted) => return Ok(self.0.stop_adopted(id, grace).await?),
                Some(Known::Finished { .. }) | None => return Ok(()),
            }
        }
    }

    fn observe(&self) -> BoxStream<'static, Snapshot> {
        WatchStream::new(self.0.observe()).boxed()
    }

    async fn look(&self, id: &AttemptId) -> Result<Phase, ExecutorError> {
        match self.0.known(id) {
            Some(known) => Ok(known.phase()),
            None => Ok(self.0.adopt(id.clone()).await?),
        }
    }

    async fn trace(&self, id: &AttemptId) -> Option<TraceContext> {
        let (place, id) = (self.0.place.clone(), id.clone());
        blocking(move || Ok(place.trace(&id))).await.ok()?
    }

    async fn forget(&self, ids: &[AttemptId]) -> Result<(), ExecutorError> {
        let mut failed = None;
        let mut over = Vec::with_capacity(ids.len());
        for id in ids {
            match self.look(id).await {
                Ok(Phase::Absent) => {}
                Ok(phase) if is_live(&phase) => {
                    let why = format!("attempt {} is running and cannot be forgotten", id.0);
                    failed = failed.or(Some(ExecutorError { why }));
                }
                Ok(_) => over.push((id.clone(), matches!(self.0.known(id), Some(Known::Finished { gone: true, .. })))),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        let place = self.0.place.clone();
        let forgotten = blocking(move || {
            Ok(over
                .into_iter()
                .map(|(id, gone)| (place.forget(&id, gone), id))
                .collect::<Vec<(io::Result<()>, AttemptId)>>())
        });
        let (gone, left): (Vec<_>, Vec<_>) = forgotten.await?.into_iter().partition(|(forgotten, _)| forgotten.is_ok());
        self.0.drop_knowledge(gone.iter().map(|(_, id)| id));
        let left = left.into_iter().find_map(|(forgotten, _)| forgotten.err());
        failed.or(left.map(ExecutorError::from)).map_or(Ok(()), Err)
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

#[cfg(test)]
mod tests;
