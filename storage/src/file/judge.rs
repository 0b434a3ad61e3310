//! What stands at a place, seen with a claim's eyes.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use contract::item::decode_path;
use contract::{MARKER_FILE, Marker};
use rustix::fs::{FileType, Mode, OFlags, openat};
use rustix::io::Errno;

use super::dir::{Dir, kind, kind_name};
use crate::{Claim, Error, Regard, Standing};

/// Judges `claim.place` below `root`. Authoritative while the root's lock is held; a good guess otherwise.
///
/// # Errors
/// [`Error::Taken`] when anything else than nothing, an empty directory, or output of the claim's own key is there, or when
/// an item above has its output there.
pub(super) fn judge(root: &Dir, claim: &Claim) -> Result<Standing, Error> {
    let (parents, last) = claim.place.split();
    let mut dir = None;
    for name in parents {
        let above = dir.as_ref().unwrap_or(root);
        refuse_nesting(above, claim)?;
        match child(above, name)? {
            Some(next) => dir = Some(next),
            None => return Ok(Standing::Free),
        }
    }
    let above = dir.as_ref().unwrap_or(root);
    refuse_nesting(above, claim)?;
    match child(above, last)? {
        Some(own) => standing(&own, claim),
        None => Ok(Standing::Free),
    }
}

fn refuse_nesting(dir: &Dir, claim: &Claim) -> Result<(), Error> {
    match dir.stat(MARKER_FILE).map_err(|errno| io(dir.path(), errno))? {
        None => Ok(()),
        Some(_) => Err(Error::Taken(format!(
            "{} is itself the output of an item ({MARKER_FILE} stands there), so {} cannot have its output below it; \
             choose an --output that keeps them apart",
            dir.path().display(),
            claim.item.key
        ))),
    }
}

fn child(dir: &Dir, name: &OsStr) -> Result<Option<Dir>, Error> {
    let path = dir.path().join(name);
    match dir.child(name) {
        Ok(child) => Ok(child),
        Err(Errno::NOTDIR | Errno::LOOP) => {
            let what = dir.stat(name).ok().flatten().map_or("no directory", |stat| kind_name(&stat));
            Err(Error::Taken(format!("{} is {what}, where a directory is needed; move it away", path.display())))
        }
        Err(Errno::NAMETOOLONG) => Err(Error::Taken(format!("{} is longer than a path can be", path.display()))),
        Err(errno) => Err(io(&path, errno)),
    }
}

fn standing(own: &Dir, claim: &Claim) -> Result<Standing, Error> {
    let Some(marker) = read_marker(own)? else {
        if is_empty(own)? {
            return Ok(Standing::Free);
        }
        return Err(Error::Taken(format!(
            "{} holds files that are no item's output, or outputs of items below it; move them away, or choose another \
             --output",
            own.path().display()
        )));
    };
    Ok(match claim.regard(&marker, &own.path().display())? {
        Regard::Same if is_whole(own, &marker)? => Standing::Published(Box::new(marker)),
        Regard::Same | Regard::Older => Standing::Replaceable,
        Regard::Newer { revision } => Standing::Superseded { revision },
    })
}

fn read_marker(own: &Dir) -> Result<Option<Marker>, Error> {
    let path = own.path().join(MARKER_FILE);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match openat(own, MARKER_FILE, flags, Mode::empty()) {
        Ok(fd) => std::fs::File::from(fd),
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP) => return Err(unreadable(&path, "it is a symbolic link")),
        Err(errno) => return Err(io(&path, errno)),
    };
    let mut json = Vec::new();
    (&file).read_to_end(&mut json).map_err(|e| Error::io(format!("read {}", path.display()), e))?;
    serde_json::from_slice(&json).map(Some).map_err(|error| unreadable(&path, error))
}

fn unreadable(path: &Path, why: impl std::fmt::Display) -> Error {
    Error::Taken(format!(
        "{} cannot be read as a marker ({why}), so nobody can tell whose output this is; move the directory away and run the \
         item again",
        path.display()
    ))
}

fn is_empty(dir: &Dir) -> Result<bool, Error> {
    let entries = rustix::fs::Dir::read_from(dir).map_err(|errno| io(dir.path(), errno))?;
    for entry in entries {
        let entry = entry.map_err(|errno| io(dir.path(), errno))?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether all that a marker names is there with the sizes it names.
fn is_whole(own: &Dir, marker: &Marker) -> Result<bool, Error> {
    for output in &marker.outputs {
        let bytes = decode_path(&output.path);
        let path = Path::new(OsStr::from_bytes(&bytes));
        if !path.components().all(|component| matches!(component, Component::Normal(_))) {
            return Ok(false);
        }
        let there = match own.stat(path) {
            Ok(stat) => stat.is_some_and(|stat| {
                kind(&stat) == FileType::RegularFile && u64::try_from(stat.st_size) == Ok(output.size)
            }),
            Err(Errno::NOTDIR) => false,
            Err(errno) => return Err(io(&own.path().join(path), errno)),
        };
        if !there {
            return Ok(false);
        }
    }
    Ok(true)
}

fn io(path: &Path, errno: Errno) -> Error {
    Error::io(format!("look at {}", path.display()), errno)
}
