//! How far a file is loaded, kept beside it.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use contract::name;
use serde::{Deserialize, Serialize};
use sidecar::{Failure, FailureExt};

/// A file's state, and where that is kept.
#[derive(Debug)]
pub(super) struct State {
    path: PathBuf,
    /// Locked as long as we are at it, and read again for its end.
    file: File,
    size: u64,
    kept: Kept,
}

/// What is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// Into what, for people.
    to: String,
    /// By which that is known: of a topic that was made again nothing is loaded.
    id: String,
    lines: u64,
    bytes: u64,
    /// A hash of what precedes `bytes` in the file, by which another file is known.
    tail: String,
}

/// How much of it is hashed.
const TAIL: u64 = 4 << 10;

/// Where it is kept unless something else is said.
pub(super) fn beside(file: &Path) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(".load-state");
    path.into()
}

impl State {
    /// The file, at the first line that is not loaded, and its state.
    ///
    /// # Errors
    /// 66 when the file cannot be read, 73 when the state cannot be kept, 75 when somebody else loads it, 78 when the state is of another
    /// file or destination.
    pub(super) fn open(path: &Path, kept_at: PathBuf, to: &str, id: &str) -> Result<(File, Self), Failure> {
        let open = || File::open(path).or_exit(66, format!("open --load {path:?}"));
        let (mut lines, file) = (open()?, open()?);
        let metadata = file.metadata().or_exit(66, format!("look at --load {path:?}"))?;
        if !metadata.is_file() {
            return Err(Failure::new(66, anyhow::anyhow!("--load {path:?} is no file; pipe it to `--load -`")));
        }
        // Where it cannot be locked, as on some network file systems, nothing is lost but this.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Err(Failure::new(75, anyhow::anyhow!("{path:?} is being loaded by somebody else")));
        }
        let other = |what: &str| {
            Failure::config(anyhow::anyhow!(
                "{kept_at:?} says how far {what} was loaded; remove it to load all of {path:?}"
            ))
        };
        let new = Kept { to: to.to_owned(), id: id.to_owned(), lines: 0, bytes: 0, tail: name::hash(&[b""]) };
        let kept = match std::fs::read(&kept_at) {
            Ok(text) => serde_json::from_slice(&text).map_err(|_| other("something else"))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => new.clone(),
            Err(error) => {
                return Err(Failure::new(66, anyhow::Error::from(error).context(format!("read {kept_at:?}"))));
            }
        };
        if (&kept.to, &kept.id) != (&new.to, &new.id) {
            return Err(other(&format!("something else, into {} ({}),", kept.to, kept.id)));
        }
        let mut this = Self { path: kept_at.clone(), file, size: metadata.len(), kept };
        let Kept { bytes, .. } = this.kept;
        let (tail, whole) = this.tail(bytes).or_exit(66, format!("read --load {path:?}"))?;
        if bytes > this.size || tail != this.kept.tail {
            return Err(other("another file"));
        }
        if !whole && bytes < this.size {
            return Err(other("a file whose last line was not whole yet"));
        }
        // So that it is known now, and not after a million lines, whether it can be kept.
        this.write()?;
        lines.seek(SeekFrom::Start(bytes)).or_exit(66, format!("read --load {path:?}"))?;
        Ok((lines, this))
    }

    pub(super) fn lines(&self) -> u64 {
        self.kept.lines
    }

    pub(super) fn bytes(&self) -> u64 {
        self.kept.bytes
    }

    /// Where it is kept.
    pub(super) fn kept_at(&self) -> &Path {
        &self.path
    }

    /// How large the file was when it was opened.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// So many lines are loaded, which end there. Once this returns that is remembered, whatever happens.
    pub(super) fn save(&mut self, lines: u64, bytes: u64) -> Result<(), Failure> {
        if lines == self.kept.lines {
            return Ok(());
        }
        let (tail, _) = self.tail(bytes).or_exit(66, "read the lines that are loaded again")?;
        self.kept = Kept { lines, bytes, tail, ..self.kept.clone() };
        self.write()
    }

    fn write(&self) -> Result<(), Failure> {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".tmp");
        let new = self.path.with_file_name(name);
        let text = serde_json::to_vec(&self.kept)?;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&new)?;
            file.write_all(&text)?;
            file.sync_all()?;
            std::fs::rename(&new, &self.path)?;
            File::open(folder)?.sync_all()
        };
        write().or_exit(73, format!("write {:?}, where is kept how far it came (see --load-state)", self.path))
    }

    /// A hash of what precedes `bytes`, and whether a line ends there.
    fn tail(&mut self, bytes: u64) -> std::io::Result<(String, bool)> {
        let length = bytes.min(TAIL);
        self.file.seek(SeekFrom::Start(bytes - length))?;
        let mut tail = Vec::new();
        (&self.file).take(length).read_to_end(&mut tail)?;
        Ok((name::hash(&[&tail]), tail.last().is_none_or(|last| *last == b'\n')))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_goes_on_where_it_was_and_another_is_known_for_that() {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, kept) = (dir.path().join("lines"), dir.path().join("lines.load-state"));
        std::fs::write(&path, "one\ntwo\nthree").expect("a file");
        let open = |topic: &str, id: &str| {
            State::open(&path, beside(&path), topic, id).map(|(file, state)| {
                let mut rest = String::new();
                (&file).read_to_string(&mut rest).expect("is read");
                (rest, state)
            })
        };
        let (rest, mut state) = open("t", "1").expect("opens");
        assert_eq!(rest, "one\ntwo\nthree");
        assert_eq!(open("t", "1").expect_err("is locked").code(), 75);
        state.save(1, 4).expect("is saved");
        drop(state);
        let (rest, mut state) = open("t", "1").expect("opens");
        assert_eq!((rest.as_str(), state.lines()), ("two\nthree", 1));
        state.save(3, 13).expect("is saved");
        drop(state);
        assert_eq!(open("t", "1").expect("opens").0, "");

        for (topic, id) in [("t", "2"), ("u", "1")] {
            let error = open(topic, id).expect_err("is of another topic");
            assert!(error.code() == 78 && error.to_string().contains("remove it"), "{error}");
        }
        std::fs::write(&path, "one\ntwo\nthreefold\n").expect("a file");
        assert!(open("t", "1").expect_err("was cut").to_string().contains("not whole"));
        std::fs::write(&path, "one\nTWO\nthree").expect("a file");
        assert!(open("t", "1").expect_err("is another").to_string().contains("another file"));
        std::fs::write(&path, "one\n").expect("a file");
        assert_eq!(open("t", "1").expect_err("is another").code(), 78);
        std::fs::remove_file(&kept).expect("removed");
        assert_eq!(open("t", "1").expect("begins anew").0, "one\n");
    }
}
