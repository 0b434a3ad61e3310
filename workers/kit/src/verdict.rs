//! What errors are to a worker: an exit code, a word, a line.

use std::io;
use std::path::Path;

use contract::exit;
use rustix::fs::statvfs;
use sidecar::chain;
use storage::{Error, InvalidPlace};

use crate::JobError;
use crate::template::{Misplaced, Template};

/// Less room than this on a disk that something failed on, in bytes, is why it failed.
const NO_ROOM: u64 = 64 * 1024;

/// The place is another item's.
pub(crate) const OUTPUT_TAKEN: &str = "OutputTaken";
/// The place is somebody's, and nobody can tell whose.
pub(crate) const MARKER_UNREADABLE: &str = "MarkerUnreadable";

/// What a store's error is. [`Error::Changed`] is an outcome and not an error; where nobody made it one it is temporary.
pub(crate) fn storage(error: Error) -> JobError {
    let message = chain(&error);
    let (code, reason) = match &error {
        Error::Invalid(_) => (exit::BAD_ITEM, "BadItem"),
        Error::Forbidden(_) => (exit::FORBIDDEN, "Forbidden"),
        Error::Expired(_) => (exit::TEMPORARY, "UrlExpired"),
        Error::NotFound(_) => (exit::NO_INPUT, "InputMissing"),
        Error::Changed { .. } => (exit::TEMPORARY, "InputChanged"),
        Error::Taken(_) => (exit::CANT_CREATE, OUTPUT_TAKEN),
        // To be tried again is of no use before somebody lets it be read.
        Error::Unreadable(_) => (exit::CANT_CREATE, MARKER_UNREADABLE),
        Error::Unpublishable(_) => (exit::CANT_CREATE, "OutputInvalid"),
        Error::Unavailable { .. } => (exit::UNAVAILABLE, "StorageUnavailable"),
        Error::Busy(_) => (exit::TEMPORARY, "Busy"),
        Error::Io { doing, source } => return JobError::io(doing, source, ""),
        Error::Unsupported(_) => (exit::CONFIG, "Unsupported"),
    };
    JobError::new(code, reason, message)
}

impl JobError {
    /// What a failure of local input or output is: `doing` says at what, `hint` what may help.
    pub(crate) fn io(doing: &str, error: &io::Error, hint: &str) -> Self {
        let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let reason = if full { "DiskFull" } else { "IoError" };
        Self::new(exit::IO, reason, format!("cannot {doing}: {error}{hint}"))
    }
}

/// What it is that an item can have no output: it asks for something it may not touch, or for something that cannot exist.
pub(crate) fn place(error: &Misplaced, output: &Template) -> JobError {
    let (code, reason) = match error {
        Misplaced::Place(InvalidPlace::LeadsOut { .. } | InvalidPlace::Reserved { .. }) => {
            (exit::FORBIDDEN, "Forbidden")
        }
        Misplaced::Place(InvalidPlace::Nul { .. }) => (exit::BAD_ITEM, "BadItem"),
        Misplaced::Place(InvalidPlace::TooLong { .. } | InvalidPlace::Empty) | Misplaced::NoPath { .. } => {
            (exit::CANT_CREATE, "OutputInvalid")
        }
    };
    let error = JobError::new(code, reason, format!("the item can have no output below {}: {error}", output.root));
    if output.takes_every_key() { error } else { error.with_hint("an --output with {name} alone takes every key") }
}

/// What a job's error is, once it is known which codes mean "hopeless" and whether a disk is full.
pub(crate) fn job(mut error: JobError, permanent: &[u8], disks: &[&Path]) -> JobError {
    if let Some(code) = error.command_code
        && permanent.iter().any(|hopeless| i32::from(*hopeless) == code)
    {
        error.code = exit::BAD_ITEM;
        error.reason = "CommandGaveUp";
        error.message.push_str(", which --permanent-exit names: this item is hopeless");
        return error;
    }
    // A command that was told to stop, or never ran, did not fail for want of room.
    if error.command_code.is_none() && error.code != exit::BAD_ITEM && error.code != exit::CANT_CREATE {
        return error;
    }
    match disks.iter().find(|disk| is_full(disk)) {
        Some(disk) => {
            error.code = exit::IO;
            error.reason = "DiskFull";
            error.message.push_str(&format!("; {} lies on a disk that is full", disk.display()));
            error
        }
        None => error,
    }
}

fn is_full(path: &Path) -> bool {
    statvfs(path).is_ok_and(|disk| {
        let room = disk.f_bavail.saturating_mul(disk.f_frsize) < NO_ROOM;
        // Some file systems make inodes as they need them, and count none.
        let inodes = disk.f_files > 0 && disk.f_favail == 0;
        room || inodes
    })
}
