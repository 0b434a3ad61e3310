//! Reading the folder, whole or a part of it, one directory after another and none through a link.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tracing::{info, warn};

use super::Keeper;
use super::look::Cause;
use crate::jail::{Dir, Jail, Kind, RootError, is_absence, split};
use crate::reason::Reason;
use crate::settle;

/// How many withheld entries are held one by one, of those that will not be listed by themselves.
const HELD: u64 = 100_000;
/// Entries between two looks at what inotify has to tell.
const PUMP: u64 = 1_024;
/// Longer than any scan takes.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// What a scan has met so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    entries: u64,
    held: u64,
    not_held: u64,
    /// Directories that inotify does not watch and should.
    unwatched: u64,
    obscured: bool,
    /// Why the root's own entries could not be read.
    root_error: Option<Errno>,
    /// Keys and directories that may be there and could not be seen.
    unknown: HashSet<Box<[u8]>>,
}

impl Tally {
    /// Whether there is room to hold one more of these.
    pub(super) fn hold(&mut self, reason: &Reason) -> bool {
        self.obscured |= reason.obscures();
        if reason.pending() || reason.obscures() {
            return true;
        }
        if self.held < HELD {
            self.held += 1;
            return true;
        }
        self.not_held += 1;
        false
    }

    pub(super) fn unknown(&mut self, key: &[u8]) {
        self.unknown.insert(key.into());
    }

    fn saw_all(&self) -> bool {
        !self.obscured && self.unknown.is_empty()
    }

    /// Whether `key`, or a directory it lies in, could not be seen.
    fn hides(&self, key: &[u8]) -> bool {
        if self.unknown.is_empty() {
            return false;
        }
        let above = key.iter().enumerate().filter(|(_, b)| **b == b'/').filter_map(|(at, _)| key.get(..at));
        self.unknown.contains(&b""[..])
            || self.unknown.contains(key)
            || above.into_iter().any(|dir| self.unknown.contains(dir))
    }
}

/// A directory still to be read.
struct Ahead {
    path: Box<[u8]>,
    /// The mount its parent lies on.
    above: Option<u64>,
}

impl Keeper {
    /// Reads the whole folder.
    pub(super) fn scan(&mut self) {
        let began = Instant::now();
        let vitals = Arc::clone(&self.shared.vitals);
        let _working = vitals.work();
        let Some(jail) = self.open() else { return };
        self.ensure_watch();
        // Whatever asks for a scan from here on asks for another than this one.
        self.next_scan = began + NEVER;
        let catalog = Arc::clone(&self.shared.catalog);
        let sweep = catalog.start_sweep();
        self.tally = Tally::default();
        self.refresh.clear();
        self.walk(&jail, Ahead { path: (*b"").into(), above: None });
        if !self.is_still_there() {
            return;
        }
        let tally = std::mem::take(&mut self.tally);
        if tally.not_held > 0 {
            let why = self.whys.of(&Reason::NotHeld { count: tally.not_held });
            catalog.withhold(b"", why);
        }
        catalog.end_sweep(sweep, |key| tally.hides(key));
        catalog.set_complete(tally.saw_all());
        self.found();
        let took = began.elapsed();
        self.shared.metrics.scanned(took, tally.saw_all());
        self.shared.metrics.seen.set(tally.entries.try_into().unwrap_or(i64::MAX));
        self.shared.metrics.not_held.set(tally.not_held.try_into().unwrap_or(i64::MAX));
        self.shared.metrics.unwatched.set(tally.unwatched.try_into().unwrap_or(i64::MAX));
        if let Some(watch) = self.watch.as_mut().filter(|_| tally.unwatched == 0) {
            watch.all_watched();
        }
        self.tally.held = tally.held;
        // A folder that takes long to read is left alone for as long.
        self.rested = Instant::now() + took;
        let planned = Instant::now() + self.shared.settings.when.rescan.max(took);
        self.next_scan = planned.min(self.next_scan.max(self.rested));
    }

    /// Reads the directories again that something happened to.
    pub(super) fn refresh(&mut self, jail: &Jail) {
        let began = Instant::now();
        let vitals = Arc::clone(&self.shared.vitals);
        let _working = vitals.work();
        let paths = std::mem::take(&mut self.refresh);
        let catalog = Arc::clone(&self.shared.catalog);
        let sweep = catalog.start_sweep();
        let held = self.tally.held;
        self.tally = Tally { held, ..Tally::default() };
        for path in &paths {
            if let Some(watch) = &mut self.watch {
                watch.remove(path);
            }
            let above = jail.dir(split(path).0).ok().and_then(|parent| parent.sight().mount);
            self.walk(jail, Ahead { path: path.clone(), above });
        }
        if !self.is_still_there() {
            return;
        }
        let tally = std::mem::take(&mut self.tally);
        catalog.end_sweep(sweep, |key| !lies_in(key, &paths) || tally.hides(key));
        if !tally.saw_all() {
            catalog.set_complete(false);
        }
        self.tally.held = tally.held;
        // Forgetting takes a walk through the whole catalog: many directories that come one after another are taken together.
        self.next_refresh = Instant::now() + began.elapsed() * 4;
    }

    /// Whether what was just read is the folder: had it been unmounted or replaced on the way, the rest would have looked
    /// empty; and if the root itself failed, nothing was seen at all.
    fn is_still_there(&mut self) -> bool {
        if let Some(error) = self.tally.root_error.take() {
            self.lose(&RootError::Failing { path: self.shared.root.path().to_owned(), error });
            return false;
        }
        let anchor = self.anchor;
        self.open().is_some() && self.anchor == anchor
    }

    fn walk(&mut self, jail: &Jail, start: Ahead) {
        let mut ahead = vec![start];
        while let Some(next) = ahead.pop() {
            if let Some(dir) = self.enter(jail, &next) {
                self.read(jail, &Arc::new(dir), &next.path, &mut ahead);
            }
        }
        self.await_all(jail);
    }

    /// Opens a directory, unless a rule or the system says no.
    fn enter(&mut self, jail: &Jail, next: &Ahead) -> Option<Dir> {
        let path = &*next.path;
        let label = [path, if path.is_empty() { b"./" } else { b"/" }].concat();
        if !path.is_empty()
            && let Err(reason) = self.shared.settings.filter.directory(path)
        {
            self.withhold(&label, &reason);
            return None;
        }
        self.shared.vitals.answered();
        let dir = match jail.dir(path) {
            Ok(dir) => dir,
            Err(error) if is_absence(error) => return None,
            Err(error) => {
                self.obscure(path, &label, &Reason::Unreadable { error });
                return None;
            }
        };
        if let (Some(above), Some(mount)) = (next.above, dir.sight().mount) {
            if mount != above {
                self.mounts.insert(path.into(), mount);
            } else if self.mounts.contains_key(path) {
                warn!(path = %String::from_utf8_lossy(path), "what was mounted here is gone");
                self.obscure(path, &label, &Reason::MountGone);
                return None;
            }
        }
        if let Some(marker) = self.shared.settings.filter.output_marker()
            && dir.look(marker.as_bytes(), false).is_ok_and(|sight| sight.kind == Kind::File)
        {
            self.withhold(&label, &Reason::OwnOutput);
            return None;
        }
        if !self.shared.settings.when.no_inotify && self.is_local(&dir) {
            let watched = self.watch.as_mut().is_some_and(|watch| watch.add(&dir, path));
            self.tally.unwatched += u64::from(!watched);
        }
        Some(dir)
    }

    fn read(&mut self, jail: &Jail, dir: &Arc<Dir>, path: &[u8], ahead: &mut Vec<Ahead>) {
        let local = self.is_local(dir);
        let mut asides = Vec::new();
        let ended = dir.read(|name, kind| {
            self.tally.entries += 1;
            self.shared.vitals.answered();
            if self.tally.entries.is_multiple_of(PUMP) {
                let events = self.events();
                self.take(jail, events);
            }
            if kind == Some(Kind::File) {
                return self.send_for(jail, dir, local, path, name);
            }
            let key = if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() };
            let kind = kind.or_else(|| dir.look(name, false).ok().map(|sight| sight.kind));
            match kind {
                Some(Kind::Directory) if settle::is_aside(name) => asides.push(name.to_vec()),
                Some(Kind::Directory) => ahead.push(Ahead { path: key.into(), above: dir.sight().mount }),
                kind => self.look(jail, dir, local, &key, kind, Cause::Scan),
            }
        });
        // One that was removed while it was read has nothing left in it. But is it gone?
        let gone = |error| is_absence(error) && jail.dir(path).is_err_and(is_absence);
        if let Err(error) = ended
            && !gone(error)
        {
            let label = [path, if path.is_empty() { b"./" } else { b"/" }].concat();
            self.obscure(path, &label, &Reason::Unreadable { error });
        }
        for name in asides {
            self.recover(dir, path, &name);
        }
    }

    /// Puts back what a killed settle left aside, whatever this run's own policy: it was the user's file, in plain sight.
    fn recover(&mut self, dir: &Dir, path: &[u8], name: &[u8]) {
        match settle::recover(dir, name) {
            Ok(restored) => {
                for file in restored {
                    let key = if path.is_empty() { file } else { [path, b"/", &file].concat() };
                    info!(key = %String::from_utf8_lossy(&key), "put back what a killed settle had left aside");
                    self.shared.metrics.recovered.inc();
                    self.refresh.insert(path.into());
                }
            }
            Err(error) => {
                warn!(path = %String::from_utf8_lossy(path), %error, "cannot put back what a killed settle left aside");
            }
        }
    }

    /// Something lies there that cannot be seen; what was known of it stands.
    fn obscure(&mut self, path: &[u8], label: &[u8], reason: &Reason) {
        if let Reason::Unreadable { error } = reason
            && path.is_empty()
        {
            self.tally.root_error = Some(*error);
            return;
        }
        self.tally.unknown(path);
        self.withhold(label, reason);
    }
}

/// Whether `key` is one of the directories, as `dir` or `dir/`, or lies in one.
fn lies_in(key: &[u8], dirs: &std::collections::BTreeSet<Box<[u8]>>) -> bool {
    let above = key.iter().enumerate().filter(|(_, b)| **b == b'/').filter_map(|(at, _)| key.get(..at));
    dirs.contains(&b""[..]) || dirs.contains(key) || above.into_iter().any(|dir| dirs.contains(dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_seen_hides_what_lies_in_it_and_nothing_else() {
        let mut tally = Tally::default();
        tally.unknown(b"a/b");
        for (key, want) in [("a/b", true), ("a/b/c.mp4", true), ("a/b/c/d", true), ("a/bc", false), ("a", false)] {
            assert_eq!(tally.hides(key.as_bytes()), want, "{key}");
        }
    }

    #[test]
    fn only_so_many_are_held_but_never_too_few_of_those_that_come() {
        let mut tally = Tally { held: HELD, ..Tally::default() };
        assert!(!tally.hold(&Reason::NoMatch));
        assert!(tally.hold(&Reason::OpenForWriting));
        assert!(tally.saw_all());
        assert!(tally.hold(&Reason::MountGone));
        assert!(!tally.saw_all());
        assert_eq!(tally.not_held, 1);
    }
}
