//! A look at one file: is it an item, is it whole, and what does the catalog say of it from now on.

use std::io::Write;
use std::time::{Instant, SystemTime};

use ambassador_kit::Unnameable;
use ambassador_kit::catalog::{Known, Listing};
use contract::{FileVersion, ItemName};
use rustix::io::Errno;
use tracing::debug;

use super::Keeper;
use crate::args::{Identity, Settings};
use crate::jail::{Dir, Jail, Kind, Sight, is_absence, split};
use crate::quiet::{self, Writers};
use crate::reason::Reason;
use crate::stamp::Stamp;

/// Why a file is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// A scan met it.
    Scan,
    /// A timer: it may have rested long enough.
    Due,
    /// Something about it changed.
    Hint,
    /// It was closed by a writer, or moved here.
    Finished,
    /// It was written.
    Written,
}

/// Whether it is whole.
enum Proof {
    Writers(Writers),
    Changed(Sight),
    Gone,
    Unreadable(Errno),
}

impl Keeper {
    /// Finds the file by its key and looks at it.
    pub(super) fn look_by_key(&mut self, jail: &Jail, key: &[u8], cause: Cause) {
        self.disturb(key, cause);
        if cause == Cause::Written && !matches!(self.shared.catalog.look(key), Some(Known::Listed(_))) {
            // It is waited for already, or no item.
            return;
        }
        let (path, name) = split(key);
        match jail.dir(path) {
            Ok(dir) => {
                let local = self.is_local(&dir);
                if let Some(marked) = self.shared.settings.filter.marked_by(name) {
                    let marked = [path, if path.is_empty() { b"" } else { b"/" }, marked].concat();
                    self.look(jail, &dir, local, &marked, None, Cause::Hint);
                }
                self.look(jail, &dir, local, key, None, cause);
            }
            Err(error) if is_absence(error) => self.forget(key),
            Err(error) => self.cannot_see(key, error),
        }
    }

    /// Looks at the entry of `dir` that `key` names, of this kind as far as the directory told.
    pub(super) fn look(&mut self, jail: &Jail, dir: &Dir, local: bool, key: &[u8], kind: Option<Kind>, cause: Cause) {
        self.shared.vitals.answered();
        self.disturb(key, cause);
        let (_, name) = split(key);
        if cause == Cause::Scan
            && kind.is_some()
            && let Err(reason) = self.shared.settings.filter.file(key)
        {
            return self.withhold(key, &reason);
        }
        // What waits must be seen as the server has it, not as a cache remembers it.
        let fresh = !local && cause != Cause::Scan;
        let sight = match dir.look(name, fresh) {
            Ok(sight) => sight,
            Err(error) if is_absence(error) => return self.forget(key),
            Err(error) => return self.cannot_see(key, error),
        };
        self.judge(jail, dir, local, key, sight, cause);
    }

    /// What was found out about a file by looking at it.
    pub(super) fn judge(&mut self, jail: &Jail, dir: &Dir, local: bool, key: &[u8], sight: Sight, cause: Cause) {
        match sight.kind {
            Kind::Directory => {
                self.forget(key);
            }
            _ if self.shared.settings.filter.file(key).is_err() => {
                let reason = self.shared.settings.filter.file(key).expect_err("just looked");
                self.withhold(key, &reason);
            }
            Kind::File => self.consider(jail, dir, local, key, sight, cause),
            Kind::Link => self.resolve(jail, dir, local, key, cause),
            Kind::Other => self.withhold(key, &Reason::NotAFile),
        }
    }

    fn resolve(&mut self, jail: &Jail, dir: &Dir, local: bool, key: &[u8], cause: Cause) {
        let reason = match jail.follow(key) {
            Ok(sight) => match sight.kind {
                Kind::File => return self.consider(jail, dir, local, key, sight, cause),
                Kind::Directory => Reason::Symlink { what: "to a directory, and directories are not entered that way" },
                Kind::Link | Kind::Other => Reason::Symlink { what: "to something that is no regular file" },
            },
            Err(Errno::XDEV) => Reason::OutsideRoot,
            Err(Errno::LOOP) => Reason::Symlink { what: "that leads back to itself" },
            Err(Errno::NOENT | Errno::NOTDIR) => Reason::Symlink { what: "to nothing" },
            Err(error) => return self.cannot_see(key, error),
        };
        self.withhold(key, &reason);
    }

    /// A regular file whose name is right: list it, if it is whole.
    fn consider(&mut self, jail: &Jail, dir: &Dir, local: bool, key: &[u8], sight: Sight, cause: Cause) {
        let settings = std::sync::Arc::clone(&self.shared.settings);
        if let Err(reason) = settings.filter.size(sight.version.size) {
            return self.withhold(key, &reason);
        }
        let stamp = Stamp::from(sight.version);
        let disproved = cause == Cause::Written && self.fast.contains_key(key);
        if !disproved && self.shared.catalog.confirm(key, |listed| *listed == stamp) {
            // Permissions are no part of a version: they are what may have changed about it.
            if cause == Cause::Hint
                && let Proof::Unreadable(error) = prove(jail, dir, false, key, &sight)
            {
                self.cannot_see(key, error);
            }
            return;
        }
        if self.shared.remembered.stays(key, stamp) {
            return self.withhold(key, &Reason::DeadLetter);
        }
        let marked = match settings.filter.done_marker(split(key).1) {
            None => false,
            Some(marker) => match dir.look(&marker, !local) {
                Ok(_) => true,
                Err(error) if is_absence(error) => {
                    let marker = String::from_utf8_lossy(&marker).into_owned();
                    return self.withhold(key, &Reason::NoDoneMarker { marker });
                }
                Err(error) => return self.cannot_see(key, error),
            },
        };
        let mut rest = self.resting.look(key, &sight, Instant::now());
        if self.fast.remove(key).is_some() {
            self.resting.distrust(key);
            rest.trusted = false;
        }
        let evident = local && rest.trusted && self.is_evident(&sight, cause);
        if !(rest.over || evident || marked) {
            return self.hold(key, &rest.reason);
        }
        match prove(jail, dir, local, key, &sight) {
            Proof::Writers(Writers::None) => self.list(key, sight.version, cause == Cause::Finished),
            Proof::Writers(Writers::Some) if !marked => self.hold(key, &Reason::OpenForWriting),
            Proof::Writers(_) if rest.over || marked => self.list(key, sight.version, false),
            Proof::Writers(_) => self.hold(key, &rest.reason),
            Proof::Changed(sight) => {
                let rest = self.resting.look(key, &sight, Instant::now());
                self.hold(key, &rest.reason);
            }
            Proof::Gone => self.forget(key),
            Proof::Unreadable(error) => self.cannot_see(key, error),
        }
    }

    /// Whether, on a file system of this machine and if nobody has it open for writing, the file may be taken for whole
    /// without waiting: its writer just closed it or moved it here (an empty one is often only a beginning), or it has not
    /// changed for long enough by the clock that stamps it, which is our own.
    fn is_evident(&self, sight: &Sight, cause: Cause) -> bool {
        (cause == Cause::Finished && sight.version.size > 0)
            || quiet::has_rested(sight, self.shared.settings.when.stable_for, SystemTime::now())
    }

    fn list(&mut self, key: &[u8], version: FileVersion, just_finished: bool) {
        let name = match name_of(&self.shared.settings, key, version) {
            Ok(name) => name,
            Err(why) => return self.withhold(key, &Reason::Unnameable { why }),
        };
        self.resting.drop(key);
        if just_finished {
            self.fast.insert(key.into(), Instant::now());
        }
        if self.shared.catalog.list(key, &name, version.into()) == Listing::Listed {
            debug!(%name, key = %String::from_utf8_lossy(key), "listed");
            self.shared.remembered.turned_up(&name);
        }
    }

    /// Withholds a file that is waited for.
    fn hold(&mut self, key: &[u8], reason: &Reason) {
        let why = self.whys.of(reason);
        self.shared.catalog.withhold(key, why);
    }

    /// Withholds something that is not waited for.
    pub(super) fn withhold(&mut self, key: &[u8], reason: &Reason) {
        self.resting.drop(key);
        self.fast.remove(key);
        if self.tally.hold(reason) {
            self.hold(key, reason);
        }
        if reason.obscures() {
            self.shared.metrics.errors.inc();
            self.shared.catalog.set_complete(false);
        }
    }

    fn forget(&mut self, key: &[u8]) {
        self.resting.drop(key);
        self.fast.remove(key);
        self.shared.catalog.forget(key);
    }

    /// It is there, or may be: an item that was listed stays, since not to see is not to know, unless it plainly may not be
    /// read by us.
    fn cannot_see(&mut self, key: &[u8], error: Errno) {
        let listed = matches!(self.shared.catalog.look(key), Some(Known::Listed(_)));
        // It may be a directory: not every file system tells, and then what lies in it is as unknown.
        self.tally.unknown(key);
        if listed && !matches!(error, Errno::ACCESS | Errno::PERM) {
            debug!(key = %String::from_utf8_lossy(key), %error, "cannot be seen now");
            self.shared.metrics.errors.inc();
            self.shared.catalog.set_complete(false);
        } else {
            self.withhold(key, &Reason::Unreadable { error });
        }
    }

    pub(super) fn is_local(&mut self, dir: &Dir) -> bool {
        *self.locality.entry(dir.sight().device).or_insert_with(|| quiet::is_local(dir))
    }
}

/// The name of this version of the file, if it has one.
pub(super) fn name_of(settings: &Settings, key: &[u8], version: FileVersion) -> Result<ItemName, Unnameable> {
    // Long enough for the greatest of both numbers.
    let (mut text, mut used) = ([0; 64], 0);
    if settings.identity == Identity::Version {
        let mut rest = &mut text[..];
        write!(rest, "{version}").expect("a version is shorter than that");
        used = 64 - rest.len();
    }
    settings.names.of(settings.source_id.as_bytes(), key, text.get(..used).unwrap_or_default())
}

/// Opens the file as a worker would, and asks who else has it open.
fn prove(jail: &Jail, dir: &Dir, local: bool, key: &[u8], sight: &Sight) -> Proof {
    let opened = dir.open_file(split(key).1).or_else(|error| match error {
        // A link, then; it stays beneath the root or is refused.
        Errno::LOOP => jail.open_file(key),
        error => Err(error),
    });
    let file = match opened {
        Ok(file) => file,
        Err(error) if is_absence(error) => return Proof::Gone,
        Err(error) => return Proof::Unreadable(error),
    };
    match Sight::of(&file) {
        Ok(now) if !now.same_file(sight) => Proof::Changed(now),
        Ok(_) if local => Proof::Writers(quiet::writers(file)),
        Ok(_) => Proof::Writers(Writers::Unknown),
        Err(error) => Proof::Unreadable(error),
    }
}
