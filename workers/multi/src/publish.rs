//! What stages wrote becomes the item's output: one's files as they are, those of several each below its name.

use std::ffi::{CStr, OsStr};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use contract::exit;
use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, fstat, mkdirat, openat};
use rustix::io::Errno;
use sidecar::fault;
use stage::StageName;
use worker_kit::JobError;

use crate::pipeline::Pipeline;

/// Takes what is to be published of `outputs`, given by stage, where it is in order.
#[derive(Clone, Copy, Debug)]
pub(crate) enum By {
    /// Copying: it lies on another's volume, which cannot be written to from here.
    Copying,
    /// Renaming: it lies where its place is, and nobody else needs it any more.
    Renaming,
}

/// Puts into `to`, an empty directory but for what lies hidden in it, what `publish` names. A stage without output has failed, and
/// that does not matter.
///
/// # Errors
/// 73 for what cannot be published, 74 for what the machine could not do.
pub(crate) async fn publish(
    pipeline: &Pipeline,
    outputs: &[Option<PathBuf>],
    to: &Path,
    by: By,
) -> Result<(), JobError> {
    let from = pipeline.publish.iter().filter_map(|name| {
        let output = outputs.get(pipeline.place(name)?)?.clone()?;
        Some((name.clone(), output))
    });
    let (from, alone): (Vec<_>, _) = (from.collect(), pipeline.publish.len() == 1);
    let to = to.to_owned();
    let published = tokio::task::spawn_blocking(move || {
        fault::point("multi.publish.before").map_err(|error| failed(&error))?;
        from.iter().try_for_each(|(name, from)| one(name, from, &to, alone, by))?;
        fault::point("multi.publish.after").map_err(|error| failed(&error))
    });
    published.await.map_err(|error| JobError::new(exit::BUG, "Bug", format!("publishing: {error}")))?
}

fn failed(error: &io::Error) -> JobError {
    JobError::new(exit::IO, "IoError", format!("cannot publish what the stages wrote: {error}"))
}

fn one(name: &StageName, from: &Path, to: &Path, alone: bool, by: By) -> Result<(), JobError> {
    let to = if alone { to.to_owned() } else { to.join(name.as_str()) };
    match by {
        By::Renaming if alone => rename_each(from, &to),
        By::Renaming => fs::rename(from, &to),
        By::Copying => copy(from, &to),
    }
    .map_err(|error| {
        let message = format!("cannot publish what stage {name} wrote: {error}");
        if error.kind() == io::ErrorKind::InvalidData {
            JobError::new(exit::CANT_CREATE, "OutputUnusable", message)
        } else {
            JobError::new(exit::IO, "IoError", message)
        }
    })
}

fn rename_each(from: &Path, to: &Path) -> io::Result<()> {
    for entry in from.read_dir()? {
        let entry = entry?;
        fs::rename(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

/// Copies a directory of somebody else's making. He may still change it: nothing is followed, so that nothing comes along that
/// only we may read.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let top = openat(CWD, from, flags, Mode::empty()).map_err(|errno| about(errno.into(), from))?;
    match fs::create_dir(to) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(about(error, to)),
        _ => {}
    }
    let into = openat(CWD, to, flags, Mode::empty()).map_err(|errno| about(errno.into(), to))?;
    copy_entries(&top, &into, Path::new(""))
}

/// As deep as it goes, with a few descriptors for each level.
fn copy_entries(from: &OwnedFd, into: &OwnedFd, path: &Path) -> io::Result<()> {
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let path = path.join(OsStr::from_bytes(name.to_bytes()));
        copy_entry(from, into, name, &path).map_err(|error| about(error, &path))?;
    }
    Ok(())
}

fn copy_entry(from: &OwnedFd, into: &OwnedFd, name: &CStr, path: &Path) -> io::Result<()> {
    let found =
        openat(from, name, OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
    match FileType::from_raw_mode(fstat(&found)?.st_mode) {
        FileType::RegularFile => copy_file(found, into, name),
        FileType::Directory => {
            mkdirat(into, name, Mode::from_raw_mode(0o755))?;
            let made = openat(into, name, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
            copy_entries(&found, &made, path)
        }
        _ => Err(unpublishable(path)),
    }
}

fn copy_file(from: OwnedFd, into: &OwnedFd, name: &CStr) -> io::Result<()> {
    let mode = Mode::from_raw_mode(fstat(&from)?.st_mode & 0o777);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let to = openat(into.as_fd(), name, flags, mode)?;
    // Within the kernel, and on file systems that can share blocks without any bytes.
    io::copy(&mut File::from(from), &mut File::from(to)).map(|_| ())
}

/// An output holds files: a store has no links.
fn unpublishable(path: &Path) -> io::Error {
    let message = format!("{} is neither a file nor a directory", path.display());
    io::Error::new(io::ErrorKind::InvalidData, message)
}

fn about(error: io::Error, path: &Path) -> io::Error {
    if error.kind() == io::ErrorKind::InvalidData || error.raw_os_error().is_none() {
        return error;
    }
    // A link that must not be followed.
    if matches!(Errno::from_io_error(&error), Some(Errno::LOOP)) {
        return unpublishable(path);
    }
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
