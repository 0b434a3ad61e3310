//! Positive evidence that nobody is writing a file: a read lease, which the kernel grants only while no one has the file
//! open for writing. Where it cannot be had, nothing is known.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Once;
use std::time::{Duration, SystemTime};

use rustix::fs::fstatfs;

use crate::jail::Sight;

/// Who has a file open for writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writers {
    /// Nobody on this machine.
    None,
    /// Somebody.
    Some,
    /// It cannot be told: not our file, or a file system without leases.
    Unknown,
}

/// Asks the kernel, without keeping anybody waiting: closing the file, at once, gives the lease back.
///
/// A writer that comes in between breaks the lease; the kernel then tells us by SIGIO, which would end the process and is
/// ignored from the first time on.
pub(crate) fn writers(file: OwnedFd) -> Writers {
    let file = file.as_fd();
    static IGNORED: Once = Once::new();
    IGNORED.call_once(ignore_sigio);
    match fcntl(file, libc::F_SETLEASE, libc::F_RDLCK) {
        Ok(()) => Writers::None,
        Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => Writers::Some,
        Err(_) => Writers::Unknown,
    }
}

#[expect(unsafe_code, reason = "neither std nor rustix sets what a signal does")]
fn ignore_sigio() {
    // SAFETY: no handler is installed, and nobody else in this process asks for SIGIO. It cannot fail for this signal.
    unsafe { libc::signal(libc::SIGIO, libc::SIG_IGN) };
}

#[expect(unsafe_code, reason = "neither std nor rustix has leases")]
fn fcntl(file: BorrowedFd<'_>, command: libc::c_int, argument: libc::c_int) -> std::io::Result<()> {
    // SAFETY: the descriptor is open as long as it is borrowed, and these commands take an integer, no pointer.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), command, argument) };
    if result == -1 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether the file has not changed for `stable_for` by the clock that stamps it, which on a file system of this machine is
/// the one that says what time it is `now`.
pub(crate) fn has_rested(sight: &Sight, stable_for: Duration, now: SystemTime) -> bool {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.checked_sub(stable_for)
        .is_some_and(|then| i128::try_from(then.as_nanos()).is_ok_and(|then| sight.changed_nanos <= then))
}

/// Whether every writer of this file system is on this machine, so that inotify sees and leases stop them all, and the
/// file system's clock is ours. Only kinds known to be so count.
pub(crate) fn is_local(file: impl AsFd) -> bool {
    // linux/magic.h; bcachefs from its own header, ZFS from OpenZFS.
    const LOCAL: [u32; 13] = [
        0xEF53,      // ext2, ext3, ext4
        0x5846_5342, // XFS
        0x9123_683E, // Btrfs
        0x0102_1994, // tmpfs
        0x8584_58F6, // ramfs
        0xF2F5_2010, // F2FS
        0xCA45_1A4E, // bcachefs
        0x2FC1_2FC1, // ZFS
        0x3153_464A, // JFS
        0x794C_7630, // overlayfs, whose layers nobody may write but through it
        0x4D44,      // FAT
        0x2011_BAB0, // exFAT
        0x7366_746E, // ntfs3
    ];
    fstatfs(file).is_ok_and(|fs| LOCAL.iter().any(|magic| i64::from(*magic) == fs.f_type & 0xFFFF_FFFF))
}

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};

    use super::*;

    #[test]
    fn a_lease_tells_whether_somebody_writes() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("f");
        std::fs::write(&path, "x").expect("written");
        let asked = || writers(File::open(&path).expect("opens").into());
        assert!(is_local(File::open(&path).expect("opens")), "the tests' own directory is on a local file system");
        assert_eq!(asked(), Writers::None);
        let writer = OpenOptions::new().append(true).open(&path).expect("opens");
        assert_eq!(asked(), Writers::Some);
        drop(writer);
        assert_eq!(asked(), Writers::None);
        let reader = File::open(&path).expect("opens");
        assert_eq!(asked(), Writers::None, "readers do not count");
        drop(reader);
    }
}
