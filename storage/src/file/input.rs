//! Inputs where they lie: opened beneath the allowed root, checked for the item's version, looked at again.

use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use contract::{FileVersion, Key};
use rustix::fs::{FileType, OFlags, Stat, fstat};
use rustix::io::Errno;

use super::blocking;
use super::dir::{Dir, kind, kind_name};
use crate::uri::file_uri;
use crate::{BoxFuture, Error, Input, Inputs, Object, Uri};

/// Everything below a directory, or one file.
#[derive(Clone, Debug)]
pub(super) struct FileInputs {
    root: PathBuf,
}

impl FileInputs {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    fn relative(&self, uri: &Uri) -> Option<PathBuf> {
        let Uri::File(path) = uri else { return None };
        // By whole components: /allowed2 is not inside of /allowed. A root that leads through a link may be called by its
        // real name too, as a source that was given the same root may do.
        let relative = path.strip_prefix(&self.root).map(ToOwned::to_owned).or_else(|_| {
            let real = self.root.canonicalize().map_err(drop)?;
            path.strip_prefix(real).map(ToOwned::to_owned).map_err(drop)
        });
        relative.ok().filter(|path| path.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir)))
    }

    fn inside(&self, object: &Object) -> Result<PathBuf, Error> {
        let outside = || Error::Forbidden(format!("{} lies outside of {}", object.uri, self.root.display()));
        self.relative(&object.uri).ok_or_else(outside)
    }

    fn input(&self, object: &Object, version: String) -> Result<FileInput, Error> {
        let relative = self.inside(object)?;
        let path = if relative.as_os_str().is_empty() { self.root.clone() } else { self.root.join(&relative) };
        Ok(FileInput { inputs: self.clone(), relative, path, version, pinned: named(object).is_some() })
    }

    /// The version of the regular file at `relative`, which can be opened for reading.
    fn look(&self, relative: &Path) -> Result<FileVersion, Error> {
        let path = self.root.join(relative);
        let uri = file_uri(&path);
        // A root that is one file has no "beneath": its directory is the jail then.
        let (jail, inside) = match (relative.as_os_str().is_empty(), self.root.parent(), self.root.file_name()) {
            (true, Some(parent), Some(name)) => (parent, Path::new(name)),
            _ => (self.root.as_path(), relative),
        };
        let jail = Dir::open(jail).map_err(|errno| match errno {
            // Not the item's fault, and most likely a volume that is not mounted (yet).
            Errno::NOENT | Errno::NOTDIR => Error::Unavailable {
                doing: format!("open {}, which --allow-input names; is its volume mounted?", jail.display()),
                source: errno.into(),
            },
            Errno::ACCESS | Errno::PERM => Error::Forbidden(format!("{} may not be read by this user", jail.display())),
            errno => Error::io(format!("open {}", jail.display()), errno),
        })?;
        let refused = |errno| match errno {
            Errno::NOENT | Errno::NOTDIR => Error::NotFound(format!("{uri} is not there")),
            Errno::XDEV | Errno::LOOP => Error::Forbidden(format!(
                "{uri} leads through a symbolic link out of {}, the root that --allow-input names",
                self.root.display()
            )),
            Errno::ACCESS | Errno::PERM => Error::Forbidden(format!("{uri} may not be read by this user")),
            Errno::NAMETOOLONG => Error::Invalid(format!("{uri} is longer than a path can be")),
            Errno::NOSYS => Error::Unsupported("this kernel has no openat2(2): Linux 5.6 is needed".to_owned()),
            errno => Error::io(format!("open {uri}"), errno),
        };
        // Opened as a mere path first: opening a pipe or a device may do something.
        let stat = |fd| fstat(&fd).map_err(|errno| Error::io(format!("look at {uri}"), errno));
        let seen = stat(jail.open_beneath(inside, OFlags::PATH).map_err(refused)?)?;
        if kind(&seen) != FileType::RegularFile {
            return Err(Error::Invalid(format!("{uri} is {}; an input must be a regular file", kind_name(&seen))));
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        Ok(version(&stat(jail.open_beneath(inside, flags).map_err(refused)?)?))
    }
}

impl Inputs for FileInputs {
    fn key(&self, uri: &Uri) -> Option<Key> {
        let relative = self.relative(uri)?;
        let named = if relative.as_os_str().is_empty() { self.root.file_name()? } else { relative.as_os_str() };
        Some(Key::new(named.as_bytes()))
    }

    fn fetch<'a>(&'a self, object: &'a Object, _scratch: &'a Path) -> BoxFuture<'a, Result<Box<dyn Input>, Error>> {
        Box::pin(async move {
            let found = look(self.clone(), self.inside(object)?).await?;
            if let Some(wanted) = named(object) {
                expect(&object.uri.to_string(), wanted, found)?;
            }
            Ok(Box::new(self.input(object, found.to_string())?) as Box<dyn Input>)
        })
    }

    fn regard(&self, object: &Object, _path: &Path, seen: &serde_json::Value) -> Result<Box<dyn Input>, Error> {
        let version = seen.as_str().filter(|text| is_file_version(text));
        let version = version.ok_or_else(|| Error::Invalid(format!("{seen} is no version of a file")))?;
        Ok(Box::new(self.input(object, version.to_owned())?))
    }

    fn check(&self) -> BoxFuture<'_, Result<(), Error>> {
        let root = self.root.clone();
        Box::pin(blocking(move || {
            let open = |errno| Error::io(format!("read {}", root.display()), errno);
            std::fs::read_dir(&root).map(drop).or_else(|error| match error.raw_os_error() {
                Some(errno) if errno == Errno::NOTDIR.raw_os_error() => {
                    std::fs::File::open(&root).map(drop).map_err(open)
                }
                _ => Err(open(error)),
            })
        }))
    }
}

#[derive(Debug)]
struct FileInput {
    inputs: FileInputs,
    relative: PathBuf,
    path: PathBuf,
    /// As [`FileVersion`] writes it.
    version: String,
    /// Whether the item named this version. If it did, another version is another item; if not, nobody else will come
    /// for it.
    pinned: bool,
}

impl Input for FileInput {
    fn path(&self) -> &Path {
        &self.path
    }

    fn seen(&self) -> serde_json::Value {
        self.version.as_str().into()
    }

    fn verify(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            let found = look(self.inputs.clone(), self.relative.clone()).await?;
            let uri = file_uri(&self.path);
            if !self.pinned && found.to_string() != self.version {
                return Err(Error::Busy(format!("{uri} changed while it was being worked on; run the item again")));
            }
            expect(&uri, &self.version, found)
        })
    }
}

async fn look(inputs: FileInputs, relative: PathBuf) -> Result<FileVersion, Error> {
    blocking(move || inputs.look(&relative)).await
}

fn expect(uri: &str, wanted: &str, found: FileVersion) -> Result<(), Error> {
    let found = found.to_string();
    if found == wanted {
        return Ok(());
    }
    Err(Error::Changed { uri: uri.to_owned(), wanted: wanted.to_owned(), found })
}

fn version(stat: &Stat) -> FileVersion {
    FileVersion {
        size: u64::try_from(stat.st_size).unwrap_or_default(),
        mtime_nanos: i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec),
    }
}

/// The version that an item names, where that is a file's.
fn named(object: &Object) -> Option<&str> {
    object.version.as_deref().filter(|text| is_file_version(text))
}

/// Whether an item's version is one that [`FileVersion`] writes. Another source's word for its version (a checksum, say)
/// cannot be compared with a file, and must not make every item look superseded.
fn is_file_version(text: &str) -> bool {
    let decimal = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.split_once('-').is_some_and(|(size, mtime)| decimal(size) && decimal(mtime.strip_prefix('-').unwrap_or(mtime)))
}
