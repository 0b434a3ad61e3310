//! A private directory for one run, and the clearing away of what dead runs left behind.
//!
//! `<TMPDIR>/longshore.<nonce>/` belongs to whoever holds the lock on `<TMPDIR>/longshore.<nonce>.lock`. The nonce is also
//! the value of [`RUN_VARIABLE`] in the environment of every command of the run, so that what a killed worker has left
//! running is found and ended together with its files.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use process::Mark;
use rustix::fs::{FlockOperation, OFlags, flock};
use sidecar::{fault, tree};
use tracing::{info, warn};

use crate::JobError;

/// By which every descendant of a run is known.
pub const RUN_VARIABLE: &str = "LONGSHORE_RUN";
const PREFIX: &str = "longshore.";
const SUFFIX: &str = ".lock";
/// How long what a killed worker has left running may take to end.
const LEFTOVER_GRACE: Duration = Duration::from_secs(1);

/// The scratch directory of this run; removed when dropped.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    nonce: String,
    lock: PathBuf,
    _held: File,
}

impl Scratch {
    /// Makes one in `parent`.
    pub(crate) fn create(parent: &Path) -> Result<Self, JobError> {
        let failed = |e: io::Error| {
            let hint = "; --scratch or TMPDIR must name a directory that can be written to";
            JobError::io(&format!("create a scratch directory in {}", parent.display()), &e, hint)
        };
        // What commands are told must hold wherever they change to.
        let parent = std::path::absolute(parent).map_err(failed)?;
        fault::point("worker.scratch.before").map_err(failed)?;
        let (held, lock) = loop {
            let file = tempfile::Builder::new()
                .prefix(PREFIX)
                .suffix(SUFFIX)
                .rand_bytes(12)
                .tempfile_in(&parent)
                .map_err(failed)?;
            let (file, path) = file.keep().map_err(|e| failed(e.error))?;
            // A sweeper that met it in the instant before has taken it for a dead one's, and removes it.
            if try_lock(&file).map_err(failed)? && is_linked(&file).map_err(failed)? {
                break (file, path);
            }
        };
        let path = directory_of(&lock).expect("it was made with this suffix");
        let nonce = path.extension().unwrap_or_default().to_string_lossy().into_owned();
        let scratch = Self { path, nonce, lock, _held: held };
        DirBuilder::new().mode(0o700).create(&scratch.path).map_err(failed)?;
        for dir in [scratch.inputs(), scratch.fetched(), scratch.output(), scratch.temporary()] {
            DirBuilder::new().mode(0o700).create(dir).map_err(failed)?;
        }
        fault::point("worker.scratch.after").map_err(failed)?;
        Ok(scratch)
    }

    /// Unique to this run.
    pub(crate) fn nonce(&self) -> &str {
        &self.nonce
    }

    /// `INPUT_DIR`.
    pub(crate) fn inputs(&self) -> PathBuf {
        self.path.join("in")
    }

    /// Where inputs lie that have to be fetched.
    pub(crate) fn fetched(&self) -> PathBuf {
        self.path.join("fetched")
    }

    /// Where output is gathered that goes to no file system.
    pub(crate) fn output(&self) -> PathBuf {
        self.path.join("out")
    }

    /// `TMPDIR`.
    pub(crate) fn temporary(&self) -> PathBuf {
        self.path.join("tmp")
    }

    /// `RESULT_FILE`.
    pub(crate) fn result(&self) -> PathBuf {
        self.path.join("result.json")
    }
}

/// Lets every user read what was fetched into the scratch directory that `temporary` belongs to, and nothing else of it.
pub(crate) fn share(temporary: &Path) -> io::Result<()> {
    let Some(root) = temporary.parent() else { return Ok(()) };
    fs::set_permissions(root, Permissions::from_mode(0o711))?;
    for dir in ["in", "fetched"] {
        readable(&root.join(dir))?;
    }
    Ok(())
}

/// Lets every user read a tree.
pub(crate) fn readable(path: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    if found.is_dir() {
        fs::set_permissions(path, Permissions::from_mode(0o755))?;
        for entry in fs::read_dir(path)? {
            readable(&entry?.path())?;
        }
    } else if found.is_file() {
        fs::set_permissions(path, Permissions::from_mode(found.mode() & 0o777 | 0o444))?;
    }
    Ok(())
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path, &self.lock) {
            warn!(path = %self.path.display(), %error, "cannot remove the scratch directory; a later worker will");
        }
    }
}

/// Ends what dead runs have left running and removes what they have left lying in `parent`.
pub(crate) async fn sweep(parent: &Path) {
    let entries = match fs::read_dir(parent) {
        Ok(entries) => entries,
        // Whoever needs the directory will say so.
        Err(_) => return,
    };
    for lock in entries.flatten().map(|entry| entry.path()) {
        let Some(dir) = directory_of(&lock) else { continue };
        let file = OpenOptions::new().read(true).write(true).custom_flags(no_follow()).open(&lock);
        // Alive, gone, or another user's.
        let Ok(held) = file else { continue };
        if !held.metadata().is_ok_and(|found| is_own(&found)) || !matches!(try_lock(&held), Ok(true)) {
            continue;
        }
        if let Err(error) = sweep_one(&dir, &lock).await {
            warn!(path = %dir.display(), %error, "cannot clear away what a dead run has left");
        }
    }
}

async fn sweep_one(dir: &Path, lock: &Path) -> io::Result<()> {
    // In a directory that everybody may write to, a stranger's link by that name must not lead us anywhere.
    match fs::symlink_metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Ok(found) if found.is_dir() && is_own(&found) => {}
        _ => return Err(io::Error::other("it is no directory of this user's")),
    }
    let nonce = dir.extension().unwrap_or_default();
    let purged = process::end(&[Mark::environment(RUN_VARIABLE, nonce)], LEFTOVER_GRACE).await?;
    remove(dir, lock)?;
    info!(path = %dir.display(), processes = purged.ended, "cleared away what a dead run had left");
    Ok(())
}

/// The directory that a lock file stands for, if it is one of ours.
fn directory_of(lock: &Path) -> Option<PathBuf> {
    let nonce = lock.file_name()?.to_str()?.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    (!nonce.is_empty() && nonce.bytes().all(|b| b.is_ascii_alphanumeric()))
        .then(|| lock.with_file_name(format!("{PREFIX}{nonce}")))
}

/// The lock goes last: as long as it is there, somebody comes back for the rest.
fn remove(dir: &Path, lock: &Path) -> io::Result<()> {
    tree::remove(dir)?;
    match fs::remove_file(lock) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn try_lock(file: &File) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

fn is_own(found: &fs::Metadata) -> bool {
    found.uid() == rustix::process::geteuid().as_raw()
}

fn is_linked(file: &File) -> io::Result<bool> {
    Ok(file.metadata()?.nlink() > 0)
}

fn no_follow() -> i32 {
    i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).expect("open flags fit in an int")
}

#[cfg(test)]
mod tests {
    use contract::exit;

    use super::*;

    #[tokio::test]
    async fn the_dead_are_swept_and_the_living_are_not() {
        let parent = tempfile::tempdir().expect("a directory");
        let alive = Scratch::create(parent.path()).expect("created");
        fs::create_dir_all(parent.path().join("longshore.dead1/x/y")).expect("a dead one's directory");
        fs::write(parent.path().join("longshore.dead1.lock"), "").expect("a dead one's lock");
        fs::write(parent.path().join("longshore.dead2.lock"), "").expect("one that died before it made its directory");
        fs::create_dir(parent.path().join("longshore.foreign")).expect("nobody's, without a lock");
        fs::write(parent.path().join("longshore.a b.lock"), "").expect("not ours");
        let elsewhere = tempfile::tempdir().expect("a directory");
        fs::write(elsewhere.path().join("precious"), "").expect("a file");
        fs::write(parent.path().join("longshore.link.lock"), "").expect("a stranger's lock");
        std::os::unix::fs::symlink(elsewhere.path(), parent.path().join("longshore.link")).expect("a stranger's link");
        sweep(parent.path()).await;
        let left = |name: &str| parent.path().join(name).exists();
        assert!(alive.path.is_dir() && alive.lock.exists());
        assert!(!left("longshore.dead1") && !left("longshore.dead1.lock") && !left("longshore.dead2.lock"));
        assert!(left("longshore.foreign") && left("longshore.a b.lock"));
        assert!(left("longshore.link") && elsewhere.path().join("precious").exists());
        drop(alive);
        assert_eq!(fs::read_dir(parent.path()).expect("lists").count(), 4);
    }

    #[test]
    fn a_command_that_took_its_own_rights_away_does_not_stop_us() {
        let parent = tempfile::tempdir().expect("a directory");
        let scratch = Scratch::create(parent.path()).expect("created");
        let stubborn = scratch.temporary().join("a/b");
        fs::create_dir_all(&stubborn).expect("created");
        fs::set_permissions(&stubborn, std::os::unix::fs::PermissionsExt::from_mode(0o500)).expect("changed");
        drop(scratch);
        assert_eq!(fs::read_dir(parent.path()).expect("lists").count(), 0);
    }

    #[test]
    fn where_nothing_can_be_written_is_said() {
        let error = Scratch::create(Path::new("/nonexistent/x")).expect_err("no such directory");
        assert_eq!(error.code, exit::IO);
        assert!(error.to_string().contains("/nonexistent/x") && error.to_string().contains("--scratch"), "{error}");
    }
}
