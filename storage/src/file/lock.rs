//! flock(2) with an end to its patience.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use sidecar::fault;

use super::blocking;
use super::dir::open_own;
use crate::Error;

/// Held while what stands below an output root is judged and changed. Falls with the process.
#[derive(Debug)]
pub(super) struct RootLock(#[expect(dead_code, reason = "held for its lock")] OwnedFd);

/// Commits hold the lock for a few renames. Whoever holds it longer hangs, or was stopped.
const PATIENCE: Duration = Duration::from_secs(60);

impl RootLock {
    /// Waits for the lock of an output root, `<root>/.longshore/lock`. A file and not the directory itself, which NFS
    /// cannot lock.
    pub(super) async fn take(path: PathBuf) -> Result<Self, Error> {
        Self::take_within(path, PATIENCE).await
    }

    async fn take_within(path: PathBuf, patience: Duration) -> Result<Self, Error> {
        fault::point("worker.lock.before").map_err(Error::fault)?;
        let file = path.clone();
        // When patience ends before the wait does, the lock is dropped the moment it is had.
        let wait = blocking(move || {
            let fd = open_own(&file).map_err(|errno| Error::io(format!("open {}", file.display()), errno))?;
            lock(&fd, FlockOperation::LockExclusive)
                .map_err(|errno| Error::io(format!("lock {}", file.display()), errno))?;
            Ok(Self(fd))
        });
        let lock = tokio::time::timeout(patience, wait).await.unwrap_or_else(|_| {
            Err(Error::Busy(format!(
                "{} has been locked by another worker for {patience:?}; is one stopped or hanging?",
                path.display()
            )))
        })?;
        fault::point("worker.lock.after").map_err(Error::fault)?;
        Ok(lock)
    }
}

/// Takes a lock if nobody holds it.
pub(super) fn try_lock(fd: &OwnedFd) -> Result<bool, Errno> {
    match lock(fd, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno),
    }
}

fn lock(fd: &OwnedFd, operation: FlockOperation) -> Result<(), Errno> {
    loop {
        match flock(fd, operation) {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn patience_ends_and_a_late_lock_is_let_go_of() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("lock");
        let first = RootLock::take(path.clone()).await.expect("nobody holds it");
        let refused = RootLock::take_within(path.clone(), Duration::from_millis(20)).await;
        assert!(matches!(refused, Err(Error::Busy(_))), "{refused:?}");
        drop(first);
        RootLock::take(path).await.expect("the one who lost patience does not hold it");
    }
}
