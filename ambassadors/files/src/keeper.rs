//! The one thread that reads the folder and keeps the catalog: whole scans as the truth, events and timers as hints. It
//! may hang with its file system; nothing else does.

mod ahead;
mod look;
mod readers;
mod scan;

use std::collections::{BTreeSet, HashMap};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use ambassador_kit::{Catalog, Remembered};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use tracing::{error, info, warn};

use crate::args::Settings;
use crate::jail::{Jail, Root, RootError};
use crate::metrics::Metrics;
use crate::reason::Whys;
use crate::rest::Resting;
use crate::stamp::Stamp;
use crate::vitals::Vitals;
use crate::watch::{Event, Watch};

use self::look::Cause;

/// How soon a lost root is looked for again.
const RETRY: Duration = Duration::from_secs(1);
/// A pause after so many batches of nothing but writes, so that a busy writer does not keep this thread as busy.
const WRITE_PAUSE: Duration = Duration::from_millis(5);
const WRITE_BATCHES: u32 = 3;

/// What may be asked of the keeper.
#[derive(Debug)]
enum Ask {
    Look(Box<[u8]>),
    Scan,
    Stop,
}

/// Asks the keeper; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    asks: mpsc::Sender<Ask>,
    wake: Arc<OwnedFd>,
}

impl Door {
    /// Have a look at this file soon.
    pub(crate) fn look(&self, key: &[u8]) {
        self.ask(Ask::Look(key.into()));
    }

    /// Read the whole folder soon.
    pub(crate) fn scan(&self) {
        self.ask(Ask::Scan);
    }

    /// End, as soon as the file system lets you.
    pub(crate) fn stop(&self) {
        self.ask(Ask::Stop);
    }

    fn ask(&self, ask: Ask) {
        // Fails only when the keeper has ended, and then nobody needs it.
        if self.asks.send(ask).is_ok() {
            let _ = rustix::io::write(&*self.wake, &1u64.to_ne_bytes());
        }
    }
}

/// What the keeper shares with those who answer requests.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Arc<Settings>,
    pub(crate) root: Arc<Root>,
    pub(crate) catalog: Arc<Catalog<Stamp>>,
    pub(crate) vitals: Arc<Vitals>,
    pub(crate) remembered: Remembered<Stamp>,
    pub(crate) metrics: Metrics,
}

/// The thread's own state.
pub(crate) struct Keeper {
    shared: Shared,
    asks: mpsc::Receiver<Ask>,
    wake: Arc<OwnedFd>,
    watch: Option<Watch>,
    /// What was said once and is not said again: that there is no inotify, that it lost events.
    said_blind: bool,
    said_overflow: bool,
    whys: Whys,
    resting: Resting,
    /// Files listed when a writer closed them, and when: a write soon after disproves that they were finished.
    fast: HashMap<Box<[u8]>, Instant>,
    /// Directories to be read again, and not before when.
    refresh: BTreeSet<Box<[u8]>>,
    next_refresh: Instant,
    /// What was mounted where below the root.
    mounts: HashMap<Box<[u8]>, u64>,
    locality: HashMap<(u32, u32), bool>,
    /// Inode, device and mount of the root that all of this is about.
    anchor: Option<(u64, (u32, u32), Option<u64>)>,
    next_scan: Instant,
    /// Until when a folder is left alone that took as long to read, whatever hints say.
    rested: Instant,
    /// Batches of events, one after another, that told of nothing but writes.
    write_batches: u32,
    tally: scan::Tally,
    /// What is being looked at by others, while the folder is walked through.
    out: ahead::Out,
}

/// Starts the thread.
///
/// # Errors
/// When the system has no thread or descriptor left.
pub(crate) fn start(shared: Shared) -> std::io::Result<Door> {
    let (asks, receiver) = mpsc::channel();
    let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    let door = Door { asks, wake: Arc::clone(&wake) };
    let keeper = Keeper {
        whys: Whys::new(shared.settings.filter.globs()),
        resting: Resting::new(shared.settings.when.stable_for),
        asks: receiver,
        wake,
        watch: None,
        said_blind: false,
        said_overflow: false,
        fast: HashMap::new(),
        refresh: BTreeSet::new(),
        next_refresh: Instant::now(),
        mounts: HashMap::new(),
        locality: HashMap::new(),
        anchor: None,
        next_scan: Instant::now(),
        rested: Instant::now(),
        write_batches: 0,
        tally: scan::Tally::default(),
        out: ahead::Out::default(),
        shared,
    };
    std::thread::Builder::new().name("keeper".into()).spawn(move || {
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| keeper.run())).is_err() {
            // A catalog that nobody keeps is a lie; whoever supervises this process starts it anew, and nothing is lost.
            error!("a defect ended the thread that reads the folder: aborting");
            std::process::abort();
        }
    })?;
    Ok(door)
}

impl Keeper {
    fn run(mut self) {
        loop {
            if Instant::now() >= self.next_scan {
                self.scan();
            }
            if self.asked() {
                return;
            }
            self.work_off();
            if self.shared.vitals.take_stalled() {
                self.scan_soon();
            }
            self.sleep();
        }
    }

    /// Takes what was asked; whether that was to stop.
    fn asked(&mut self) -> bool {
        let mut counter = [0; 8];
        // Nothing to read is the usual case.
        let _ = rustix::io::read(&*self.wake, &mut counter);
        let mut keys = Vec::new();
        loop {
            match self.asks.try_recv() {
                Ok(Ask::Look(key)) => keys.push(Event::Changed(key)),
                Ok(Ask::Scan) => self.scan_soon(),
                Ok(Ask::Stop) | Err(mpsc::TryRecvError::Disconnected) => return true,
                Err(mpsc::TryRecvError::Empty) => break,
            }
        }
        if !keys.is_empty()
            && let Some(jail) = self.open()
        {
            self.take(&jail, keys);
        }
        false
    }

    /// Does what events and timers ask for.
    fn work_off(&mut self) {
        let events = self.events();
        if !events.is_empty()
            && let Some(jail) = self.open()
        {
            let only_writes = events.iter().all(|event| matches!(event, Event::Written(_)));
            self.write_batches = if only_writes { self.write_batches.saturating_add(1) } else { 0 };
            self.take(&jail, events);
            if self.write_batches >= WRITE_BATCHES {
                std::thread::sleep(WRITE_PAUSE);
            }
        }
        let now = Instant::now();
        // What waits goes on waiting while the folder is lost: a scan finds out that it is back.
        let seen = !self.shared.vitals.is_lost();
        if seen
            && self.resting.wake().is_some_and(|due| due <= now)
            && let Some(jail) = self.open()
        {
            let vitals = Arc::clone(&self.shared.vitals);
            let _working = vitals.work();
            while let Some(key) = self.resting.next_due(now) {
                self.look_by_key(&jail, &key, Cause::Due);
            }
        }
        if seen
            && !self.refresh.is_empty()
            && self.next_refresh <= now
            && let Some(jail) = self.open()
        {
            self.refresh(&jail);
        }
        let stable_for = self.shared.settings.when.stable_for;
        self.fast.retain(|_, listed| listed.elapsed() < stable_for);
        if let Some(watch) = &self.watch {
            self.shared.metrics.watches.set(watch.len().try_into().unwrap_or(i64::MAX));
        }
    }

    fn events(&mut self) -> Vec<Event> {
        let mut events = self.watch.as_mut().map(Watch::drain).unwrap_or_default();
        self.shared.metrics.events.inc_by(events.len() as u64);
        events.dedup();
        events
    }

    /// Follows hints. Those about directories are noted only, since a scan may be under way.
    fn take(&mut self, jail: &Jail, events: Vec<Event>) {
        let vitals = Arc::clone(&self.shared.vitals);
        let _working = vitals.work();
        for event in events {
            match event {
                Event::Finished(key) => self.look_by_key(jail, &key, Cause::Finished),
                Event::Written(key) => self.look_by_key(jail, &key, Cause::Written),
                Event::Changed(key) => self.look_by_key(jail, &key, Cause::Hint),
                Event::Directory(key) => {
                    if !crate::settle::is_aside(&key) {
                        self.refresh.insert(key);
                    }
                }
                Event::Root => self.scan_soon(),
                Event::Overflow => {
                    self.shared.metrics.overflows.inc();
                    if !std::mem::replace(&mut self.said_overflow, true) {
                        warn!(
                            "inotify lost events: the folder is read again, now and whenever that happens (raise fs.inotify.max_queued_events)"
                        );
                    }
                    self.scan_soon();
                }
            }
        }
    }

    /// The root, or the loss of it told to everybody.
    fn open(&mut self) -> Option<Jail> {
        let vitals = Arc::clone(&self.shared.vitals);
        let _working = vitals.work();
        let had_items = self.shared.catalog.tally().listed.is_some_and(|listed| listed > 0);
        match self.shared.root.open(had_items) {
            // A root that comes back is believed once it was scanned.
            Ok(jail) => {
                self.settle_on(&jail);
                Some(jail)
            }
            Err(error) => {
                self.lose(&error);
                None
            }
        }
    }

    /// Forgets what was known of another directory in the root's place.
    fn settle_on(&mut self, jail: &Jail) {
        let sight = jail.sight();
        let anchor = (sight.inode, sight.device, sight.mount);
        if self.anchor.replace(anchor).is_some_and(|before| before != anchor) {
            info!(root = %self.shared.root.path().display(), "another directory has the folder's place");
            self.mounts.clear();
            self.locality.clear();
            self.watch = None;
            self.next_scan = Instant::now();
        }
    }

    /// inotify, where it is wanted and the system has an instance left; asked for again at every scan until it has.
    fn ensure_watch(&mut self) {
        if self.watch.is_some() || self.shared.settings.when.no_inotify {
            return;
        }
        match Watch::new() {
            Ok(watch) => self.watch = Some(watch),
            Err(error) if !std::mem::replace(&mut self.said_blind, true) => {
                warn!(%error, "no inotify: files are found by scans only (raise fs.inotify.max_user_instances)");
            }
            Err(_) => {}
        }
    }

    /// Scans as soon as the folder was left alone for long enough. Also while a scan is under way, for another behind it.
    fn scan_soon(&mut self) {
        self.next_scan = self.next_scan.min(self.rested.max(Instant::now()));
    }

    fn lose(&mut self, error: &RootError) {
        if !self.shared.vitals.is_lost() {
            warn!(root = %self.shared.root.path().display(), %error, "the folder cannot be seen: its list is kept, not served");
        }
        self.shared.metrics.lost.inc();
        self.shared.vitals.lost(error.to_string());
        self.next_scan = Instant::now() + RETRY.min(self.shared.settings.when.rescan);
    }

    fn found(&self) {
        if self.shared.vitals.is_lost() {
            info!(root = %self.shared.root.path().display(), "the folder is back");
        }
        self.shared.vitals.live();
    }

    /// Until something happens or something is due.
    fn sleep(&self) {
        let refresh = (!self.refresh.is_empty()).then_some(self.next_refresh);
        let seen = !self.shared.vitals.is_lost();
        let due =
            [self.resting.wake(), refresh].into_iter().flatten().filter(|_| seen).fold(self.next_scan, Instant::min);
        let timeout = due.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        let mut fds = vec![PollFd::from_borrowed_fd(self.wake.as_fd(), PollFlags::IN)];
        if let Some(watch) = &self.watch {
            fds.push(PollFd::from_borrowed_fd(watch.as_fd(), PollFlags::IN));
        }
        // An interrupted wait is one that ends early.
        let _ = poll(&mut fds, Some(&timeout));
    }
}
