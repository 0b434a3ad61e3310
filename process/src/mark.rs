//! By what a process is recognised as part of something, whoever its parent is by now.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::table::{self, Row};

/// What descendants inherit and rarely shed. Neither is proof against a process that means to hide; together they find
/// what daemons, shells and interpreters do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// `NAME=VALUE` in the environment it was started with.
    Environment {
        /// The variable's name.
        name: OsString,
        /// Its value, unique to what is marked.
        value: OsString,
    },
    /// An open descriptor of the file at this absolute path (a lock, inherited as stdin).
    OpenFile(PathBuf),
}

impl Mark {
    /// A mark by environment variable.
    pub fn environment(name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        Self::Environment { name: name.as_ref().to_owned(), value: value.as_ref().to_owned() }
    }

    /// A mark by open file.
    ///
    /// # Errors
    /// When the path cannot be resolved; the kernel knows open files by their resolved names.
    pub fn open_file(path: &Path) -> io::Result<Self> {
        path.canonicalize().map(Self::OpenFile)
    }

    /// The pids of the processes that carry it now, this one apart.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn carriers(&self) -> io::Result<Vec<u32>> {
        let me = std::process::id();
        let pids = table::rows()?.into_iter().filter(|row| !row.ended && self.is_on(row));
        Ok(pids.map(|row| row.pid.unsigned_abs()).filter(|pid| *pid != me).collect())
    }

    pub(crate) fn is_on(&self, row: &Row) -> bool {
        match self {
            Self::Environment { name, value } => row.carries(&[name.as_bytes(), b"=", value.as_bytes()].concat()),
            Self::OpenFile(path) => row.holds(path),
        }
    }
}
