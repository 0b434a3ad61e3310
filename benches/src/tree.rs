//! Folders of many files, as they are met: a thousand to a directory, two levels deep, each with a size of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::fs::{CWD, Mode, OFlags, ftruncate, mkdirat, openat};

/// Files per directory.
const PER_DIRECTORY: usize = 1_000;
/// How long after the last change a file may be taken for whole at sight: the ambassador's own default, and a bit.
const REST: Duration = Duration::from_secs(11);

/// A folder of so many files below `scratch`, made if it is not there yet, whose files have rested.
///
/// # Errors
/// The system's.
pub(crate) fn of(scratch: &Path, files: usize) -> Result<PathBuf> {
    let root = scratch.join(format!("tree-{files}"));
    if root.exists() {
        return Ok(root);
    }
    let unfinished = scratch.join(format!("making-{files}"));
    fs::create_dir(&unfinished).with_context(|| format!("make {}", unfinished.display()))?;
    for first in (0..files).step_by(PER_DIRECTORY) {
        let name = unfinished.join(format!("camera-{:04}", first / PER_DIRECTORY));
        mkdirat(CWD, &name, Mode::RWXU).with_context(|| format!("make {}", name.display()))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = openat(CWD, &name, flags, Mode::empty()).with_context(|| format!("open {}", name.display()))?;
        for n in first..files.min(first + PER_DIRECTORY) {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let file = openat(&dir, format!("clip-{n:07}.mp4"), flags, Mode::RUSR | Mode::WUSR);
            // A size without blocks: what is measured is names and sizes, not content.
            file.and_then(|file| ftruncate(&file, 1 + n as u64)).with_context(|| format!("make file {n}"))?;
        }
    }
    rustix::fs::sync();
    thread::sleep(REST);
    fs::rename(&unfinished, &root).with_context(|| format!("finish {}", root.display()))?;
    Ok(root)
}
