//! Waking up when messages appear in directories. The kernel's word is a hint that makes it fast, a slow look behind it the
//! truth: hints do not cross every sandbox's walls, and there may be none to be had.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
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
/// What is told of a directory that is no longer where it was.
const GONE: ReadFlags =
    ReadFlags::DELETE_SELF.union(ReadFlags::MOVE_SELF).union(ReadFlags::IGNORED).union(ReadFlags::UNMOUNT);

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
    /// Which messages lie there, as one number; `None` once the kernel has told of another.
    messages: Option<u64>,
}

/// What the kernel tells.
struct Hint {
    /// Of which directory.
    id: i32,
    what: ReadFlags,
    /// Of which name in it.
    name: Vec<u8>,
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
            self.see_all();
        }
        let is_deaf = self.hints.is_none() || self.is_deaf || self.dirs.values().any(|seen| seen.is_untold);
        let mut pause = pin!(sleep(if is_deaf { FAST } else { SLOW }));
        while !pause.is_elapsed() {
            match &self.hints {
                Some(hints) => tokio::select! {
                    biased;
                    ready = hints.readable() => if let Ok(mut ready) = ready { ready.clear_ready() },
                    () = &mut pause => {}
                },
                None => pause.as_mut().await,
            }
            if self.hear() {
                return;
            }
        }
        if self.see_all() && self.hints.is_some() && !self.hear() && !self.is_deaf {
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

    /// Hears what the kernel has to tell; whether a message may have appeared. Most of what happens in these directories is no
    /// message, and nobody is to be woken for it.
    fn hear(&mut self) -> bool {
        let (mut is_woken, mut again) = (false, BTreeSet::new());
        for Hint { id, what, name } in self.drain() {
            // It could not keep all that there was to tell.
            let is_any = what.contains(ReadFlags::QUEUE_OVERFLOW);
            for (dir, seen) in &mut self.dirs {
                let is_its_own = seen.id == Some(id);
                let is_gone = what.intersects(GONE) && (is_its_own || seen.id.is_none());
                let is_on_the_way = seen.id.is_none() && dir.iter().any(|part| part.as_bytes() == name);
                if is_any || is_gone || is_on_the_way {
                    again.insert(dir.clone());
                    is_woken |= is_any || is_its_own;
                } else if is_its_own && is_message(&name) {
                    seen.messages = None;
                    is_woken = true;
                }
            }
        }
        for dir in again {
            let seen = self.see(&dir);
            is_woken |= seen.id.is_some();
            self.dirs.insert(dir, seen);
        }
        is_woken
    }

    /// Reads what the kernel has to tell.
    fn drain(&self) -> Vec<Hint> {
        let mut told = Vec::new();
        let Some(hints) = &self.hints else { return told };
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(hints.get_ref(), &mut buffer);
        while let Ok(event) = events.next() {
            let name = event.file_name().map(|name| name.to_bytes().to_vec()).unwrap_or_default();
            told.push(Hint { id: event.wd(), what: event.events(), name });
        }
        told
    }

    /// Looks at all directories; whether one has other messages than before, of which nobody had told.
    fn see_all(&mut self) -> bool {
        let mut changed = false;
        for dir in self.dirs.keys().cloned().collect::<Vec<_>>() {
            let now = self.see(&dir);
            let before = self.dirs.insert(dir, now.clone()).unwrap_or_default();
            changed |= before.messages.is_some() && before.messages != now.messages;
        }
        changed
    }

    fn see(&self, dir: &Path) -> Seen {
        let told = self.hint_at(dir);
        let mut messages = 0;
        for entry in dir.read_dir().into_iter().flatten().flatten() {
            if is_message(entry.file_name().as_bytes()) {
                let mut hasher = DefaultHasher::new();
                (entry.file_name(), entry.ino()).hash(&mut hasher);
                messages ^= hasher.finish();
            }
        }
        Seen { id: told.ok().flatten(), is_untold: told.is_err(), messages: Some(messages) }
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

/// Whether a file of that name is one: what is still being written has another.
fn is_message(name: &[u8]) -> bool {
    name.ends_with(b".json")
}

#[expect(unsafe_code, reason = "AsyncFd has no safe constructor any more")]
fn instance() -> io::Result<AsyncFd<OwnedFd>> {
    let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    // SAFETY: an OwnedFd is open and stands for the same file until it is dropped, and here the AsyncFd owns it.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}

#[cfg(test)]
mod tests;
