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

/// The directory and the last component of a key, which is a path from the root.
pub(crate) fn split(key: &[u8]) -> (&[u8], &[u8]) {
    key.iter().rposition(|b| *b == b'/').map_or((b"", key), |at| {
        let (dir, name) = key.split_at(at);
        (dir, name.get(1..).unwrap_or_default())
    })
}

/// Whether this error says that there is no such thing, rather than that it cannot be seen.
pub(crate) fn is_absence(error: Errno) -> bool {
    matches!(error, Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
}

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

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_leads_out_with_the_kernels_help_or_without() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(dir.path().join("root/a/b")).expect("made");
        fs::write(dir.path().join("secret"), "secret").expect("written");
        fs::write(dir.path().join("root/a/b/f"), "content").expect("written");
        symlink("../secret", dir.path().join("root/out")).expect("linked");
        symlink("/etc/passwd", dir.path().join("root/absolute")).expect("linked");
        symlink("../..", dir.path().join("root/a/up")).expect("linked");
        symlink("b", dir.path().join("root/a/inside")).expect("linked");
        let root = File::open(dir.path().join("root")).expect("opens");
        let kernel = |path: &[u8], links| open_beneath(&root, path, OFlags::RDONLY, links);
        let own = |path: &[u8]| open_by_component(root.as_fd(), path, OFlags::RDONLY | OFlags::CLOEXEC);
        for path in [&b"out"[..], b"absolute", b"a/up/secret", b"../secret", b"a/../../secret", b"/etc/passwd"] {
            assert!(kernel(path, Links::Follow).is_err(), "{}", String::from_utf8_lossy(path));
            assert!(own(path).is_err(), "{}", String::from_utf8_lossy(path));
        }
        for file in [kernel(b"a/b/f", Links::Refuse), own(b"a/b/f"), kernel(b"a/inside/f", Links::Follow)] {
            let mut text = String::new();
            File::from(file.expect("opens")).read_to_string(&mut text).expect("reads");
            assert_eq!(text, "content");
        }
        assert_eq!(kernel(b"a/inside/f", Links::Refuse).err(), Some(Errno::LOOP));
        assert!(own(b"a/inside/f").is_err());
        assert!(own(b".").is_ok() && kernel(b"", Links::Refuse).is_ok());
    }
}
