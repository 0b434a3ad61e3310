//! Waking up when messages appear in directories. The kernel's word is a hint that makes it fast, a slow look behind it the
//! truth: hints do not cross every sandbox's walls, and there may be none to be had.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep};

/// How often one looks where hints come.
const SLOW: Duration = Duration::from_secs(2);
/// How often one looks where none come.
const FAST: Duration = Duration::from_millis(50);

/// What a directory itself tells: that something was renamed to a name in it, and that it is no longer where it was.
const ITSELF: WatchFlags = WatchFlags::MOVED_TO
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::MASK_ADD)
    .union(WatchFlags::ONLYDIR);
/// What one above a directory that is not there yet tells.
const ABOVE: WatchFlags =
    WatchFlags::CREATE.union(WatchFlags::MOVED_TO).union(WatchFlags::MASK_ADD).union(WatchFlags::ONLYDIR);

/// Directories in which messages may appear. Whoever waits looks for itself each time that it is woken: once too often, never
/// too seldom.
#[derive(Debug)]
pub struct Watch {
    hints: Option<AsyncFd<OwnedFd>>,
    /// Each directory, and what was seen of it last.
    dirs: BTreeMap<PathBuf, Seen>,
    /// Whether a message was found of which no hint had told.
    is_deaf: bool,
    /// When hints were asked for last.
    asked: Instant,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    /// By what the kernel tells of the directory itself; `None` where it does not.
    id: Option<i32>,
    /// Whether it cannot even tell that the directory appears.
    is_untold: bool,
    /// Which messages lie there, as one number.
    messages: u64,
}

impl Default for Watch {
    fn default() -> Self {
        Self::new()
    }
}

impl Watch {
    /// One that watches nothing yet. To be called within a runtime that has I/O and time enabled.
    pub fn new() -> Self {
        let mut watch = Self { hints: None, dirs: BTreeMap::new(), is_deaf: false, asked: Instant::now() };
        watch.open();
        watch
    }

    /// Watches a directory, which may appear later, or be replaced.
    pub fn add(&mut self, dir: &Path) {
        let seen = self.see(dir);
        self.dirs.insert(dir.to_owned(), seen);
    }

    /// Resolves when a message may have appeared since it resolved last, or since the directory was added. May be dropped and
    /// called again without missing anything.
    pub async fn changed(&mut self) {
        if self.hints.is_none() && self.asked.elapsed() >= SLOW {
            self.open();
            self.see_some(|_| true);
        }
        let is_deaf = self.hints.is_none() || self.is_deaf || self.dirs.values().any(|seen| seen.is_untold);
        let pause = sleep(if is_deaf { FAST } else { SLOW });
        match &self.hints {
            Some(hints) => tokio::select! {
                biased;
                ready = hints.readable() => if let Ok(mut ready) = ready { ready.clear_ready() },
                () = pause => {}
            },
            None => pause.await,
        }
        let told = self.drain();
        if !told.is_empty() {
            self.see_some(|seen| seen.id.is_none_or(|id| told.contains(&id)));
        } else if self.see_some(|_| true) && self.hints.is_some() && self.drain().is_empty() && !self.is_deaf {
            tracing::debug!("a message came and the kernel did not tell: looking more often");
            self.is_deaf = true;
        }
    }

    fn open(&mut self) {
        self.asked = Instant::now();
        match instance() {
            Ok(hints) => self.hints = Some(hints),
            Err(error) => tracing::debug!(%error, "no inotify instance to be had: looking more often"),
        }
    }

    /// Reads what the kernel has to tell.
    fn drain(&self) -> Vec<i32> {
        let mut told = Vec::new();
        let Some(hints) = &self.hints else { return told };
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(hints.get_ref(), &mut buffer);
        while let Ok(event) = events.next() {
            told.push(event.wd());
        }
        told
    }

    /// Looks at some directories; whether one has other messages than before.
    fn see_some(&mut self, which: impl Fn(&Seen) -> bool) -> bool {
        let some: Vec<PathBuf> = self.dirs.iter().filter(|(_, seen)| which(seen)).map(|(dir, _)| dir.clone()).collect();
        let mut changed = false;
        for dir in some {
            let now = self.see(&dir);
            let before = self.dirs.insert(dir, now.clone()).unwrap_or_default();
            changed |= before.messages != now.messages;
        }
        changed
    }

    fn see(&self, dir: &Path) -> Seen {
        let told = self.hint_at(dir);
        let mut messages = 0;
        for entry in dir.read_dir().into_iter().flatten().flatten() {
            if entry.file_name().as_bytes().ends_with(b".json") {
                let mut hasher = DefaultHasher::new();
                (entry.file_name(), entry.ino()).hash(&mut hasher);
                messages ^= hasher.finish();
            }
        }
        Seen { id: told.ok().flatten(), is_untold: told.is_err(), messages }
    }

    /// Has the kernel tell of a directory; or, as long as that is not there, of the deepest above it that is.
    fn hint_at(&self, dir: &Path) -> Result<Option<i32>, Errno> {
        let Some(hints) = self.hints.as_ref().map(AsyncFd::get_ref) else { return Ok(None) };
        loop {
            match inotify::add_watch(hints, dir, ITSELF) {
                Err(Errno::NOENT) => {}
                told => return told.map(Some),
            }
            let mut missing = dir;
            for above in dir.ancestors().skip(1) {
                match inotify::add_watch(hints, above, ABOVE) {
                    Err(Errno::NOENT) => missing = above,
                    told => {
                        told?;
                        break;
                    }
                }
            }
            // It may have appeared just before the one above it was watched.
            if !missing.exists() {
                return Ok(None);
            }
        }
    }
}

#[expect(unsafe_code, reason = "AsyncFd has no safe constructor any more")]
fn instance() -> io::Result<AsyncFd<OwnedFd>> {
    let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    // SAFETY: an OwnedFd is open and stands for the same file until it is dropped, and here the AsyncFd owns it.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}

#[cfg(test)]
mod tests;
