//! Settling: a file is renamed aside into a private directory beside it, looked at there, where nobody else will replace
//! it, and only then deleted or moved away; or put back, if it is not the version that was meant.

mod archive;
mod aside;
mod preflight;

pub(crate) use aside::{is_aside, recover};
pub(crate) use preflight::preflight;

use std::io;
use std::path::PathBuf;

use rustix::fs::{AtFlags, unlinkat};
use sidecar::fault;

use self::archive::Archive;
use self::aside::Aside;
use crate::jail::{Dir, Jail, Kind, Sight, is_absence, split};
use crate::quiet::{self, Writers};
use crate::stamp::Stamp;

/// What to do with the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Delete it.
    Delete,
    /// Move it below this directory, keeping its path.
    Move(PathBuf),
}

/// An action whose means are at hand, so that nothing is taken aside in vain.
enum End {
    Delete,
    Archive(Archive),
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// The file is gone from where it was.
    Acted,
    /// Another version is there, or one in the making; it was left alone.
    Superseded,
    /// There was nothing.
    Absent,
}

/// Settles the file that lies at `key`, if it is of this version.
///
/// # Errors
/// The system's. The file is where it was then, or aside, from where the next scan puts it back.
pub(crate) fn settle(jail: &Jail, key: &[u8], version: Stamp, action: &Action) -> io::Result<Settled> {
    let (path, name) = split(key);
    let (dir, before) = match jail.dir(path).and_then(|dir| dir.look(name, true).map(|sight| (dir, sight))) {
        Ok(found) => found,
        Err(error) if is_absence(error) => return Ok(Settled::Absent),
        Err(error) => return Err(error.into()),
    };
    // A link stands for what it points to, but it is the link that is settled.
    let content = if before.kind == Kind::Link { jail.follow(key).unwrap_or(before) } else { before };
    if content.kind != Kind::File || Stamp::from(content.version) != version {
        return Ok(Settled::Superseded);
    }
    let end = match action {
        Action::Delete => End::Delete,
        Action::Move(base) => End::Archive(Archive::open(base, path, key)?),
    };
    let aside = Aside::make(&dir)?;
    fault::point("files.settle.aside.before")?;
    match aside.take(name) {
        Ok(()) => {}
        Err(error) if is_absence(error) => return Ok(Settled::Absent),
        Err(error) => return Err(error.into()),
    }
    let acted = finish(&aside, name, &before, &end);
    if !matches!(acted, Ok(Settled::Acted)) {
        aside.put_back(name)?;
    }
    acted
}

/// Acts on what was taken aside, if it is what was seen before.
fn finish(aside: &Aside<'_>, name: &[u8], before: &Sight, end: &End) -> io::Result<Settled> {
    fault::point("files.settle.aside.after")?;
    if !is_still(aside.dir(), name, before)? {
        return Ok(Settled::Superseded);
    }
    fault::point("files.settle.finish.before")?;
    match end {
        End::Delete => unlinkat(aside.dir(), name, AtFlags::empty())?,
        End::Archive(archive) => archive.take(aside.dir(), name)?,
    }
    // From here on nothing may fail: the file is settled.
    let _ = fault::point("files.settle.finish.after");
    Ok(Settled::Acted)
}

/// Whether what was taken aside is what was seen before, and nobody is writing it.
fn is_still(aside: &Dir, name: &[u8], before: &Sight) -> io::Result<bool> {
    if !aside.look(name, true)?.same_file(before) {
        return Ok(false);
    }
    if before.kind != Kind::File || !quiet::is_local(aside) {
        return Ok(true);
    }
    // A file that may not be read can still be settled.
    let Ok(file) = aside.open_file(name) else { return Ok(true) };
    Ok(quiet::writers(file) != Writers::Some)
}
