//! What a run wrote: every file listed, measured and made durable, everything that is no file refused.

use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use contract::item::encode_path;
use contract::marker::Output;
use contract::{MARKER_FILE, STAGING_DIR};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use super::dir::{Dir, kind, kind_name};
use crate::Error;

/// Every file below `out`, relative to it, sorted. For stores that carry what a run wrote to somewhere else: what cannot be
/// published to one store cannot be to any.
///
/// # Errors
/// [`Error::Unpublishable`] for what is no regular file or has a name of the commit's own, and when `out` is no directory any
/// more; those of reading.
pub fn output_files(out: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    walk(
        out,
        |_| Ok(()),
        |file| {
            files.push(file.to_owned());
            Ok(())
        },
    )?;
    files.sort();
    Ok(files)
}

/// Every file below `out`, sorted by path.
///
/// # Errors
/// As [`output_files`], and [`Error::Unpublishable`] for what cannot be read or is still being written.
pub fn measure(out: &Path) -> Result<Vec<Output>, Error> {
    measure_with(out, |_| Ok(()), |_| Ok(()))
}

/// As [`measure`], everything synced to disk with the directories that name it.
pub(super) fn seal(out: &Path) -> Result<Vec<Output>, Error> {
    // A delayed write that failed (a full NFS server, a quota) is told here or never.
    measure_with(out, Dir::sync, File::sync_all)
}

fn measure_with(
    out: &Path,
    directory: impl Fn(&Dir) -> Result<(), Error>,
    file: impl Fn(&File) -> std::io::Result<()>,
) -> Result<Vec<Output>, Error> {
    let mut outputs = Vec::new();
    let mut buffer = vec![0; 256 * 1024];
    walk(out, directory, |relative| {
        outputs.push(measure_file(out, relative, &mut buffer, &file)?);
        Ok(())
    })?;
    outputs.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(outputs)
}

/// Meets each file below `out`, and each directory once all in it were met.
fn walk(
    out: &Path,
    directory: impl Fn(&Dir) -> Result<(), Error>,
    mut file: impl FnMut(&Path) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut todo = vec![PathBuf::new()];
    given(out)?;
    while let Some(relative) = todo.pop() {
        // A slash in the end would follow a link.
        let path = if relative.as_os_str().is_empty() { out.to_owned() } else { out.join(&relative) };
        let dir = Dir::open_itself(&path).map_err(|errno| refused(&path, errno))?;
        let failed = |e| Error::io(format!("list {}", path.display()), e);
        for entry in std::fs::read_dir(&path).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let relative = relative.join(&name);
            if name == MARKER_FILE || name == STAGING_DIR {
                return Err(Error::Unpublishable(format!(
                    "the output holds {}, and {MARKER_FILE} and {STAGING_DIR} are names of the commit's own",
                    relative.display()
                )));
            }
            let failed = |errno| Error::io(format!("look at {}", path.join(&name).display()), errno);
            let Some(stat) = dir.stat(&name).map_err(failed)? else { continue };
            match kind(&stat) {
                FileType::Directory => todo.push(relative),
                FileType::RegularFile => file(&relative)?,
                _ => {
                    return Err(Error::Unpublishable(format!(
                        "the output holds {}, which is {}; only regular files can be published",
                        relative.display(),
                        kind_name(&stat)
                    )));
                }
            }
        }
        directory(&dir)?;
    }
    Ok(())
}

/// That `out` still is the directory the command was given.
fn given(out: &Path) -> Result<(), Error> {
    let what = match rustix::fs::lstat(out) {
        Ok(stat) if kind(&stat) == FileType::Directory => return Ok(()),
        Ok(stat) => format!("{} now", kind_name(&stat)),
        // With the staging directory around it gone it was somebody else, and another attempt may fare better.
        Err(Errno::NOENT) if out.parent().is_some_and(Path::exists) => "gone".to_owned(),
        Err(errno) => return Err(Error::io(format!("look at {}", out.display()), errno)),
    };
    Err(Error::Unpublishable(format!("OUTPUT_DIR is {what}: the command must write into it, not replace it")))
}

fn measure_file(
    out: &Path,
    relative: &Path,
    buffer: &mut [u8],
    sync: impl Fn(&File) -> std::io::Result<()>,
) -> Result<Output, Error> {
    let path = out.join(relative);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = openat(CWD, &path, flags, Mode::empty()).map_err(|errno| refused(&path, errno))?;
    let failed = |e: std::io::Error| Error::io(format!("read {}", path.display()), e);
    let mut file = File::from(fd);
    let mut hasher = Sha256::new();
    let mut size = 0_u64;
    loop {
        match file.read(buffer) {
            Ok(0) => break,
            Ok(n) => {
                hasher.update(buffer.get(..n).unwrap_or_default());
                size += n as u64;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
    sync(&file).map_err(|e| Error::io(format!("sync {}", path.display()), e))?;
    let end = fstat(&file).map_err(|errno| failed(errno.into()))?;
    if u64::try_from(end.st_size) != Ok(size) {
        return Err(Error::Unpublishable(format!(
            "{} changed while it was read: something the command started is still writing to it",
            relative.display()
        )));
    }
    let sha256 = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Output { path: encode_path(relative.as_os_str().as_bytes()), size, sha256 })
}

fn refused(path: &Path, errno: Errno) -> Error {
    match errno {
        Errno::ACCESS | Errno::PERM => {
            Error::Unpublishable(format!("{} was written so that it cannot be read: check its mode", path.display()))
        }
        errno => Error::io(format!("open {}", path.display()), errno),
    }
}
