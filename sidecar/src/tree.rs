//! Removing what a command has left: a tree of any depth, with any names and modes in it, by descriptors and in constant
//! memory. The standard library holds a descriptor for each level, and fails a thousand levels down.

use std::ffi::CStr;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, Dir, FileType, IFlags, Mode, OFlags, chmodat, ioctl_getflags, ioctl_setflags, openat, renameat, statat,
    unlinkat,
};
use rustix::io::Errno;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Removes the directory `path` and everything in it; it may be gone, or be going, already. A directory that is not empty
/// is moved up before it is emptied, so that neither a long path nor a descriptor for each level is ever needed.
///
/// # Errors
/// What could not be removed (of another user, a mount point); the rest is removed all the same.
pub fn remove(path: &Path) -> io::Result<()> {
    match empty_and_remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn empty_and_remove(path: &Path) -> io::Result<()> {
    loosen(path)?;
    let top = rustix::fs::open(path, DIRECTORY, Mode::empty())?;
    loop {
        let mut moved = 0;
        let mut failed = None;
        for (name, _) in entries(&top)? {
            match clear(top.as_fd(), &name, &mut moved) {
                Ok(()) => {}
                // Somebody else is at it too: look again at what is left.
                Err(Errno::NOENT) => moved += 1,
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            _ if moved > 0 => {}
            Some(error) => return Err(error.into()),
            None => return std::fs::remove_dir(path),
        }
    }
}

/// Makes a directory one that its owner may read, empty and move, whatever its mode and flags.
///
/// # Errors
/// When it is gone, or another user's.
pub fn loosen(path: &Path) -> io::Result<()> {
    if path.symlink_metadata()?.is_dir() {
        let open_up = || std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700));
        // An immutable directory does not even change its mode.
        if open_up().is_err() {
            unlock(std::fs::File::open(path)?.as_fd());
            open_up()?;
        }
    }
    Ok(())
}

fn entries(dir: &OwnedFd) -> rustix::io::Result<Vec<(std::ffi::CString, FileType)>> {
    let mut all = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            all.push((entry.file_name().to_owned(), entry.file_type()));
        }
    }
    Ok(all)
}

/// Removes `name` from the top directory, after moving the directories in it up there.
fn clear(top: BorrowedFd<'_>, name: &CStr, moved: &mut u64) -> rustix::io::Result<()> {
    if !is_dir(top, name)? {
        return unlink(top, name, AtFlags::empty());
    }
    let dir = enter(top, name)?;
    let mut result = Ok(());
    for (inner, kind) in entries(&dir)? {
        let directory = match kind {
            FileType::Unknown => is_dir(dir.as_fd(), &inner)?,
            kind => kind == FileType::Directory,
        };
        let removed = if directory {
            remove_dir(top, dir.as_fd(), &inner, moved)
        } else {
            unlink(dir.as_fd(), &inner, AtFlags::empty())
        };
        result = result.and(removed);
    }
    result?;
    unlink(top, name, AtFlags::REMOVEDIR)
}

fn remove_dir(top: BorrowedFd<'_>, parent: BorrowedFd<'_>, name: &CStr, moved: &mut u64) -> rustix::io::Result<()> {
    match unlink(parent, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOTEMPTY | Errno::EXIST) => {}
        other => return other,
    }
    // To move a directory, one must be allowed to write to it.
    drop(enter(parent, name)?);
    renameat(parent, name, top, format!("up.{:016x}", RandomState::new().build_hasher().finish()))?;
    *moved += 1;
    Ok(())
}

fn is_dir(parent: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<bool> {
    let found = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(found.st_mode) == FileType::Directory)
}

/// Opens a directory for emptying, whatever its mode and flags.
fn enter(parent: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<OwnedFd> {
    let found = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if found.st_mode & 0o700 != 0o700 {
        // Not a link: the stat above says so, and nothing runs here any more that could make it one.
        chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
    }
    openat(parent, name, DIRECTORY, Mode::empty())
}

fn unlink(parent: BorrowedFd<'_>, name: &CStr, how: AtFlags) -> rustix::io::Result<()> {
    match unlinkat(parent, name, how) {
        Err(Errno::PERM) => {
            // Immutable or append-only, it or the directory, which root can make and root can undo.
            unlock(parent);
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            if let Ok(file) = openat(parent, name, flags, Mode::empty()) {
                unlock(file.as_fd());
            }
            unlinkat(parent, name, how)
        }
        other => other,
    }
}

fn unlock(file: BorrowedFd<'_>) {
    if let Ok(flags) = ioctl_getflags(file) {
        let _ = ioctl_setflags(file, flags - IFlags::IMMUTABLE - IFlags::APPEND);
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn hostile_trees_go_away_and_what_links_point_at_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let (trash, outside) = (dir.path().join("trash"), dir.path().join("outside"));
        let tree = trash.join("one/tmp");
        fs::create_dir_all(&tree).expect("made");
        fs::create_dir(&outside).expect("made");
        fs::write(outside.join("precious"), "x").expect("written");
        symlink(&outside, tree.join("link")).expect("linked");
        symlink("/nonexistent", trash.join("dangling")).expect("linked");
        for name in [b"\xff\xfe\n".as_slice(), b"-rf", b"$(rm -rf *)", &[b'x'; 255]] {
            fs::write(tree.join(OsStr::from_bytes(name)), "x").expect("written");
            fs::create_dir_all(tree.join("d").join(OsStr::from_bytes(name)).join("inner")).expect("made");
        }
        rustix::fs::mkfifoat(rustix::fs::CWD, tree.join("pipe"), Mode::RWXU).expect("made");
        for mode in [0o000, 0o100, 0o444] {
            let sub = tree.join(format!("mode{mode:o}"));
            fs::create_dir_all(sub.join("inner/most")).expect("made");
            fs::set_permissions(sub.join("inner"), fs::Permissions::from_mode(mode)).expect("set");
            fs::set_permissions(&sub, fs::Permissions::from_mode(mode)).expect("set");
        }
        fs::set_permissions(&trash, fs::Permissions::from_mode(0o000)).expect("set");
        remove(&trash).expect("removed");
        assert!(!trash.exists());
        remove(&trash).expect("it is gone already");
        assert_eq!(fs::read_to_string(outside.join("precious")).expect("still there"), "x");
    }

    #[test]
    fn depth_is_no_obstacle() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut at = rustix::fs::open(dir.path(), DIRECTORY, Mode::empty()).expect("opens");
        for _ in 0..5_000 {
            rustix::fs::mkdirat(&at, "deep", Mode::RWXU).expect("made");
            at = openat(&at, "deep", DIRECTORY, Mode::empty()).expect("opens");
        }
        remove(dir.path()).expect("removed");
        assert!(!dir.path().exists());
    }

    /// Where this user may set the flag, on a file system that has it.
    mod needs_immutable {
        use super::*;

        #[test]
        fn immutable_files_go_away() {
            let dir = tempfile::tempdir().expect("a directory");
            fs::create_dir(dir.path().join("d")).expect("made");
            let path = dir.path().join("d/fixed");
            fs::write(&path, "x").expect("written");
            let file = fs::File::open(&path).expect("opens");
            let flags = ioctl_getflags(&file).expect("this file system has flags");
            ioctl_setflags(&file, flags | IFlags::IMMUTABLE).expect("this user may set them");
            assert!(fs::remove_file(&path).is_err(), "the flag does nothing here");
            remove(&dir.path().join("d")).expect("removed");
            assert!(!path.exists());
        }
    }
}
