//! Moving a settled file below another directory, which may lie on another file system. Nothing there is ever replaced.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, fchmod, futimens, mkdirat, openat, unlinkat,
};
use rustix::io::Errno;
use sidecar::fault;

use super::aside::{numbered, rename_noreplace};
use crate::jail::{Dir, Sight};

/// Most files of one path that are told apart by a number.
const MOST: u32 = 10_000;

/// The directory that a settled file goes to.
pub(super) struct Archive {
    to: OwnedFd,
    /// Depends on the item alone, so that what a killed run left is written over by the next.
    temporary: String,
}

impl Archive {
    /// Makes `base/path`, if it is not there.
    pub(super) fn open(base: &Path, path: &[u8], key: &[u8]) -> io::Result<Self> {
        let temporary = format!(".longshore-copy-{}", contract::name::hash(&[key]));
        Ok(Self { to: make_dirs(base, path)?, temporary })
    }

    /// Moves `name` out of `from` to here; as `name.1` and so on if another file lies there. One with the very same version
    /// and content is the same item, moved by a run that was killed: it is not kept twice.
    pub(super) fn take(&self, from: &Dir, name: &[u8]) -> io::Result<()> {
        for n in 0..MOST {
            let new = numbered(name, n);
            match rename_noreplace(from, name, &self.to, &new) {
                Ok(()) => return Ok(()),
                Err(Errno::EXIST) => {}
                Err(Errno::XDEV) => match self.copy(from, name, &new) {
                    Ok(()) => {
                        fault::point("files.settle.moved.before")?;
                        return Ok(unlinkat(from, name, AtFlags::empty())?);
                    }
                    Err(error) if error.raw_os_error() == Some(Errno::EXIST.raw_os_error()) => {}
                    Err(error) => return Err(error),
                },
                Err(error) => return Err(error.into()),
            }
            if is_same(from, name, &self.to, &new)? {
                return Ok(unlinkat(from, name, AtFlags::empty())?);
            }
        }
        Err(Errno::EXIST.into())
    }

    /// Copies with mode and modification time, and lets nobody see it before it is whole and on disk.
    fn copy(&self, from: &Dir, name: &[u8], new: &[u8]) -> io::Result<()> {
        let source = from.open_file(name)?;
        let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut target = File::from(openat(&self.to, &*self.temporary, flags, Mode::RUSR | Mode::WUSR)?);
        fault::point("files.settle.copy.before")?;
        let copied = fill(source, &mut target).and_then(|()| {
            fault::point("files.settle.copy.after")?;
            rename_noreplace(&self.to, self.temporary.as_bytes(), &self.to, new)?;
            Ok(())
        });
        if copied.is_err() {
            let _ = unlinkat(&self.to, &*self.temporary, AtFlags::empty());
        }
        copied?;
        Ok(rustix::fs::fsync(&self.to)?)
    }
}

/// Makes every directory of `path` below `base`, through no link.
fn make_dirs(base: &Path, path: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    std::fs::create_dir_all(base)?;
    let mut at = openat(CWD, base, flags, Mode::empty())?;
    for part in path.split(|b| *b == b'/').filter(|part| !part.is_empty()) {
        match mkdirat(&at, part, Mode::from_raw_mode(0o777)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        at = openat(&at, part, flags | OFlags::NOFOLLOW, Mode::empty())?;
    }
    Ok(at)
}

fn fill(source: OwnedFd, target: &mut File) -> io::Result<()> {
    let stat = rustix::fs::fstat(&source)?;
    let mut source = File::from(source);
    io::copy(&mut source, target)?;
    fchmod(&*target, Mode::from_raw_mode(stat.st_mode))?;
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: i64::try_from(stat.st_mtime_nsec).unwrap_or(0) },
    };
    futimens(&*target, &times)?;
    target.sync_all()
}

/// Whether the file at `new` is the same version as `name`, byte for byte.
fn is_same(from: &Dir, name: &[u8], to: &OwnedFd, new: &[u8]) -> io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(there) = openat(to, new, flags, Mode::empty()) else { return Ok(false) };
    let Ok(here) = from.open_file(name) else { return Ok(false) };
    let (a, b) = (Sight::of(here.as_fd())?, Sight::of(there.as_fd())?);
    if a.kind != b.kind || a.version != b.version {
        return Ok(false);
    }
    let (mut here, mut there) = (File::from(here), File::from(there));
    let (mut left, mut right) = (vec![0; 128 * 1024], vec![0; 128 * 1024]);
    loop {
        let read = here.read(&mut left)?;
        let Some(right) = right.get_mut(..read) else { return Ok(false) };
        if read == 0 {
            return Ok(there.read(&mut [0])? == 0);
        }
        match there.read_exact(right) {
            Ok(()) if left.get(..read) == Some(&*right) => {}
            Ok(()) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}
