//! The directories that a command writes to.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use sidecar::tree;

use crate::StageDir;
use crate::files::about;

/// Clears away what earlier attempts have left, and makes room for one: an empty directory for its output, one for what it
/// writes meanwhile.
pub(super) fn make(dir: &StageDir, attempt: u32) -> io::Result<()> {
    clear(dir)?;
    remove(&dir.out())?;
    for (path, mode) in [(dir.partial(attempt), 0o755), (dir.temporary(), 0o700)] {
        let made = DirBuilder::new().mode(mode).create(&path);
        // The umask has had a word.
        let made = made.and_then(|()| fs::set_permissions(&path, Permissions::from_mode(mode)));
        made.map_err(|error| about(&error, "make", &path))?;
    }
    Ok(())
}

/// Removes what attempts that are over have left beside their output: unfinished output and temporary files.
///
/// # Errors
/// What could not be removed; it is named.
pub fn clear(dir: &StageDir) -> io::Result<()> {
    let failed = |error: &io::Error| about(error, "read", dir.path());
    for entry in dir.path().read_dir().map_err(|error| failed(&error))? {
        let entry = entry.map_err(|error| failed(&error))?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with("out.") && name.ends_with(".partial")) {
            remove(&entry.path())?;
        }
    }
    remove(&dir.temporary())
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
