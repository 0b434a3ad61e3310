//! A directory, and names resolved beneath it by the kernel.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat, mkdirat, open, openat, openat2, statat};
use rustix::io::Errno;

use crate::Error;

/// An open directory.
#[derive(Debug)]
pub(super) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Dir {
    /// Follows symbolic links, since an operator named it.
    pub(super) fn open(path: &Path) -> Result<Self, Errno> {
        Ok(Self { fd: open(path, DIRECTORY, Mode::empty())?, path: path.to_owned() })
    }

    /// Follows none in the end: what a command has made may be anything.
    pub(super) fn open_itself(path: &Path) -> Result<Self, Errno> {
        Ok(Self { fd: open(path, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?, path: path.to_owned() })
    }

    /// A child directory, never through a symbolic link; `None` when nothing of that name is there.
    pub(super) fn child(&self, name: &OsStr) -> Result<Option<Self>, Errno> {
        match openat(&self.fd, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(fd) => Ok(Some(Self { fd, path: self.path.join(name) })),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// As [`child`](Self::child), made when absent; whether it was made is told.
    pub(super) fn child_or_create(&self, name: &OsStr) -> Result<(Self, bool), Errno> {
        let made = match mkdirat(&self.fd, name, Mode::from_raw_mode(0o777)) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(errno) => return Err(errno),
        };
        self.child(name)?.map(|dir| (dir, made)).ok_or(Errno::NOENT)
    }

    /// Opens what `path` names, wherever symbolic links lead, as long as that is beneath this directory (openat2(2)).
    pub(super) fn open_beneath(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        loop {
            match openat2(&self.fd, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
                // A rename elsewhere in the tree kept the kernel from being sure.
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return result,
            }
        }
    }

    /// What `name` is, without following it; `None` when nothing of that name is there.
    pub(super) fn stat(&self, name: impl AsRef<Path>) -> Result<Option<Stat>, Errno> {
        match statat(&self.fd, name.as_ref(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Makes names that were added or taken away durable.
    pub(super) fn sync(&self) -> Result<(), Error> {
        match rustix::fs::fsync(&self.fd) {
            // Some network file systems cannot, and need not, sync a directory.
            Ok(()) | Err(Errno::INVAL | Errno::ROFS) => Ok(()),
            Err(errno) => Err(Error::io(format!("sync {}", self.path.display()), errno)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The type of what a stat describes.
pub(super) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// For people.
pub(super) fn kind_name(stat: &Stat) -> &'static str {
    match kind(stat) {
        FileType::RegularFile => "a regular file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a named pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Unknown => "of an unknown kind",
    }
}

/// Renames by paths beneath two open directories.
pub(super) fn rename(from: &Dir, old: &OsStr, to: &Dir, new: &OsStr) -> Result<(), Errno> {
    rustix::fs::renameat(from, old, to, new)
}

/// Opens a file of ours by its whole path, for reading and writing, made when absent.
pub(super) fn open_own(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    openat(CWD, path, flags, Mode::from_raw_mode(0o666))
}
