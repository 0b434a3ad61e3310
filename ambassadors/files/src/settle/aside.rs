//! The private directory a file is taken aside into: beside it, so that the rename is atomic, hidden, locked while its
//! maker lives, and named so that the next scan of any ambassador finds it if that was killed.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    AtFlags, FlockOperation, Mode, OFlags, RenameFlags, flock, linkat, mkdirat, openat, renameat, renameat_with,
    unlinkat,
};
use rustix::io::Errno;
use sidecar::fault;
use tracing::warn;

use crate::jail::Dir;

const PREFIX: &[u8] = b".longshore-settle-";
/// How often another ambassador may be in the way.
const TRIES: u32 = 16;
/// Holds the lock where directories cannot be locked (NFS).
const LOCK: &[u8] = b".longshore-lock";

/// Whether the last component of this path is the name of such a directory.
pub(crate) fn is_aside(path: &[u8]) -> bool {
    path.rsplit(|b| *b == b'/').next().is_some_and(|name| name.starts_with(PREFIX))
}

/// A private directory, and the lock that says that somebody is at work in it.
#[derive(Debug)]
pub(super) struct Aside<'a> {
    parent: &'a Dir,
    name: Vec<u8>,
    dir: Dir,
    _lock: Option<OwnedFd>,
}

/// Why a directory could not be locked.
enum Lock {
    /// It is ours now.
    Held(Option<OwnedFd>),
    /// Somebody is at work in it.
    Taken,
}

impl<'a> Aside<'a> {
    /// Makes one in `parent`. Another ambassador may take it for a leftover in the moment before it is locked, and remove
    /// it; once it is locked and still there, nobody will.
    pub(super) fn make(parent: &'a Dir) -> io::Result<Self> {
        for _ in 0..TRIES {
            let name = [PREFIX, format!("{:016x}", fastrand::u64(..)).as_bytes()].concat();
            mkdirat(parent, &*name, Mode::RWXU)?;
            let dir = match parent.open_dir(&name) {
                Ok(dir) => dir,
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            };
            let Lock::Held(lock) = lock(&dir) else { continue };
            if parent.look(&name, true).is_ok_and(|sight| sight.inode == dir.sight().inode) {
                return Ok(Self { parent, name, dir, _lock: lock });
            }
        }
        Err(Errno::BUSY.into())
    }

    pub(super) fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Takes the file of this name out of the parent.
    pub(super) fn take(&self, name: &[u8]) -> Result<(), Errno> {
        // Nobody else puts anything in here, so nothing can be replaced.
        renameat(self.parent, name, &self.dir, name)
    }

    /// Puts it back where it was. If something else has taken its place meanwhile, both are kept.
    pub(super) fn put_back(&self, name: &[u8]) -> io::Result<()> {
        put_back(self.parent, &self.dir, name)
    }
}

impl Drop for Aside<'_> {
    fn drop(&mut self) {
        remove(self.parent, &self.name, &self.dir);
    }
}

/// Puts back what lies in the leftover of this name in `parent`, and says what. Nothing, if its maker is still at work.
///
/// # Errors
/// The system's; it is tried again at the next scan.
pub(crate) fn recover(parent: &Dir, name: &[u8]) -> io::Result<Vec<Vec<u8>>> {
    let dir = match parent.open_dir(name) {
        Ok(dir) => dir,
        Err(Errno::NOENT) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let Lock::Held(_lock) = lock(&dir) else { return Ok(Vec::new()) };
    let mut files = Vec::new();
    dir.read(|file, _| {
        if file != LOCK {
            files.push(file.to_vec());
        }
    })?;
    for file in &files {
        fault::point("files.settle.recover.before")?;
        put_back(parent, &dir, file)?;
        fault::point("files.settle.recover.after")?;
    }
    remove(parent, name, &dir);
    Ok(files)
}

fn put_back(parent: &Dir, dir: &Dir, name: &[u8]) -> io::Result<()> {
    fault::point("files.settle.restore.before")?;
    for n in 0..1_000 {
        match rename_noreplace(dir, name, parent, &numbered(name, n)) {
            Ok(()) => {
                if n > 0 {
                    warn!(
                        name = %String::from_utf8_lossy(name),
                        beside = %String::from_utf8_lossy(&numbered(name, n)),
                        "a new file took the place of one being settled: both are kept"
                    );
                }
                return fault::point("files.settle.restore.after");
            }
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Errno::EXIST.into())
}

/// `name` itself for 0; then `name.1` and so on, cut so that it stays a legal name.
pub(super) fn numbered(name: &[u8], n: u32) -> Vec<u8> {
    if n == 0 {
        return name.to_vec();
    }
    let suffix = format!(".{n}").into_bytes();
    let keep = name.len().min(255 - suffix.len());
    [name.get(..keep).unwrap_or(name), &suffix].concat()
}

/// Renames, and fails with `EXIST` rather than replace anything: in one step where the file system can, by a hard link
/// where it cannot (NFS), else by reserving the name first.
pub(super) fn rename_noreplace(from: impl AsFd, name: &[u8], to: impl AsFd, new: &[u8]) -> Result<(), Errno> {
    match renameat_with(&from, name, &to, new, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
        other => return other,
    }
    match linkat(&from, name, &to, new, AtFlags::empty()) {
        Ok(()) => return unlinkat(&from, name, AtFlags::empty()),
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK) => {}
        Err(error) => return Err(error),
    }
    openat(&to, new, OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC, Mode::RUSR)?;
    renameat(from, name, to, new)
}

fn lock(dir: &Dir) -> Lock {
    match flock(dir, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => return Lock::Held(None),
        Err(Errno::WOULDBLOCK) => return Lock::Taken,
        Err(_) => {}
    }
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(file) = openat(dir, LOCK, flags, Mode::RUSR | Mode::WUSR) else { return Lock::Held(None) };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Lock::Taken,
        // Without locks at all, two ambassadors of one folder may put back what the other is settling; nothing is lost.
        Ok(()) | Err(_) => Lock::Held(Some(file)),
    }
}

/// Removes the directory if it is empty; if it is not, the next scan puts back what it holds.
fn remove(parent: &Dir, name: &[u8], dir: &Dir) {
    let _ = unlinkat(dir, LOCK, AtFlags::empty());
    let _ = unlinkat(parent, name, AtFlags::REMOVEDIR);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_a_name_legal() {
        assert_eq!(numbered(b"a.mp4", 0), b"a.mp4");
        assert_eq!(numbered(b"a.mp4", 12), b"a.mp4.12");
        assert_eq!(numbered(&[b'x'; 255], 3).len(), 255);
        assert!(is_aside(b"d/.longshore-settle-0") && !is_aside(b".longshore-settle-0/x"));
    }
}
