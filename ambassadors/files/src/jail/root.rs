//! The root: found anew by its path for every piece of work, so that no descriptor keeps a file system from being
//! unmounted, and compared each time with the directory it was before.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, openat, statx};
use rustix::io::Errno;

use super::{Dir, Links, Sight, open_beneath};

/// The folder being served, by its path.
#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
    known: Mutex<Option<Known>>,
}

/// The directory that the path was found to be.
#[derive(Clone, Debug)]
struct Known {
    inode: u64,
    device: (u32, u32),
    mount: Option<u64>,
    /// The mounts that the path's parents lie on: where the path leads to when what is mounted above them is gone.
    beneath: Vec<u64>,
}

/// Why the root cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RootError {
    /// There is nothing of that path.
    #[error("the folder {} does not exist (create it, mount it, or correct --root)", .0.display())]
    Missing(PathBuf),
    /// The path is something else.
    #[error("{} is not a folder (correct --root)", .0.display())]
    NotADirectory(PathBuf),
    /// It may not be read.
    #[error("the folder {} may not be read (grant this program's user read and search permission)", .0.display())]
    Forbidden(PathBuf),
    /// The file system fails.
    #[error("the folder {} cannot be read: {error}", path.display())]
    Failing {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        error: Errno,
    },
    /// The path leads to what lies under the mount that was there.
    #[error(
        "what was mounted at or above {} is gone (mount it again, or restart this program if that is meant)",
        .0.display()
    )]
    Unmounted(PathBuf),
    /// Another, empty directory stands in the folder's place.
    #[error(
        "another, empty directory has taken the place of {} (bring the old one back, put a file into it, or restart this \
         program if that is meant)",
        .0.display()
    )]
    Replaced(PathBuf),
}

impl RootError {
    /// Whether somebody must change something for it to go away.
    pub(crate) fn is_configuration(&self) -> bool {
        matches!(self, Self::Missing(_) | Self::NotADirectory(_) | Self::Forbidden(_))
    }
}

impl Root {
    /// The folder at `path`, which need not be there yet.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, known: Mutex::new(None) }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the folder, if it still is the one that was opened before. Another in its place is accepted when it was put
    /// there on purpose, by the look of it: on the same mount or a new one, and not empty where there were items.
    ///
    /// # Errors
    /// [`RootError`].
    pub(crate) fn open(&self, had_items: bool) -> Result<Jail, RootError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = openat(CWD, &self.path, flags, Mode::empty()).and_then(Dir::new).map_err(|e| self.error(e))?;
        let sight = *dir.sight();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = known.as_ref() {
            if (before.inode, before.device, before.mount) == (sight.inode, sight.device, sight.mount) {
                return Ok(Jail { root: dir });
            }
            if sight.mount != before.mount && sight.mount.is_some_and(|mount| before.beneath.contains(&mount)) {
                return Err(RootError::Unmounted(self.path.clone()));
            }
            if had_items && dir.is_empty().map_err(|e| self.error(e))? {
                return Err(RootError::Replaced(self.path.clone()));
            }
        }
        *known = Some(Known {
            inode: sight.inode,
            device: sight.device,
            mount: sight.mount,
            beneath: mounts_above(&self.path, sight.mount),
        });
        Ok(Jail { root: dir })
    }

    fn error(&self, error: Errno) -> RootError {
        let path = self.path.clone();
        match error {
            Errno::NOENT => RootError::Missing(path),
            Errno::NOTDIR | Errno::LOOP => RootError::NotADirectory(path),
            Errno::ACCESS | Errno::PERM => RootError::Forbidden(path),
            error => RootError::Failing { path, error },
        }
    }
}

/// The mounts of the path's parents, less its own.
fn mounts_above(path: &Path, own: Option<u64>) -> Vec<u64> {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut mounts: Vec<u64> = real
        .ancestors()
        .skip(1)
        .filter_map(|parent| statx(CWD, parent, AtFlags::empty(), StatxFlags::MNT_ID).ok())
        .map(|stat| stat.stx_mnt_id)
        .filter(|mount| Some(*mount) != own)
        .collect();
    mounts.dedup();
    mounts
}

/// The open root: the door to everything beneath it.
#[derive(Debug)]
pub(crate) struct Jail {
    root: Dir,
}

impl Jail {
    /// What the root looks like.
    pub(crate) fn sight(&self) -> &Sight {
        self.root.sight()
    }

    /// The directory of this path from the root, itself for the empty path; no link on the way is followed.
    ///
    /// # Errors
    /// The system's; `LOOP` for a link.
    pub(crate) fn dir(&self, path: &[u8]) -> Result<Dir, Errno> {
        open_beneath(&self.root, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW, Links::Refuse)
            .and_then(Dir::new)
    }

    /// Opens the file of this path from the root for reading, through links that stay beneath it.
    ///
    /// # Errors
    /// The system's; `XDEV` where a link leads out.
    pub(crate) fn open_file(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        open_beneath(&self.root, path, OFlags::RDONLY, Links::Follow)
    }

    /// What the path leads to, through links that stay beneath the root; without opening it for reading.
    ///
    /// # Errors
    /// As [`open_file`](Self::open_file).
    pub(crate) fn follow(&self, path: &[u8]) -> Result<Sight, Errno> {
        open_beneath(&self.root, path, OFlags::PATH, Links::Follow).and_then(Sight::of)
    }
}

impl AsFd for Jail {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.root.as_fd()
    }
}
