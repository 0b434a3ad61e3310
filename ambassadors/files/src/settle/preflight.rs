//! Whether settling could work at all, found out without changing anything.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::args::{OnSettle, Settings};

/// Why no file could be settled.
#[derive(Debug, thiserror::Error)]
#[error("{flag} needs a directory that this program may write to, and {} is none", path.display())]
pub(crate) struct Unsettled {
    flag: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Looks at the root, where files are taken aside, and at where they go.
///
/// # Errors
/// Names the flag, and the directory that stands in the way.
pub(crate) fn preflight(settings: &Settings) -> Result<(), Unsettled> {
    let archive = match &settings.on_settle {
        OnSettle::None => return Ok(()),
        OnSettle::Delete => None,
        OnSettle::Move(dir) => Some(dir.as_path()),
    };
    writable("--on-settle", &settings.root)?;
    archive.map_or(Ok(()), |dir| writable("--on-settle", dir))?;
    settings.dead_letter.as_deref().map_or(Ok(()), |dir| writable("--dead-letter", dir))
}

/// Whether `dir`, or what is there of the way to it, is a directory that can be written to.
fn writable(flag: &'static str, dir: &Path) -> Result<(), Unsettled> {
    for path in dir.ancestors() {
        let looked = path.metadata().and_then(|found| {
            if !found.is_dir() {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            Ok(access(path, Access::WRITE_OK | Access::EXEC_OK)?)
        });
        match looked {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(Unsettled { flag, path: path.to_owned(), source }),
        }
    }
    Ok(())
}
