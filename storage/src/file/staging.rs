//! `<root>/.longshore/<nonce>`: where one run writes, alive as long as its lock is held.
//!
//! ```text
//! .longshore/lock            the root's lock
//! .longshore/<nonce>/lock    held by the run for its life; free: the run is dead
//!                    out/    what it writes, and after an exchange what it replaced
//!                    old/    what stood at the place, while nothing does (no exchange on this file system)
//!                    place   where old/ stood
//! ```
//! Staging directories are made, and found dead, under the root's lock only: no sweeper meets one that is half made.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use contract::STAGING_DIR;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use sidecar::{chain, fault, tree};
use tracing::{info, warn};

use super::blocking;
use super::dir::{Dir, open_own, rename};
use super::lock::{RootLock, try_lock};
use crate::{Error, Place};

/// Name of the lock file, of a root and of a staging directory.
pub(super) const LOCK: &str = "lock";
/// What a run writes.
pub(super) const OUT: &str = "out";
/// What stood at the place before.
pub(super) const OLD: &str = "old";
const PLACE: &str = "place";

/// A staging directory of this process.
#[derive(Debug)]
pub(super) struct Staging {
    path: PathBuf,
    out: PathBuf,
    /// `old/` is the only copy of a published output: not to be removed.
    precious: bool,
    /// Held from the making on.
    lock: Option<OwnedFd>,
}

/// The staging area of a root.
pub(super) fn area(root: &Path) -> PathBuf {
    root.join(STAGING_DIR)
}

impl Staging {
    /// Makes one, under the root's lock.
    pub(super) fn create(root: &Path, attempt: &str, _held: &RootLock) -> Result<Self, Error> {
        let nonce: String = std::iter::repeat_with(fastrand::alphanumeric).take(8).collect();
        let path = area(root).join(format!("{attempt}.{nonce}"));
        let failed = |e: io::Error| Error::io(format!("create {}", path.display()), e);
        fault::point("worker.stage.before").map_err(Error::fault)?;
        fs::create_dir(&path).map_err(failed)?;
        // From here on there is something to remove when a step fails.
        let mut staging = Self { out: path.join(OUT), path: path.clone(), precious: false, lock: None };
        let lock = open_own(&path.join(LOCK)).map_err(|errno| failed(errno.into()))?;
        if !try_lock(&lock).map_err(|errno| failed(errno.into()))? {
            return Err(Error::Busy(format!("{} was locked by another process as it was made", path.display())));
        }
        staging.lock = Some(lock);
        fs::create_dir(&staging.out).map_err(failed)?;
        fault::point("worker.stage.after").map_err(Error::fault)?;
        Ok(staging)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn out(&self) -> &Path {
        &self.out
    }

    /// Moves what stands at `place`, `last` in `parent`, aside until [`settled`](Self::settled).
    pub(super) fn move_aside(&mut self, place: &Place, parent: &Dir, last: &OsStr) -> Result<(), Error> {
        let failed = |e: io::Error| Error::io(format!("move {} aside", parent.path().join(last).display()), e);
        let note = || {
            let mut file = fs::File::create(self.path.join(PLACE))?;
            file.write_all(&place.to_bytes())?;
            file.sync_all()?;
            fs::File::open(&self.path)?.sync_all()
        };
        note().map_err(failed)?;
        let into = Dir::open(&self.path).map_err(|errno| failed(errno.into()))?;
        self.precious = true;
        rename(parent, last, &into, OsStr::new(OLD)).map_err(|errno| failed(errno.into()))
    }

    /// Something whole stands at the place again: `old/` may go.
    pub(super) fn settled(&mut self) {
        self.precious = false;
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.precious {
            warn!(path = %self.path.display(), "left an older output aside; the next worker puts it back");
            return;
        }
        if let Err(error) = remove(&self.path, self.lock.take()) {
            warn!(path = %self.path.display(), error = %error, "cannot remove staging; a later worker will");
        }
    }
}

/// Removes the staging directories of dead runs, and puts back what one of them had moved aside.
pub(super) async fn sweep(root: PathBuf) -> Result<(), Error> {
    let seen = root.clone();
    if blocking(move || candidates(&seen)).await?.is_empty() {
        return Ok(());
    }
    let lock = RootLock::take(area(&root).join(LOCK)).await?;
    let dead = blocking(move || {
        let mut dead = Vec::new();
        for path in candidates(&root)? {
            // One that cannot be judged or put back is left as it is: no reason not to do this item.
            match claim_dead(&path).and_then(|held| held.map(|held| recover(&root, &path).map(|()| held)).transpose()) {
                Ok(Some(held)) => dead.push((path, held)),
                Ok(None) => {}
                Err(error) => warn!(path = %path.display(), error = chain(&error), "left what a dead run has left"),
            }
        }
        Ok(dead)
    })
    .await?;
    drop(lock);
    blocking(move || {
        for (path, held) in dead {
            fault::point("worker.sweep.before").map_err(Error::fault)?;
            // Something the dead run had started may still be writing there: no reason not to do this item.
            match remove(&path, held) {
                Ok(()) => info!(path = %path.display(), "removed what a dead run had left"),
                Err(error) => warn!(path = %path.display(), %error, "cannot remove what a dead run has left"),
            }
            fault::point("worker.sweep.after").map_err(Error::fault)?;
        }
        Ok(())
    })
    .await
}

/// Removes a staging directory whose lock is held, the lock last: NFS keeps a file that is open, under another name, in the
/// directory it was removed from, and a directory that holds one cannot be removed.
fn remove(path: &Path, lock: Option<OwnedFd>) -> io::Result<()> {
    let removed = [OUT, OLD].iter().try_for_each(|name| tree::remove(&path.join(name)));
    drop(lock);
    removed.and_then(|()| tree::remove(path))
}

fn candidates(root: &Path) -> Result<Vec<PathBuf>, Error> {
    let area = area(root);
    let failed = |e| Error::io(format!("list {}", area.display()), e);
    let entries = match fs::read_dir(&area) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.push(entry.path()),
            // The root's lock; or gone since.
            _ => {}
        }
    }
    Ok(found)
}

/// The lock of a staging directory whose run is dead; `None` while it lives.
fn claim_dead(path: &Path) -> Result<Option<Option<OwnedFd>>, Error> {
    let file = path.join(LOCK);
    let failed = |errno| Error::io(format!("lock {}", file.display()), errno);
    match openat(CWD, &file, OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty()) {
        Ok(fd) => Ok(try_lock(&fd).map_err(failed)?.then_some(Some(fd))),
        // Killed between making the directory and making its lock, or while removing it.
        Err(Errno::NOENT) => Ok(Some(None)),
        // Another user's: theirs to clear away.
        Err(Errno::ACCESS | Errno::PERM) => Ok(None),
        Err(errno) => Err(failed(errno)),
    }
}

/// Puts back what a run had moved aside when it died before its own output took the place.
fn recover(root: &Path, staging: &Path) -> Result<(), Error> {
    let failed = |e: io::Error| Error::io(format!("put back {}", staging.join(OLD).display()), e);
    if !staging.join(OLD).try_exists().map_err(failed)? {
        return Ok(());
    }
    let place = Place::from_bytes(fs::read(staging.join(PLACE)).map_err(failed)?)
        .ok_or_else(|| failed(io::Error::other("its note of where it stood is damaged")))?;
    let (parents, last) = place.split();
    let mut dir = Dir::open(root).map_err(|errno| failed(errno.into()))?;
    for name in parents {
        dir = dir.child_or_create(name).map_err(|errno| failed(errno.into()))?.0;
    }
    if dir.stat(last).map_err(|errno| failed(errno.into()))?.is_some() {
        return Ok(());
    }
    fault::point("worker.restore.before").map_err(Error::fault)?;
    let from = Dir::open(staging).map_err(|errno| failed(errno.into()))?;
    rename(&from, OsStr::new(OLD), &dir, last).map_err(|errno| failed(errno.into()))?;
    fault::point("worker.restore.after").map_err(Error::fault)?;
    dir.sync()?;
    info!(place = %place, "put back the output that a dead run had moved aside");
    Ok(())
}
