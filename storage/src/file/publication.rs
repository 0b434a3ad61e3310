//! The commit of a directory: sealed, judged under the root's lock, and renamed into place.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use contract::{MARKER_FILE, Marker};
use rustix::fs::{AtFlags, RenameFlags, renameat_with, unlinkat};
use rustix::io::Errno;
use sidecar::fault;

use super::dir::{Dir, rename};
use super::judge::judge;
use super::lock::RootLock;
use super::staging::{LOCK, OLD, OUT, Staging, area};
use super::{blocking, walk};
use crate::{BoxFuture, Claim, Committed, Draft, Error, Place, Publication, Standing, Verify, marker_json};

/// A run's output, not visible yet.
#[derive(Debug)]
pub(super) struct FilePublication {
    pub(super) root: PathBuf,
    pub(super) staging: Staging,
    pub(super) claim: Claim,
}

impl Publication for FilePublication {
    fn dir(&self) -> &Path {
        self.staging.out()
    }

    fn commit<'a>(self: Box<Self>, draft: Draft, verify: Verify<'a>) -> BoxFuture<'a, Result<Committed, Error>> {
        Box::pin(async move {
            let (own, marker) = blocking(move || self.seal(draft)).await?;
            let lock = RootLock::take(area(&own.root).join(LOCK)).await?;
            let (own, standing) = blocking(move || {
                let root = own.open_root()?;
                let standing = judge(&root, &own.claim)?;
                Ok((own, standing))
            })
            .await?;
            let committed = match standing {
                Standing::Published(standing) => {
                    let place = own.claim.place.clone();
                    let root = own.root.clone();
                    blocking(move || sync_place(&root, &place)).await?;
                    Committed::Already(standing)
                }
                Standing::Superseded { revision } => Committed::Superseded { revision },
                Standing::Free | Standing::Replaceable => {
                    verify().await?;
                    let replace = standing == Standing::Replaceable;
                    let mut own = own;
                    return blocking(move || {
                        own.take_place(replace, lock)?;
                        own.clean();
                        Ok(Committed::Published(Box::new(marker)))
                    })
                    .await;
                }
            };
            drop(lock);
            blocking(move || {
                own.clean();
                Ok(committed)
            })
            .await
        })
    }
}

impl FilePublication {
    fn open_root(&self) -> Result<Dir, Error> {
        Dir::open(&self.root).map_err(|errno| Error::io(format!("open {}", self.root.display()), errno))
    }

    /// Makes all that was written durable, and last the marker that names it.
    fn seal(self: Box<Self>, draft: Draft) -> Result<(Box<Self>, Marker), Error> {
        let outputs = walk::seal(self.staging.out())?;
        draft.admit(outputs.len())?;
        let marker = self.claim.marker(outputs, draft.result);
        fault::point("worker.marker.before").map_err(Error::fault)?;
        let path = self.staging.out().join(MARKER_FILE);
        let write = || {
            let mut file = File::create_new(&path)?;
            file.write_all(&marker_json(&marker))?;
            file.sync_all()?;
            File::open(self.staging.out())?.sync_all()
        };
        write().map_err(|e| Error::io(format!("write {}", path.display()), e))?;
        fault::point("worker.marker.after").map_err(Error::fault)?;
        Ok((self, marker))
    }

    /// Renames the sealed output into its place and gives the root's lock back.
    fn take_place(&mut self, replace: bool, lock: RootLock) -> Result<(), Error> {
        let root = self.open_root()?;
        let staging = Dir::open(self.staging.path())
            .map_err(|errno| Error::io(format!("open {}", self.staging.path().display()), errno))?;
        let place = self.claim.place.clone();
        let (parents, last) = place.split();
        let mut way = Way::lay(root, &parents)?;
        let taken = if replace { self.exchange(&staging, way.end(), last) } else { move_in(&staging, way.end(), last) };
        if let Err(error) = taken {
            way.retreat(&parents);
            return Err(error);
        }
        drop(lock);
        way.sync()
    }

    /// Puts the output where an older one stands: in one step where the file system has one, otherwise with an instant
    /// in which nothing stands there.
    fn exchange(&mut self, staging: &Dir, parent: &Dir, last: &OsStr) -> Result<(), Error> {
        // Told to fail, this point plays a file system that cannot exchange.
        let offered = fault::point("worker.exchange.before").is_ok();
        let exchanged =
            if offered { renameat_with(staging, OUT, parent, last, RenameFlags::EXCHANGE) } else { Err(Errno::INVAL) };
        match exchanged {
            Ok(()) => {
                fault::point("worker.exchange.after").map_err(Error::fault)?;
                Ok(())
            }
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                fault::point("worker.aside.before").map_err(Error::fault)?;
                self.staging.move_aside(&self.claim.place, parent, last)?;
                let moved = fault::point("worker.aside.after")
                    .map_err(Error::fault)
                    .and_then(|()| move_in(staging, parent, last));
                if moved.is_err() {
                    // Fails when the output did get there; otherwise nothing else can stand there under the lock.
                    let _ = rename(staging, OsStr::new(OLD), parent, last);
                }
                if parent.stat(last).is_ok_and(|stat| stat.is_some()) {
                    self.staging.settled();
                }
                moved
            }
            Err(errno) => Err(renaming(parent, last, errno)),
        }
    }

    /// Removes the staging directory, with whatever was replaced.
    fn clean(self: Box<Self>) {
        if fault::point("worker.clean.before").is_ok() {
            drop(self);
        }
        // Nothing is left to go wrong here: the output is committed.
        let _ = fault::point("worker.clean.after");
    }
}

/// A rename onto nothing or onto an empty directory. It needs no `RENAME_NOREPLACE`, which NFS lacks: rename(2) itself
/// replaces a directory by a directory only when that is empty.
fn move_in(staging: &Dir, parent: &Dir, last: &OsStr) -> Result<(), Error> {
    fault::point("worker.rename.before").map_err(Error::fault)?;
    rename(staging, OsStr::new(OUT), parent, last).map_err(|errno| renaming(parent, last, errno))?;
    fault::point("worker.rename.after").map_err(Error::fault)?;
    Ok(())
}

fn renaming(parent: &Dir, last: &OsStr, errno: Errno) -> Error {
    let path = parent.path().join(last);
    match errno {
        Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR => {
            Error::Taken(format!("{} was taken by something else in this instant", path.display()))
        }
        Errno::XDEV => Error::Unsupported(format!(
            "{} lies on another file system than its output root, so that nothing can be renamed there; make that file \
             system the output root",
            path.display()
        )),
        errno => Error::io(format!("rename the output to {}", path.display()), errno),
    }
}

/// The directories from the root down to where a place is, some of them just made.
struct Way {
    dirs: Vec<Dir>,
    made: usize,
}

impl Way {
    fn lay(root: Dir, parents: &[&OsStr]) -> Result<Self, Error> {
        let mut way = Self { dirs: vec![root], made: 0 };
        for name in parents {
            match way.end().child_or_create(name) {
                Ok((dir, made)) => {
                    way.dirs.push(dir);
                    way.made += usize::from(made);
                }
                Err(errno) => {
                    let error = Error::io(format!("create {}", way.end().path().join(name).display()), errno);
                    way.retreat(parents);
                    return Err(error);
                }
            }
        }
        Ok(way)
    }

    fn end(&self) -> &Dir {
        self.dirs.last().expect("it begins with the root")
    }

    /// Removes the directories that were made for nothing.
    fn retreat(&mut self, parents: &[&OsStr]) {
        while self.made > 0 && self.dirs.len() > 1 {
            self.dirs.pop();
            self.made -= 1;
            let Some(name) = parents.get(self.dirs.len() - 1) else { return };
            if unlinkat(self.end(), *name, AtFlags::REMOVEDIR).is_err() {
                return;
            }
        }
    }

    /// Makes the new name durable, and those of the directories made for it.
    fn sync(&self) -> Result<(), Error> {
        self.dirs.iter().rev().take(self.made + 1).try_for_each(Dir::sync)
    }
}

/// Makes the name of an output durable that another attempt put there, perhaps an instant before it died.
pub(super) fn sync_place(root: &Path, place: &Place) -> Result<(), Error> {
    let path = root.join(place.as_path());
    let parents = path.ancestors().skip(1).take_while(|above| above.starts_with(root));
    for parent in parents {
        Dir::open(parent).map_err(|errno| Error::io(format!("open {}", parent.display()), errno))?.sync()?;
    }
    Ok(())
}
