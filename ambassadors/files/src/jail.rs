//! The folder as file descriptors: nothing is opened that does not lie beneath the root, whatever its name or links say,
//! and another directory in the root's place is not taken for it.

mod dir;
mod root;

pub(crate) use dir::{Dir, Kind, Sight};
pub(crate) use root::{Jail, Root, RootError};

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

/// How often an open is tried again that raced with a rename.
const RACES: u32 = 16;

static NO_OPENAT2: AtomicBool = AtomicBool::new(false);

/// Whether symbolic links below the directory may be followed, as long as they stay beneath it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Links {
    Refuse,
    Follow,
}

/// Opens `path` beneath `dir`: `openat2` where the kernel has it (5.6) and lets us, else one component after another,
/// which follows no link at all.
fn open_beneath(dir: impl AsFd, path: &[u8], flags: OFlags, links: Links) -> Result<OwnedFd, Errno> {
    // Nothing that is opened to be read, whatever it turns out to be, may keep us waiting or become our terminal.
    let reading = if flags.contains(OFlags::PATH) { OFlags::empty() } else { OFlags::NOCTTY | OFlags::NONBLOCK };
    let flags = flags | OFlags::CLOEXEC | reading;
    let path = if path.is_empty() { b"." } else { path };
    if !NO_OPENAT2.load(Ordering::Relaxed) {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let resolve = if links == Links::Refuse { resolve | ResolveFlags::NO_SYMLINKS } else { resolve };
        for _ in 0..RACES {
            match openat2(&dir, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(Errno::NOSYS) => {
                    NO_OPENAT2.store(true, Ordering::Relaxed);
                    break;
                }
                other => return other,
            }
        }
        if !NO_OPENAT2.load(Ordering::Relaxed) {
            return Err(Errno::AGAIN);
        }
    }
    open_by_component(dir.as_fd(), path, flags)
}

fn open_by_component(dir: std::os::fd::BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut at: Option<OwnedFd> = None;
    let mut rest = path.split(|b| *b == b'/').filter(|part| !part.is_empty() && *part != b".").peekable();
    while let Some(part) = rest.next() {
        if part == b".." {
            return Err(Errno::XDEV);
        }
        let how = match rest.peek() {
            Some(_) => OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            None => flags,
        };
        let from = at.as_ref().map_or(dir, AsFd::as_fd);
        at = Some(openat(from, part, how | OFlags::NOFOLLOW, Mode::empty())?);
    }
    at.map_or_else(|| openat(dir, ".", flags, Mode::empty()), Ok)
}
