//! One directory of the folder, and what its entries look like.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use contract::FileVersion;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Statx, StatxFlags, openat, statx};
use rustix::io::Errno;

use super::{Links, open_beneath};

/// What is asked of every entry.
const WANTED: StatxFlags = StatxFlags::TYPE
    .union(StatxFlags::SIZE)
    .union(StatxFlags::MTIME)
    .union(StatxFlags::CTIME)
    .union(StatxFlags::INO)
    .union(StatxFlags::MNT_ID);

/// What kind of thing an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A socket, a pipe or a device.
    Other,
}

/// What an entry looked like at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sight {
    /// What it is.
    pub(crate) kind: Kind,
    /// Size and modification time.
    pub(crate) version: FileVersion,
    /// Inode number.
    pub(crate) inode: u64,
    /// When inode or content last changed, nanoseconds since 1970 by the file system's clock; nobody can set it.
    pub(crate) changed_nanos: i128,
    /// The mount it lies on, where the kernel tells (5.8).
    pub(crate) mount: Option<u64>,
    /// The device it lies on.
    pub(crate) device: (u32, u32),
}

impl Sight {
    fn new(stat: &Statx) -> Self {
        let nanos =
            |time: rustix::fs::StatxTimestamp| i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec);
        let kind = match FileType::from_raw_mode(stat.stx_mode.into()) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Link,
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => Kind::Other,
        };
        Self {
            kind,
            version: FileVersion { size: stat.stx_size, mtime_nanos: nanos(stat.stx_mtime) },
            inode: stat.stx_ino,
            changed_nanos: nanos(stat.stx_ctime),
            mount: (stat.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(stat.stx_mnt_id),
            device: (stat.stx_dev_major, stat.stx_dev_minor),
        }
    }

    /// What an open file looks like; asked of the server, not of a cache, where there is one.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn of(file: impl AsFd) -> Result<Self, Errno> {
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_FORCE_SYNC;
        statx(file, c"", flags, WANTED).map(|stat| Self::new(&stat))
    }

    /// Whether both are the same content of the same inode, as far as can be told.
    pub(crate) fn same_file(&self, other: &Self) -> bool {
        (self.version, self.inode, self.kind) == (other.version, other.inode, other.kind)
    }
}

/// An open directory beneath the root.
#[derive(Debug)]
pub(crate) struct Dir {
    fd: OwnedFd,
    sight: Sight,
}

impl Dir {
    pub(super) fn new(fd: OwnedFd) -> Result<Self, Errno> {
        let sight = Sight::of(&fd)?;
        Ok(Self { fd, sight })
    }

    /// What the directory itself looks like.
    pub(crate) fn sight(&self) -> &Sight {
        &self.sight
    }

    /// What the entry of this name looks like; a link itself, not what it points to. `fresh`: ask the server.
    ///
    /// # Errors
    /// The system's; `NOENT` when there is none.
    pub(crate) fn look(&self, name: &[u8], fresh: bool) -> Result<Sight, Errno> {
        let flags =
            if fresh { AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_FORCE_SYNC } else { AtFlags::SYMLINK_NOFOLLOW };
        statx(&self.fd, name, flags, WANTED).map(|stat| Sight::new(&stat))
    }

    /// Opens the regular file of this name for reading; never a link.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn open_file(&self, name: &[u8]) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW;
        if name.contains(&b'/') || name == b".." {
            return open_beneath(&self.fd, name, flags, Links::Refuse);
        }
        // A single name leads nowhere else, and asking for more is not for nothing.
        let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        openat(&self.fd, name, flags, Mode::empty())
    }

    /// Opens the directory of this name; never through a link.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn open_dir(&self, name: &[u8]) -> Result<Self, Errno> {
        open_beneath(&self.fd, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW, Links::Refuse)
            .and_then(Self::new)
    }

    /// Calls `each` with the name and, where the directory tells it, the kind of every entry.
    ///
    /// # Errors
    /// The system's, after the entries read so far; and what `each` fails with.
    pub(crate) fn read(&self, mut each: impl FnMut(&[u8], Option<Kind>)) -> Result<(), Errno> {
        // A descriptor of its own: this one's position stays where it is.
        let fd = open_beneath(&self.fd, b".", OFlags::RDONLY | OFlags::DIRECTORY, Links::Refuse)?;
        let mut buffer = vec![MaybeUninit::uninit(); 64 * 1024];
        let mut entries = RawDir::new(&fd, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::RegularFile => Some(Kind::File),
                FileType::Directory => Some(Kind::Directory),
                FileType::Symlink => Some(Kind::Link),
                FileType::Unknown => None,
                FileType::Fifo | FileType::Socket | FileType::CharacterDevice | FileType::BlockDevice => {
                    Some(Kind::Other)
                }
            };
            each(name, kind);
        }
        Ok(())
    }

    /// Whether it has no entries.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn is_empty(&self) -> Result<bool, Errno> {
        let mut empty = true;
        self.read(|_, _| empty = false)?;
        Ok(empty)
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
