//! One item's way in two processes: one fetches, others make something of it, and one more publishes that, without having fetched
//! anything. What passes between them is a directory.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use contract::wire::Item;
use contract::{ItemName, exit};
use serde::{Deserialize, Serialize};
use sidecar::tree;

use crate::JobError;
use crate::inputs::{Admitted, Fetched, Ready};
use crate::scratch::readable;

/// The most that a note may hold, in bytes.
const LONGEST: u64 = 4 * 1024 * 1024;

/// A directory by which an item that was fetched is passed on. Its paths are fixed, so that manifests may name them before there
/// is an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay(PathBuf);

/// What the process that fetches tells the one that publishes. Written last.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Note {
    item: ItemName,
    inputs: Vec<Fetched>,
}

impl Relay {
    /// The one in `dir`, an absolute path.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self(dir.into())
    }

    /// The whole Item as JSON, readable by every user.
    pub fn item_file(&self) -> PathBuf {
        self.0.join("item.json")
    }

    /// A link to the item's first input; not there for an item without.
    pub fn input_file(&self) -> PathBuf {
        self.0.join("input")
    }

    /// A directory with a link to each input by its own name.
    pub fn input_dir(&self) -> PathBuf {
        self.0.join("inputs")
    }

    fn fetched(&self) -> PathBuf {
        self.0.join("fetched")
    }

    fn note(&self) -> PathBuf {
        self.0.join("fetched.json")
    }

    /// Makes room: what an earlier process of the same pod has left, whole or not, is fetched again.
    pub(crate) fn begin(&self) -> Result<PathBuf, JobError> {
        let clear = || {
            fs::create_dir_all(&self.0)?;
            for file in [self.note(), self.item_file(), self.input_file()] {
                fs::remove_file(&file).or_else(|error| match error.kind() {
                    io::ErrorKind::NotFound => Ok(()),
                    _ => Err(error),
                })?;
            }
            for dir in [self.input_dir(), self.fetched()] {
                tree::remove(&dir)?;
                fs::create_dir(dir)?;
            }
            Ok(())
        };
        clear().map_err(|error| self.failed("make room for the item in", &error))?;
        Ok(self.fetched())
    }

    /// Passes the item on.
    pub(crate) fn leave(&self, name: ItemName, item: &Item, inputs: &Ready) -> Result<(), JobError> {
        let note = Note { item: name, inputs: inputs.fetched() };
        let leave = || {
            inputs.link(&self.input_dir())?;
            if let Some(first) = inputs.paths().first() {
                symlink(first, self.input_file())?;
            }
            readable(&self.fetched())?;
            readable(&self.input_dir())?;
            self.write(&self.item_file(), item)?;
            self.write(&self.note(), &note)
        };
        leave().map_err(|error| self.failed("leave the item in", &error))
    }

    fn write(&self, path: &Path, value: &impl Serialize) -> io::Result<()> {
        let mut temporary = tempfile::NamedTempFile::new_in(&self.0)?;
        serde_json::to_writer(&mut temporary, value)?;
        temporary.flush()?;
        temporary.as_file().set_permissions(Permissions::from_mode(0o644))?;
        temporary.persist(path).map(drop).map_err(|error| error.error)
    }

    /// The inputs that another process has left for the item of this name.
    pub(crate) fn take_up(&self, item: &ItemName, admitted: &Admitted<'_>) -> Result<Ready, JobError> {
        let path = self.note();
        let read = File::open(&path).map(|file| io::Read::take(file, LONGEST));
        let file = read.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => JobError::new(
                exit::CONFIG,
                "NothingFetched",
                format!(
                    "{} is not there: an init container that fetches must have run before, with the same volume",
                    path.display()
                ),
            ),
            _ => self.failed("read what was fetched in", &error),
        })?;
        let unusable = |why: String| JobError::new(exit::CONFIG, "FetchUnusable", format!("{} {why}", path.display()));
        let note: Note = serde_json::from_reader(io::BufReader::new(file))
            .map_err(|error| unusable(format!("is no note of a fetch ({error})")))?;
        if note.item != *item {
            let fetched = note.item;
            return Err(unusable(format!(
                "is of the item {fetched}, and this is {item}: both must be given one WORK_ITEM_FILE"
            )));
        }
        admitted
            .regard(&note.inputs)
            .map_err(|error| unusable(format!("does not fit the item ({})", sidecar::chain(&error))))
    }

    fn failed(&self, doing: &str, error: &io::Error) -> JobError {
        JobError::io(&format!("{doing} {}", self.0.display()), error, "; is it a volume that this user may write?")
    }
}
