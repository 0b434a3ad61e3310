//! What each stage finds as its input, and the variables that tell it.
//!
//! A stage that needs none gets the item's own input. One that needs one other reads that one's output where it lies; one that
//! needs several finds a link to each by its name. `ITEM_INPUT_FILE` and `ITEM_INPUT_DIR` are the item's for every stage.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use contract::{TraceContext, attempt};
use sidecar::tree;

use crate::pipeline::Stage;

/// The inputs of a pipeline's stages.
#[derive(Debug)]
pub(crate) struct Inputs {
    /// Where links are made; readable for every user.
    room: PathBuf,
    item: BTreeMap<&'static str, OsString>,
}

/// A stage that another needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needed<'a> {
    pub(crate) stage: &'a Stage,
    /// What it wrote; nothing where it failed and that does not matter.
    pub(crate) output: Option<&'a Path>,
}

impl Inputs {
    /// `variables` are those that a worker gives its command; `room` a directory that does not exist yet.
    ///
    /// # Errors
    /// When a directory cannot be made.
    pub(crate) fn new<'a>(
        room: PathBuf,
        variables: impl Iterator<Item = (&'a OsString, &'a OsString)>,
    ) -> io::Result<Self> {
        for dir in [&room, &room.join(NOTHING), &room.join(LINKS)] {
            open_dir(dir)?;
        }
        let known = [
            ("INPUT_FILE", "ITEM_INPUT_FILE"),
            ("INPUT_DIR", "ITEM_INPUT_DIR"),
            (attempt::WORK_ITEM_FILE, attempt::WORK_ITEM_FILE),
            (attempt::WORK_ITEM_NAME, attempt::WORK_ITEM_NAME),
            (attempt::ATTEMPT, attempt::ATTEMPT),
        ];
        let traced = TraceContext::VARIABLES.map(|name| (name, name));
        let told = |(name, value): (&OsString, &OsString)| {
            let (_, theirs) = known.into_iter().chain(traced).find(|(ours, _)| name == ours)?;
            Some((theirs, value.clone()))
        };
        Ok(Self { item: variables.filter_map(told).collect(), room })
    }

    /// Makes the item itself and its input readable from where nothing but the room is, and names that are no text: a link for
    /// the input, a copy of the item's file.
    ///
    /// # Errors
    /// When one cannot be made.
    pub(crate) fn share(&mut self) -> io::Result<()> {
        for (name, value) in &mut self.item {
            if *name == attempt::WORK_ITEM_FILE {
                let copy = self.room.join("item.json");
                fs::copy(&*value, &copy)?;
                fs::set_permissions(&copy, Permissions::from_mode(0o644))?;
                *value = copy.into();
            } else if value.to_str().is_none() {
                // Programs go by it.
                let extension = Path::new(value).extension().and_then(|extension| extension.to_str());
                let link = self.room.join(name.to_lowercase()).with_extension(extension.unwrap_or_default());
                symlink(&*value, &link)?;
                *value = link.into();
            }
        }
        Ok(())
    }

    /// What a stage's command is told, beside `OUTPUT_DIR` and `TMPDIR`. `needed` are those that it needs, in its order.
    ///
    /// # Errors
    /// When a directory of links cannot be made.
    pub(crate) fn of(
        &self,
        stage: &Stage,
        attempt: u32,
        needed: &[Needed<'_>],
    ) -> io::Result<BTreeMap<String, OsString>> {
        let mut told: BTreeMap<String, OsString> =
            self.item.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        told.insert("STAGE_ATTEMPT".into(), attempt.to_string().into());
        let nothing = self.room.join(NOTHING);
        let output = |needed: &Needed<'_>| needed.output.unwrap_or(&nothing).to_owned();
        for needed in needed {
            told.insert(needed.stage.name.variable(), output(needed).into());
        }
        let (dir, file) = match needed {
            [] => (self.item.get("ITEM_INPUT_DIR").cloned(), self.item.get("ITEM_INPUT_FILE").cloned()),
            [one] => {
                let dir = output(one);
                let file = only_file(&dir).map(Into::into);
                (Some(dir.into()), file)
            }
            several => {
                let dir = self.room.join(LINKS).join(stage.name.as_str());
                Self::link(&dir, several.iter().map(|needed| (needed.stage.name.as_str(), output(needed))))?;
                (Some(dir.into()), None)
            }
        };
        told.extend(dir.map(|dir| ("INPUT_DIR".to_owned(), dir)));
        told.extend(file.map(|file| ("INPUT_FILE".to_owned(), file)));
        Ok(told)
    }

    /// Makes them anew for each attempt: what a failure has left half made must not pass for all.
    fn link<'a>(dir: &Path, to: impl Iterator<Item = (&'a str, PathBuf)>) -> io::Result<()> {
        if dir.symlink_metadata().is_ok() {
            tree::remove(dir)?;
        }
        open_dir(dir)?;
        to.into_iter().try_for_each(|(name, target)| symlink(target, dir.join(name)))
    }
}

/// The output of those who have none.
const NOTHING: &str = "nothing";
const LINKS: &str = "needs";

/// Makes a directory that every user may read, whatever the umask.
pub(crate) fn open_dir(path: &Path) -> io::Result<()> {
    let about = |error: io::Error| io::Error::new(error.kind(), format!("cannot make {}: {error}", path.display()));
    DirBuilder::new().mode(0o755).create(path).map_err(about)?;
    fs::set_permissions(path, Permissions::from_mode(0o755)).map_err(about)
}

/// The only regular file in `dir`, directories and links apart.
fn only_file(dir: &Path) -> Option<PathBuf> {
    let mut files = dir.read_dir().ok()?.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    let only = files.next()?.path();
    files.next().is_none().then_some(only)
}
