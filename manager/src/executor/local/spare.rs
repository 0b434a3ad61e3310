//! Directories of attempts that are over and left nothing in them: the next attempts get them instead of new ones.
//!
//! A file system that is asked to make and remove seven entries for each of a thousand attempts a second becomes slow at it:
//! ext4 steps over every inode freed in the last minute before it gives out another.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, Stat, flock, fstat, openat, statat, unlinkat};
use sidecar::{fault, tree};
use tracing::warn;

use super::place::{AttemptDir, Prepared};

/// The most that are kept.
const KEPT: usize = 256;

const LIST: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Where attempts' directories are made ready, and wait for the next attempt. With the last clone what waits is removed.
#[derive(Clone, Debug)]
pub(super) struct Spares(Arc<Kept>);

#[derive(Debug)]
struct Kept {
    dir: PathBuf,
    free: Mutex<Vec<PathBuf>>,
}

impl Spares {
    /// In `dir`, which is emptied.
    pub(super) fn open(dir: PathBuf) -> io::Result<Self> {
        for entry in fs::read_dir(&dir)? {
            remove(&entry?.path());
        }
        Ok(Self(Arc::new(Kept { dir, free: Mutex::default() })))
    }

    /// Makes a directory ready for an attempt, and shows it at `at` in one step, its lock taken before: where there is no
    /// directory, nothing was ever spawned.
    pub(super) fn prepare(&self, at: &AttemptDir, data: &str) -> io::Result<Prepared> {
        let taken = self.0.free().pop();
        let dir = AttemptDir(taken.map_or_else(|| self.make(), Ok)?);
        let prepared = furnish(&dir, data).and_then(|prepared| {
            fs::rename(&dir.0, &at.0).map_err(|error| match error.kind() {
                // It is never empty.
                io::ErrorKind::DirectoryNotEmpty => io::ErrorKind::AlreadyExists.into(),
                _ => error,
            })?;
            fault::point("executor.lock.after")?;
            Ok(prepared)
        });
        if prepared.is_err() {
            remove(&dir.0);
        }
        prepared
    }

    /// Takes over the directory of an attempt of which nothing runs any more, if it is as good as new.
    pub(super) fn take_over(&self, from: &AttemptDir) -> io::Result<bool> {
        if self.0.free().len() >= KEPT || !is_as_new(&from.0)? {
            return Ok(false);
        }
        let to = self.name();
        fs::rename(&from.0, &to)?;
        self.0.free().push(to);
        Ok(true)
    }

    fn make(&self) -> io::Result<PathBuf> {
        let path = self.name();
        let private = |path: &Path| fs::DirBuilder::new().mode(0o700).create(path);
        private(&path)?;
        private(&AttemptDir(path.clone()).tmp())?;
        Ok(path)
    }

    fn name(&self) -> PathBuf {
        self.0.dir.join(format!("{:016x}", fastrand::u64(..)))
    }
}

impl Kept {
    fn free(&self) -> std::sync::MutexGuard<'_, Vec<PathBuf>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        for path in self.free().drain(..) {
            remove(&path);
        }
    }
}

fn remove(path: &Path) {
    if let Err(error) = tree::remove(path) {
        warn!(path = %path.display(), %error, "cannot remove a spare directory; the next start tries again");
    }
}

fn furnish(dir: &AttemptDir, data: &str) -> io::Result<Prepared> {
    let named = |path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
    };
    let open = |path: PathBuf, append: bool| {
        let mut options = fs::OpenOptions::new();
        options.create(true).append(append).write(true).mode(0o600).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        options.open(&path).map_err(named(&path))
    };
    let item = open(dir.item(), false)?;
    // Never emptied before it is written: ext4 takes that for the replacing of a file that must not get lost, and writes
    // it to the disk at once.
    item.write_all_at(data.as_bytes(), 0)
        .and_then(
            |()| if item.metadata()?.len() == data.len() as u64 { Ok(()) } else { item.set_len(data.len() as u64) },
        )
        .map_err(named(&dir.item()))?;
    let (stdout, stderr) = (open(dir.0.join("stdout.log"), true)?, open(dir.0.join("stderr.log"), true)?);
    fault::point("executor.prepare.after")?;
    fault::point("executor.lock.before")?;
    let flags = OFlags::CREATE | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let lock = rustix::fs::open(dir.lock(), flags, Mode::RUSR | Mode::WUSR)?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    Ok(Prepared { lock, stdout, stderr })
}

/// Whether nothing is in it but what [`furnish`] makes, private and with a single name; a report is removed.
fn is_as_new(path: &Path) -> io::Result<bool> {
    let mut dir = Dir::new(rustix::fs::open(path, LIST, Mode::empty())?)?;
    if !is_private(&fstat(dir.fd()?)?, FileType::Directory) {
        return Ok(false);
    }
    let (mut report, mut tmp) = (false, false);
    while let Some(entry) = dir.read() {
        let entry = entry?;
        let (fd, name) = (dir.fd()?, entry.file_name());
        let of = |kind| Ok::<_, io::Error>(is_private(&found(fd, name)?, kind));
        let is_empty = |name| Ok::<_, io::Error>(found(fd, name)?.st_size == 0);
        let as_new = match name.to_bytes() {
            b"." | b".." => true,
            b"item.json" | b"exit" => of(FileType::RegularFile)?,
            b"lock" | b"stdout.log" | b"stderr.log" => of(FileType::RegularFile)? && is_empty(name)?,
            b"tmp" => {
                tmp = true;
                of(FileType::Directory)? && has_no_entry(fd, name)?
            }
            b"report.json" => {
                report = true;
                FileType::from_raw_mode(found(fd, name)?.st_mode) != FileType::Directory
            }
            _ => false,
        };
        if !as_new {
            return Ok(false);
        }
    }
    if report {
        unlinkat(dir.fd()?, "report.json", AtFlags::empty())?;
    }
    Ok(tmp)
}

fn found(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<Stat> {
    Ok(statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?)
}

fn is_private(stat: &Stat, kind: FileType) -> bool {
    let (mode, single) = match kind {
        FileType::Directory => (Mode::RWXU, true),
        _ => (Mode::RUSR | Mode::WUSR, stat.st_nlink == 1),
    };
    let others = Mode::RWXU | Mode::RWXG | Mode::RWXO;
    FileType::from_raw_mode(stat.st_mode) == kind && Mode::from_raw_mode(stat.st_mode) & others == mode && single
}

fn has_no_entry(dir: BorrowedFd<'_>, name: &CStr) -> io::Result<bool> {
    let mut entries = Dir::new(openat(dir.as_fd(), name, LIST, Mode::empty())?)?;
    while let Some(entry) = entries.read() {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}
