//! A tar archive as a set of files. It is looked through once; of its files only those that are asked for are read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Component, Path};
use std::sync::Mutex;

use super::{ResolveError, unreadable};

/// The most bytes that are read of an archive to see what is in it: 512 for each file, more for each with a long name. An archive of
/// images has a few hundred files.
const MOST_READ: u64 = 64 << 20;

#[derive(Debug)]
pub(super) struct Archive {
    file: Mutex<File>,
    entries: BTreeMap<String, Entry>,
}

#[derive(Clone, Copy, Debug)]
enum Entry {
    File {
        at: u64,
        length: u64,
    },
    /// A link, or something that is no file. Legacy parts of archives have some.
    Other,
    /// Tools differ in which of the two they take.
    Twice,
}

/// Reads at most so many bytes; what is skipped does not count.
struct Bounded<'a> {
    file: &'a File,
    left: u64,
}

impl Read for Bounded<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::Error::other("it holds more files, or longer names, than an archive of images would"));
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(into.len());
        let read = self.file.read(into.get_mut(..most).unwrap_or_default())?;
        self.left -= u64::try_from(read).unwrap_or(u64::MAX).min(self.left);
        Ok(read)
    }
}

impl Seek for Bounded<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

impl Archive {
    pub(super) fn open(path: &Path) -> Result<Self, ResolveError> {
        let mut file = File::open(path).map_err(unreadable(path))?;
        let unusable = |why: String| ResolveError::Unusable { path: path.to_owned(), why };
        let mut magic = [0; 2];
        if file.read(&mut magic).map_err(unreadable(path))? == 2 && matches!(magic, [0x1f, 0x8b] | [0x28, 0xb5]) {
            return Err(unusable("it is compressed; unpack it first, as by gunzip or zstd -d".into()));
        }
        file.rewind().map_err(unreadable(path))?;
        let length = file.metadata().map_err(unreadable(path))?.len();
        let entries = index(&file, length).map_err(unusable)?;
        Ok(Self { file: Mutex::new(file), entries })
    }

    /// The file's bytes, at most `most` of them; nothing if there is no such file.
    pub(super) fn read(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>, String> {
        let (at, length) = match self.entries.get(name) {
            None => return Ok(None),
            Some(Entry::Other) => return Err(format!("{name} is a link, or no file; it is not followed")),
            Some(Entry::Twice) => return Err(format!("{name} is in it twice")),
            Some(Entry::File { at, length }) => (*at, *length),
        };
        if length > most {
            return Err(format!("{name} has {length} bytes, where {most} are too many already"));
        }
        let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(at)).map_err(|error| format!("{name}: {error}"))?;
        (&*file).take(length).read_to_end(&mut bytes).map_err(|error| format!("{name}: {error}"))?;
        Ok(Some(bytes))
    }
}

fn index(file: &File, length: u64) -> Result<BTreeMap<String, Entry>, String> {
    let damaged = |error: io::Error| format!("it is no tar archive, or a damaged one: {error}");
    let mut archive = tar::Archive::new(Bounded { file, left: MOST_READ });
    let mut entries = BTreeMap::new();
    for entry in archive.entries_with_seek().map_err(damaged)? {
        let entry = entry.map_err(damaged)?;
        let path = entry.path().map_err(damaged)?;
        let Some(name) = inside(&path) else {
            return Err(format!("{} in it leads out of it; nothing of it is believed", path.display()));
        };
        let (at, size) = (entry.raw_file_position(), entry.size());
        if at.checked_add(size).is_none_or(|end| end > length) {
            return Err(format!("it ends within {name}; is it whole?"));
        }
        let kind = entry.header().entry_type();
        let found =
            if kind.is_file() || kind.is_contiguous() { Entry::File { at, length: size } } else { Entry::Other };
        if !kind.is_dir() {
            entries.entry(name).and_modify(|before| *before = Entry::Twice).or_insert(found);
        }
    }
    Ok(entries)
}

/// The path as it is spelled in indexes, if it stays inside.
fn inside(path: &Path) -> Option<String> {
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(part) => parts.push(part.to_string_lossy().into_owned()),
            Component::CurDir => {}
            Component::Prefix(_) | Component::RootDir | Component::ParentDir => return None,
        }
    }
    Some(parts.join("/"))
}
