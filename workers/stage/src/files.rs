//! Writing and reading the files of the protocol: whole or not at all, and nothing that a reader could be held up by.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, OFlags, fallocate};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::protocol::LONGEST;

/// Others read it, whatever the umask of who wrote it.
const MODE: u32 = 0o644;

/// Writes `value` as JSON to a temporary name beside `path` and renames it, readable for every user. It is not made durable:
/// what a pod's life depends on ends with it.
///
/// # Errors
/// When it cannot be written, or is longer than [`LONGEST`]: no reader would take it.
pub fn write(path: &Path, value: &impl Serialize) -> io::Result<()> {
    Reserved::new(path, 0)?.write(value)
}

/// Reads what [`write()`] has written; `None` where there is no such file.
///
/// # Errors
/// When it is no regular file, longer than [`LONGEST`], or not what is expected there; the error names the file.
pub fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    bytes(path)?.map(|bytes| parse(&bytes, path)).transpose()
}

/// What the bytes of the file at `path` say.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8], path: &Path) -> io::Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display())))
}

/// Room for a file that must be written later, when the disk may be full. Dropped before that, it is given back.
#[derive(Debug)]
pub struct Reserved {
    path: PathBuf,
    temporary: PathBuf,
    file: File,
    /// The most bytes that may be in the file.
    length: u64,
    is_shown: bool,
}

impl Reserved {
    /// Reserves `bytes` where `path` will stand.
    ///
    /// # Errors
    /// When there is no room, or the directory cannot be written to.
    pub fn new(path: &Path, bytes: u64) -> io::Result<Self> {
        let temporary = temporary(path);
        let create = || OpenOptions::new().write(true).create_new(true).mode(MODE).open(&temporary);
        let make = || {
            let file = match create() {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    fs::remove_file(&temporary)?;
                    create()
                }
                created => created,
            }?;
            file.set_permissions(Permissions::from_mode(MODE))?;
            if bytes > 0 {
                match fallocate(&file, FallocateFlags::empty(), 0, bytes) {
                    Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(file)
        };
        let file = make().map_err(|error| about(&error, "write", path))?;
        Ok(Self { path: path.to_owned(), temporary, file, length: bytes, is_shown: false })
    }

    /// Writes `value` into that room, and shows it.
    ///
    /// # Errors
    /// As [`write()`]; it can be tried again.
    pub fn write(&mut self, value: &impl Serialize) -> io::Result<()> {
        let json = serde_json::to_vec(value)?;
        if json.len() as u64 > LONGEST {
            let message =
                format!("{}: {} bytes are more than the {LONGEST} of a message", self.path.display(), json.len());
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        let length = json.len() as u64;
        // What was reserved, and what an attempt that failed has written, may be more than this.
        let is_longer = self.length > length;
        self.length = self.length.max(length);
        let show = || {
            self.file.write_all_at(&json, 0)?;
            if is_longer {
                self.file.set_len(length)?;
            }
            fs::rename(&self.temporary, &self.path)
        };
        show().map_err(|error| about(&error, "write", &self.path))?;
        self.is_shown = true;
        Ok(())
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if !self.is_shown {
            // Whoever writes there next writes over it.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// What to do about a directory of the protocol that cannot be written to, to be put behind the error.
pub fn next_step(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull => "; its volume is full: give it a larger sizeLimit",
        io::ErrorKind::QuotaExceeded => "; the quota of its volume is used up",
        io::ErrorKind::ReadOnlyFilesystem => "; mount it in this container without readOnly",
        io::ErrorKind::PermissionDenied => "; it must be writable by the user of this container: set the pod's fsGroup",
        _ => "",
    }
}

/// What a file holds; `None` where there is none.
pub(crate) fn bytes(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let Some((file, length)) = open_regular(path)? else { return Ok(None) };
    let mut bytes = Vec::with_capacity(usize::try_from(length.min(LONGEST)).unwrap_or_default());
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(|error| about(&error, "read", path))?;
    if bytes.len() as u64 > LONGEST {
        let message = format!("{} is longer than the {LONGEST} bytes of a message", path.display());
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(Some(bytes))
}

/// Opens a regular file for reading, and nothing that would make the opener wait or lead it elsewhere; with how many bytes are
/// in it.
pub(crate) fn open_regular(path: &Path) -> io::Result<Option<(File, u64)>> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(about(&error, "read", path)),
    };
    let found = file.metadata().map_err(|error| about(&error, "read", path))?;
    if !found.is_file() {
        let message = format!("{} is not a regular file", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(Some((file, found.len())))
}

/// An error with the path that it is about; its kind stays.
pub(crate) fn about(error: &io::Error, act: &str, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {act} {}: {error}", path.display()))
}

/// Hidden, so that nobody takes it for a message; the same every time, so that one that a dead writer has left is written over.
fn temporary(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".tmp");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_is_everybodys_to_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("1.go.json");
        assert_eq!(read::<String>(&path).expect("reads"), None);
        // Somebody died as he wrote one, or laid a trap.
        symlink("/dev/full", dir.path().join(".1.go.json.tmp")).expect("linked");
        for text in ["one", "two"] {
            write(&path, &text).expect("written");
            assert_eq!(read::<String>(&path).expect("reads").as_deref(), Some(text));
        }
        assert_eq!(path.metadata().expect("is there").permissions().mode() & 0o777, 0o644);
        assert_eq!(dir.path().read_dir().expect("lists").count(), 1);
    }

    #[test]
    fn what_is_hostile_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("hello.json");
        let refuses = |what: &str| {
            let error = read::<String>(&path).expect_err(what);
            assert!(error.to_string().contains("hello.json"), "{what}: {error}");
            if path.is_dir() {
                fs::remove_dir(&path).expect("removed")
            } else {
                fs::remove_file(&path).expect("removed")
            };
        };
        mkfifoat(CWD, &path, Mode::RWXU).expect("made");
        refuses("a pipe that nobody writes to");
        symlink("/dev/zero", &path).expect("linked");
        refuses("a link");
        fs::create_dir(&path).expect("made");
        refuses("a directory");
        fs::write(&path, "{").expect("written");
        refuses("half a message");
        fs::write(&path, vec![b' '; usize::try_from(LONGEST).expect("fits") + 1]).expect("written");
        refuses("an endless message");
    }

    #[test]
    fn what_no_reader_would_take_is_not_written() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("1.go.json");
        let error = write(&path, &"x".repeat(1 << 20)).expect_err("is too long");
        assert!(error.to_string().contains("1.go.json"), "{error}");
        assert!(!path.exists());
    }

    #[test]
    fn what_is_reserved_is_there_until_it_is_written_into() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("1.result.json");
        let mut reserved = Reserved::new(&path, 100_000).expect("reserved");
        let held = dir.path().join(".1.result.json.tmp").metadata().expect("is there");
        assert!(held.len() == 100_000 && !path.exists());
        reserved.write(&"short").expect("written");
        drop(reserved);
        assert_eq!(path.metadata().expect("is there").len(), "\"short\"".len() as u64);
        drop(Reserved::new(&dir.path().join("2.result.json"), 100_000).expect("reserved"));
        assert_eq!(dir.path().read_dir().expect("lists").count(), 1, "what is not needed is given back");
    }

    #[test]
    fn what_could_not_be_shown_is_written_over_whole() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("1.result.json");
        fs::create_dir_all(path.join("x")).expect("in the way");
        let mut reserved = Reserved::new(&path, 0).expect("reserved");
        reserved.write(&"a long text").expect_err("something stands there");
        fs::remove_dir_all(&path).expect("removed");
        reserved.write(&"short").expect("written");
        assert_eq!(read::<String>(&path).expect("reads").as_deref(), Some("short"));
    }
}
