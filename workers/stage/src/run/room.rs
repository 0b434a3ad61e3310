//! The directories that a command writes to.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sidecar::tree;

use crate::StageDir;
use crate::files::about;

/// Clears away what earlier attempts have left, and makes room for one: an empty directory for its output, one for what it
/// writes meanwhile.
pub(super) fn make(dir: &StageDir, attempt: u32) -> io::Result<()> {
    clear(dir)?;
    remove(&dir.out())?;
    make_empty(dir, attempt)
}

/// The same, if nothing is to be cleared away before; false if something is, which may take its time.
pub(super) fn make_at_once(dir: &StageDir, attempt: u32) -> io::Result<bool> {
    if dir.out().symlink_metadata().is_ok() || !leavings(dir)?.is_empty() {
        return Ok(false);
    }
    make_empty(dir, attempt).map(|()| true)
}

fn make_empty(dir: &StageDir, attempt: u32) -> io::Result<()> {
    for (path, mode) in [(dir.partial(attempt), 0o755), (dir.temporary(), 0o700)] {
        let made = DirBuilder::new().mode(mode).create(&path);
        // The umask has had a word.
        let made = made.and_then(|()| fs::set_permissions(&path, Permissions::from_mode(mode)));
        made.map_err(|error| about(&error, "make", &path))?;
    }
    Ok(())
}

/// Removes what attempts that are over have left beside their output.
pub(super) fn clear(dir: &StageDir) -> io::Result<()> {
    leavings(dir)?.iter().try_for_each(|path| remove(path))
}

/// The same, if that is no more than an empty directory; false if there is more, which may take its time.
pub(super) fn clear_at_once(dir: &StageDir) -> io::Result<bool> {
    let left = leavings(dir)?;
    // Who is not empty stays.
    Ok(left.len() < 2 && left.iter().all(|path| fs::remove_dir(path).is_ok()))
}

/// What attempts leave beside their output: unfinished output and temporary files.
fn leavings(dir: &StageDir) -> io::Result<Vec<PathBuf>> {
    let failed = |error: &io::Error| about(error, "read", dir.path());
    let mut found = Vec::new();
    for entry in dir.path().read_dir().map_err(|error| failed(&error))? {
        let path = entry.map_err(|error| failed(&error))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path == dir.temporary() || (name.starts_with("out.") && name.ends_with(".partial")) {
            found.push(path);
        }
    }
    Ok(found)
}

/// Removes whatever stands at `path`, be it a directory or what a command has put in its place.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let removed = match path.symlink_metadata() {
        Ok(found) if found.is_dir() => tree::remove(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(|error| about(&error, "remove", path)),
    }
}
