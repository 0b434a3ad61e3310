//! inotify: hints that make it fast, never the truth. A directory is watched before it is read, so that nothing falls
//! between the two; events may be lost, doubled or late, and then the next scan finds what they would have told.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tracing::warn;

/// What an event hints at; keys are paths from the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A file was closed that was open for writing, or came here whole under this name.
    Finished(Box<[u8]>),
    /// A file was written.
    Written(Box<[u8]>),
    /// There is a new entry, or one has other attributes or is gone.
    Changed(Box<[u8]>),
    /// A directory came, went or was renamed.
    Directory(Box<[u8]>),
    /// The root itself went, was renamed or unmounted.
    Root,
    /// Events were lost.
    Overflow,
}

/// Events taken at once, more or less.
const AT_ONCE: usize = 65_536;

/// The watches.
#[derive(Debug)]
pub(crate) struct Watch {
    inotify: OwnedFd,
    directories: HashMap<i32, Box<[u8]>>,
    full: bool,
}

impl Watch {
    /// No watch yet.
    ///
    /// # Errors
    /// The system's, when it has no more inotify instances.
    pub(crate) fn new() -> Result<Self, Errno> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        Ok(Self { inotify, directories: HashMap::new(), full: false })
    }

    /// Watches the open directory, which lies at `path` from the root; whether that could be. Once the system allows no more
    /// watches, those beyond are found by scans only.
    pub(crate) fn add(&mut self, dir: impl AsFd, path: &[u8]) -> bool {
        let wanted = WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::MODIFY
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::ATTRIB
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR
            | WatchFlags::EXCL_UNLINK;
        // By descriptor: the path may lead elsewhere by now.
        match inotify::add_watch(&self.inotify, format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd()), wanted) {
            Ok(watch) => {
                self.directories.insert(watch, path.into());
                true
            }
            Err(error) if !self.full => {
                self.full = true;
                warn!(
                    watches = self.directories.len(),
                    %error,
                    "no more directories can be watched; the others are found by scans only (raise fs.inotify.max_user_watches)"
                );
                false
            }
            Err(_) => false,
        }
    }

    /// Every directory is watched: should that change, it is worth another word.
    pub(crate) fn all_watched(&mut self) {
        self.full = false;
    }

    /// How many directories are watched.
    pub(crate) fn len(&self) -> usize {
        self.directories.len()
    }

    /// Forgets the watches of a directory and all below it.
    pub(crate) fn remove(&mut self, path: &[u8]) {
        let gone =
            |dir: &[u8]| dir.starts_with(path) && (dir.len() == path.len() || dir.get(path.len()) == Some(&b'/'));
        let watches: Vec<i32> = self.directories.iter().filter(|(_, dir)| gone(dir)).map(|(watch, _)| *watch).collect();
        for watch in watches {
            self.directories.remove(&watch);
            // Fails where the directory is gone, and with it the watch.
            let _ = inotify::remove_watch(&self.inotify, watch);
        }
    }

    /// What happened since the last call, or the first of it where there is very much; never waits.
    pub(crate) fn drain(&mut self) -> Vec<Event> {
        self.drain_about(AT_ONCE)
    }

    fn drain_about(&mut self, most: usize) -> Vec<Event> {
        let mut events = Vec::new();
        let mut buffer = [MaybeUninit::uninit(); 64 * 1024];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        let mut unwatched = Vec::new();
        // Whoever renames in a loop is faster than we are; but what was taken from the kernel is kept nowhere else.
        while events.len() < most || !reader.is_buffer_empty() {
            match reader.next() {
                Ok(event) => {
                    let flags = event.events();
                    if flags.contains(ReadFlags::IGNORED) {
                        unwatched.push(event.wd());
                        continue;
                    }
                    let dir = self.directories.get(&event.wd()).map(|dir| &**dir);
                    events.extend(hint(flags, dir, event.file_name().map(std::ffi::CStr::to_bytes)));
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(error) => {
                    warn!(%error, "inotify cannot be read");
                    events.push(Event::Overflow);
                    break;
                }
            }
        }
        for watch in unwatched {
            self.directories.remove(&watch);
        }
        events
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

fn hint(flags: ReadFlags, dir: Option<&[u8]>, name: Option<&[u8]>) -> Option<Event> {
    if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
        return Some(Event::Overflow);
    }
    let dir = dir?;
    if flags.intersects(ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT) {
        return Some(if dir.is_empty() { Event::Root } else { Event::Directory(dir.into()) });
    }
    let name = name?;
    let key: Box<[u8]> = if dir.is_empty() { name.into() } else { [dir, b"/", name].concat().into() };
    let whose = if flags.contains(ReadFlags::ISDIR) {
        // What changes about a directory's attributes is whether it can be read.
        Event::Directory(key)
    } else if flags.intersects(ReadFlags::CLOSE_WRITE | ReadFlags::MOVED_TO) {
        Event::Finished(key)
    } else if flags.contains(ReadFlags::MODIFY) {
        Event::Written(key)
    } else {
        Event::Changed(key)
    };
    Some(whose)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    #[test]
    fn what_is_left_for_the_next_time_is_not_lost() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut watch = Watch::new().expect("an instance");
        assert!(watch.add(File::open(dir.path()).expect("opens"), b""));
        // More than one reading of the kernel's queue holds.
        for n in 0..4_000 {
            fs::write(dir.path().join(n.to_string()), "x").expect("written");
        }
        let mut finished = Vec::new();
        loop {
            let events = watch.drain_about(1);
            if events.is_empty() {
                break;
            }
            finished.extend(events.into_iter().filter(|event| matches!(event, Event::Finished(_))));
        }
        assert_eq!(finished.len(), 4_000);
        assert_eq!(finished.last(), Some(&Event::Finished((*b"3999").into())));
    }
}
