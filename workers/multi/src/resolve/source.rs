//! Files by their names, from a directory or from within an archive. No link is followed, nothing outside is read.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::archive::Archive;
use super::{ResolveError, unreadable};

/// An OCI layout or an archive.
#[derive(Debug)]
pub(super) struct Source {
    path: PathBuf,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Directory,
    Archive(Archive),
}

impl Source {
    pub(super) fn open(path: &Path) -> Result<Self, ResolveError> {
        let is_dir = fs::metadata(path).map_err(unreadable(path))?.is_dir();
        let kind = if is_dir { Kind::Directory } else { Kind::Archive(Archive::open(path)?) };
        Ok(Self { path: path.to_owned(), kind })
    }

    pub(super) fn unusable(&self, why: impl Into<String>) -> ResolveError {
        ResolveError::Unusable { path: self.path.clone(), why: why.into() }
    }

    /// The file's bytes, at most `most` of them; nothing if there is no such file.
    pub(super) fn read(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>, ResolveError> {
        match &self.kind {
            Kind::Archive(archive) => archive.read(name, most).map_err(|why| self.unusable(why)),
            Kind::Directory => self.read_file(name, most),
        }
    }

    fn read_file(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>, ResolveError> {
        let mut path = self.path.clone();
        let mut length = 0;
        let mut parts = name.split('/').peekable();
        while let Some(part) = parts.next() {
            if matches!(part, "" | "." | "..") {
                return Err(self.unusable(format!("{name:?} leads out of it")));
            }
            path.push(part);
            let found = match fs::symlink_metadata(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                found => found.map_err(unreadable(&path))?,
            };
            let is_as_it_should = if parts.peek().is_some() { found.is_dir() } else { found.is_file() };
            if !is_as_it_should {
                return Err(self.unusable(format!("{name} is a link, or no file; it is not followed")));
            }
            length = found.len();
        }
        if length > most {
            return Err(self.unusable(format!("{name} has {length} bytes, where {most} are too many already")));
        }
        let mut bytes = Vec::new();
        let file = File::open(&path).map_err(unreadable(&path))?;
        file.take(most).read_to_end(&mut bytes).map_err(unreadable(&path))?;
        Ok(Some(bytes))
    }
}
