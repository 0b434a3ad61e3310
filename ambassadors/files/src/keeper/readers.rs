//! Looking at many files at once. The kernel takes longer to tell of a file than the keeper to decide about it, so what is
//! to be known of each is found out by several threads; they decide nothing, and what they found is taken in the order in
//! which it was asked for.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::SystemTime;

use contract::{FileVersion, ItemName};

use super::Shared;
use super::look::name_of;
use crate::jail::{Dir, Kind, Sight};
use crate::quiet::{self, Writers};
use crate::reason::Reason;
use crate::stamp::Stamp;

/// Files of one errand.
const FILES: usize = 256;
/// Directories they may lie in, since each is held open.
const DIRECTORIES: usize = 16;
/// Threads beside the keeper's own; a file server is to be asked, not stormed.
const THREADS: usize = 3;
/// Errands out at a time, for each that looks.
const AHEAD: usize = 4;

/// Files to be looked at, in the order in which they were met.
#[derive(Debug, Default)]
pub(super) struct Errand {
    groups: Vec<Group>,
    files: usize,
}

/// Some files of one directory.
#[derive(Debug)]
struct Group {
    dir: Arc<Dir>,
    local: bool,
    /// The directory's path from the root, with a slash behind it where it is not the root's own.
    prefix: Vec<u8>,
    /// Names, each with a NUL behind it, which none can hold.
    names: Vec<u8>,
}

/// What was found out about a file. Whatever is not plain is told as far as it was seen.
#[derive(Debug)]
pub(super) enum Finding {
    /// Its name says that it is no item.
    Barred(Reason),
    /// It is listed, and still the same.
    Same(Stamp),
    /// It may be listed at sight: on a file system of this machine, unchanged for long enough by the clock that stamps it,
    /// and open for writing nowhere. And the name it has then.
    Whole(ItemName, FileVersion),
    /// It was seen; more is not known.
    Seen(Sight),
    /// It could not be seen.
    Unseen,
}

/// A file of an errand that was run.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) dir: &'a Arc<Dir>,
    pub(super) local: bool,
    pub(super) key: &'a [u8],
    pub(super) finding: &'a Finding,
}

/// An errand that was run.
#[derive(Debug)]
pub(super) struct Report {
    /// The how-manieth it was.
    pub(super) number: u64,
    errand: Errand,
    findings: Vec<Finding>,
}

/// What is needed to look.
#[derive(Clone, Debug)]
struct Looker {
    shared: Shared,
    /// Nothing was listed when the walk began, so nothing has to be looked up.
    blank: bool,
}

/// The threads, which come when there is something to do for them and go when this is dropped.
#[derive(Debug)]
pub(super) struct Readers {
    looker: Looker,
    desk: Arc<Desk>,
    threads: Vec<JoinHandle<()>>,
    most: usize,
    tell: mpsc::Sender<(u64, thread::Result<Report>)>,
    told: mpsc::Receiver<(u64, thread::Result<Report>)>,
    /// Errands sent, and of those the reports taken.
    sent: u64,
    taken: u64,
    early: BTreeMap<u64, Report>,
}

/// Where errands wait for a thread.
#[derive(Debug, Default)]
struct Desk {
    state: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    errands: VecDeque<(u64, Errand)>,
    closed: bool,
}

impl Errand {
    /// One more file of this directory. Follow each by [`is_full`](Self::is_full).
    pub(super) fn add(&mut self, dir: &Arc<Dir>, local: bool, path: &[u8], name: &[u8]) {
        if self.groups.last().is_none_or(|group| !Arc::ptr_eq(&group.dir, dir)) {
            let prefix = if path.is_empty() { Vec::new() } else { [path, b"/"].concat() };
            self.groups.push(Group { dir: Arc::clone(dir), local, prefix, names: Vec::new() });
        }
        if let Some(group) = self.groups.last_mut() {
            group.names.extend_from_slice(name);
            group.names.push(0);
            self.files += 1;
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.files >= FILES || self.groups.len() >= DIRECTORIES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files == 0
    }

    /// Calls `each` with every file's directory and key.
    fn for_each(&self, mut each: impl FnMut(&Group, &[u8], &[u8])) {
        let mut key = Vec::new();
        for group in &self.groups {
            key.clone_from(&group.prefix);
            for name in group.names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
                key.truncate(group.prefix.len());
                key.extend_from_slice(name);
                each(group, &key, name);
            }
        }
    }

    fn run(self, number: u64, looker: &Looker) -> Report {
        let mut findings = Vec::with_capacity(self.files);
        // Before any of the looks, so that nothing seems to have rested longer than it has.
        let now = SystemTime::now();
        looker.shared.vitals.answered();
        self.for_each(|group, key, name| findings.push(looker.find(group, key, name, now)));
        Report { number, errand: self, findings }
    }
}

impl Report {
    /// Calls `each` with every file, in the order in which they were met.
    pub(super) fn for_each(&self, mut each: impl FnMut(Found<'_>)) {
        let mut findings = self.findings.iter();
        self.errand.for_each(|group, key, _| {
            if let Some(finding) = findings.next() {
                each(Found { dir: &group.dir, local: group.local, key, finding });
            }
        });
    }
}

impl Looker {
    /// Finds out about one file: as little as will do, since there may be millions.
    fn find(&self, group: &Group, key: &[u8], name: &[u8], now: SystemTime) -> Finding {
        let settings = &*self.shared.settings;
        // A disk answers for all of an errand in the time that a file server takes for one.
        if !group.local {
            self.shared.vitals.answered();
        }
        if let Err(reason) = settings.filter.file(key) {
            return Finding::Barred(reason);
        }
        if !self.blank
            && let Some(listed) = self.shared.catalog.payload(key)
        {
            return match group.dir.look(name, false) {
                Ok(sight) if sight.kind == Kind::File && Stamp::from(sight.version) == listed => Finding::Same(listed),
                Ok(sight) => Finding::Seen(sight),
                Err(_) => Finding::Unseen,
            };
        }
        // Whoever writes elsewhere is not seen by a lease, and opening is what a file server finds dear.
        if !group.local {
            return group.dir.look(name, false).map_or(Finding::Unseen, Finding::Seen);
        }
        let Ok(file) = group.dir.open_file(name) else { return Finding::Unseen };
        let Ok(sight) = Sight::of(&file) else { return Finding::Unseen };
        let plain = sight.kind == Kind::File
            && settings.filter.size(sight.version.size).is_ok()
            && settings.filter.done_marker(name).is_none()
            && quiet::has_rested(&sight, settings.when.stable_for, now);
        if plain && quiet::writers(file) == Writers::None {
            return match name_of(settings, key, sight.version) {
                Ok(name) => Finding::Whole(name, sight.version),
                Err(why) => Finding::Barred(Reason::Unnameable { why }),
            };
        }
        Finding::Seen(sight)
    }
}

impl Readers {
    pub(super) fn new(shared: Shared) -> Self {
        let (tell, told) = mpsc::channel();
        let others = thread::available_parallelism().map_or(1, usize::from) - 1;
        let blank = shared.catalog.tally().listed == Some(0);
        Self {
            looker: Looker { shared, blank },
            desk: Arc::default(),
            threads: Vec::new(),
            most: others.clamp(1, THREADS),
            tell,
            told,
            sent: 0,
            taken: 0,
            early: BTreeMap::new(),
        }
    }

    /// The number of the next errand.
    pub(super) fn next(&self) -> u64 {
        self.sent
    }

    /// The number of the errand whose report is to be taken next.
    pub(super) fn due(&self) -> u64 {
        self.taken
    }

    /// Has the files looked at.
    pub(super) fn send(&mut self, errand: Errand) {
        let waiting = {
            let mut state = self.desk.lock();
            state.errands.push_back((self.sent, errand));
            state.errands.len()
        };
        self.sent += 1;
        self.desk.changed.notify_one();
        // The first is done by the keeper itself: a small folder is worth no thread.
        if waiting > 1 && self.threads.len() < self.most {
            let (looker, desk, tell) = (self.looker.clone(), Arc::clone(&self.desk), self.tell.clone());
            let thread = thread::Builder::new().name("reader".into());
            // Where there is no thread to be had, the keeper does it all.
            if let Ok(thread) = thread.spawn(move || desk.work(&looker, &tell)) {
                self.threads.push(thread);
            }
        }
    }

    /// The next report: one that is there, unless `wait` says to run or await whatever it takes. `None`: none is there, or
    /// no errand is out.
    pub(super) fn take(&mut self, wait: bool) -> Option<Report> {
        while self.taken < self.sent {
            while let Ok((number, report)) = self.told.try_recv() {
                self.put(number, report);
            }
            if let Some(report) = self.early.remove(&self.taken) {
                self.taken += 1;
                return Some(report);
            }
            if !wait {
                return None;
            }
            let errand = self.desk.lock().errands.pop_front();
            match errand {
                Some((number, errand)) => {
                    let report = errand.run(number, &self.looker);
                    self.early.insert(number, report);
                }
                None => {
                    let (number, report) = self.told.recv().expect("a sender is held here");
                    self.put(number, report);
                }
            }
        }
        None
    }

    /// Whether as much is out as should be.
    pub(super) fn is_busy(&self) -> bool {
        self.sent - self.taken >= (AHEAD * (self.most + 1)) as u64
    }

    fn put(&mut self, number: u64, report: thread::Result<Report>) {
        // A defect there is one here.
        self.early.insert(number, report.unwrap_or_else(|defect| resume_unwind(defect)));
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.desk.lock().closed = true;
        self.desk.changed.notify_all();
        for thread in self.threads.drain(..) {
            // A defect of its own has been told by then.
            let _ = thread.join();
        }
    }
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs errands until there will be none.
    fn work(&self, looker: &Looker, tell: &mpsc::Sender<(u64, thread::Result<Report>)>) {
        let mut state = self.lock();
        loop {
            if let Some((number, errand)) = state.errands.pop_front() {
                drop(state);
                let report = catch_unwind(AssertUnwindSafe(|| errand.run(number, looker)));
                if tell.send((number, report)).is_err() {
                    return;
                }
                state = self.lock();
            } else if state.closed {
                return;
            } else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}
