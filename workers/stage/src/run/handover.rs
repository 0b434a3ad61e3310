//! What a command wrote becomes what others read: looked through, made readable for every user, and shown by one rename.

use std::fs::{self, DirEntry, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use rustix::io::Errno;
use sidecar::fault;

use crate::StageDir;
use crate::protocol::Outputs;

use super::room;

/// Everybody may read a file, and enter a directory.
const FILE: u32 = 0o444;
const DIRECTORY: u32 = 0o555;

/// Why output cannot be handed over.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// It is of the command's making, and the same will happen again.
    #[error("{} cannot be handed over: {why}", .path.display())]
    Unusable { path: PathBuf, why: String },
    /// The machine failed.
    #[error("cannot hand over {}: {source}", .path.display())]
    Machine { path: PathBuf, source: io::Error },
}

/// The most files that are looked through where somebody waits.
const FEW: usize = 64;

/// Whether there is so little to hand over that it takes no time to speak of: a few files, and nothing to be removed before.
pub(super) fn is_little(dir: &StageDir, attempt: u32) -> bool {
    let Ok(entries) = dir.partial(attempt).read_dir() else { return false };
    let is_file =
        |entry: io::Result<DirEntry>| entry.and_then(|entry| entry.file_type()).is_ok_and(|kind| kind.is_file());
    entries.take(FEW + 1).map(is_file).enumerate().all(|(n, is_file)| is_file && n < FEW)
        && dir.out().symlink_metadata().is_err()
}

/// Hands over what attempt `attempt` wrote. Nothing of the command may run any more.
pub(super) fn hand_over(dir: &StageDir, attempt: u32) -> Result<Outputs, Refusal> {
    let (from, to) = (dir.partial(attempt), dir.out());
    let machine = |path: &Path, source| Refusal::Machine { path: path.to_owned(), source };
    match from.symlink_metadata() {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Err(unusable(&from, "OUTPUT_DIR is no directory any more")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(unusable(&from, "the command has removed or renamed OUTPUT_DIR"));
        }
        Err(error) => return Err(classed(&from, error)),
    }
    let outputs = open_up(&from)?;
    fault::point("stage.handover.before").map_err(|error| machine(&from, error))?;
    // Of an earlier attempt whose result nobody heard.
    room::remove(&to).map_err(|error| machine(&to, error))?;
    fs::rename(&from, &to).map_err(|error| machine(&from, error))?;
    fault::point("stage.handover.after").map_err(|error| machine(&to, error))?;
    Ok(outputs)
}

/// Makes everything below `top` readable for all, and refuses what cannot be read by others or leads them elsewhere.
fn open_up(top: &Path) -> Result<Outputs, Refusal> {
    let mut outputs = Outputs::default();
    allow(top, DIRECTORY)?;
    let home = top.canonicalize().map_err(|error| classed(top, error))?;
    let mut todo = vec![top.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in dir.read_dir().map_err(|error| classed(&dir, error))? {
            let path = entry.map_err(|error| classed(&dir, error))?.path();
            let found = path.symlink_metadata().map_err(|error| classed(&path, error))?;
            let kind = found.file_type();
            if kind.is_dir() {
                allow(&path, DIRECTORY)?;
                todo.push(path);
            } else if kind.is_file() {
                // Whoever may execute it is not only its owner.
                let executable = if found.mode() & 0o111 == 0 { 0 } else { 0o111 };
                allow(&path, FILE | executable)?;
                outputs.files += 1;
                outputs.bytes += found.len();
            } else if kind.is_symlink() {
                stays_within(&path, top, &home)?;
            } else {
                let name = match () {
                    () if kind.is_fifo() => "a pipe",
                    () if kind.is_socket() => "a socket",
                    () => "a device",
                };
                return Err(unusable(&path, &format!("it is {name}; leave files, directories and links to them")));
            }
        }
    }
    Ok(outputs)
}

/// Adds what is missing of `bits` to a mode.
fn allow(path: &Path, bits: u32) -> Result<(), Refusal> {
    let mode = path.symlink_metadata().map_err(|error| classed(path, error))?.mode();
    if mode & bits == bits {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(mode & 0o7777 | bits)).map_err(|error| {
        if error.kind() == io::ErrorKind::PermissionDenied {
            let why = format!(
                "other containers cannot read it (mode {:o}), and it belongs to another user, so that its mode cannot be changed",
                mode & 0o7777
            );
            unusable(path, &why)
        } else {
            classed(path, error)
        }
    })
}

/// A link is read in another container, with what that may read: it must lead to something in the output, by a way that never
/// leaves it.
fn stays_within(link: &Path, top: &Path, home: &Path) -> Result<(), Refusal> {
    let target = fs::read_link(link).map_err(|error| classed(link, error))?;
    let leads_out = |why: &str| Err(unusable(link, &format!("it is a link to {}, {why}", target.display())));
    let mut depth = link.parent().and_then(|dir| dir.strip_prefix(top).ok()).map_or(0, |dir| dir.components().count());
    for component in target.components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return leads_out("which is outside of OUTPUT_DIR; copy what it points at, or link to it relatively");
            }
        }
    }
    match link.canonicalize() {
        Ok(real) if real.starts_with(home) => Ok(()),
        Ok(_) => leads_out("which is outside of OUTPUT_DIR; copy what it points at"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => leads_out("and nothing is there"),
        Err(error) => Err(classed(link, error)),
    }
}

fn unusable(path: &Path, why: &str) -> Refusal {
    Refusal::Unusable { path: path.to_owned(), why: why.to_owned() }
}

/// Whether it would happen again.
fn classed(path: &Path, source: io::Error) -> Refusal {
    let of_the_machine = [Errno::NOSPC, Errno::DQUOT, Errno::IO, Errno::ROFS, Errno::NOMEM, Errno::MFILE, Errno::NFILE];
    if Errno::from_io_error(&source).is_some_and(|errno| of_the_machine.contains(&errno)) {
        Refusal::Machine { path: path.to_owned(), source }
    } else {
        unusable(path, &source.to_string())
    }
}

#[cfg(test)]
mod tests;
