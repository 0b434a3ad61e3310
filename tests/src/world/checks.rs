//! What must be true of a world once whatever befell it is over.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use contract::{MARKER_FILE, Marker, STAGING_DIR};
use sha2::{Digest, Sha256};

use super::World;
use crate::marked::Marked;

impl World {
    /// Everything that must hold once a manager has ended by itself under `revision`.
    ///
    /// # Panics
    /// Naming each thing that does not hold.
    pub fn check(&self, revision: u64) {
        let mut wrong = Vec::new();
        self.check_runs(&mut wrong);
        self.check_published(revision, &mut wrong);
        self.check_source(&mut wrong);
        self.check_leftovers(&mut wrong);
        assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), self.logs());
    }

    /// That everything in the source is published, once and whole, and nothing else was left, where no manager ran.
    ///
    /// # Panics
    /// Naming `when` and each thing that does not hold.
    pub fn check_one_committed(&self, when: &str) {
        let mut wrong = Vec::new();
        self.check_runs(&mut wrong);
        self.check_whole(&mut wrong);
        self.check_leftovers(&mut wrong);
        assert!(wrong.is_empty(), "{when}: {}\n{}", wrong.join("\n"), self.logs());
    }

    fn check_runs(&self, wrong: &mut Vec<String>) {
        wrong.extend(self.runs().into_iter().filter(|line| line.starts_with("overlap")));
        let mut attempts: BTreeMap<String, usize> = BTreeMap::new();
        for line in self.runs().iter().filter(|line| line.starts_with("start ")) {
            *attempts.entry(line.clone()).or_default() += 1;
        }
        wrong.extend(attempts.iter().filter(|(_, n)| **n > 1).map(|(line, n)| format!("{line}: {n} times")));
    }

    /// Every item is published whole by one attempt that ran to its end, and poison is not. Gives the number of poisons.
    fn check_whole(&self, wrong: &mut Vec<String>) -> usize {
        let runs = self.runs();
        let ended: BTreeSet<&str> =
            runs.iter().filter_map(|l| l.strip_prefix("end ")?.split_once(' ').map(|(_, id)| id)).collect();
        let mut poisons = 0;
        for key in &self.keys {
            let shown = String::from_utf8_lossy(key);
            if shown.contains("poison") {
                poisons += 1;
                if self.stands(key) {
                    wrong.push(format!("{shown:?} failed and was published"));
                }
                continue;
            }
            match self.output(key) {
                Ok(Whole { marker, by, copy }) => {
                    if by.trim() != marker.attempt || !ended.contains(marker.attempt.as_str()) {
                        wrong.push(format!("{shown:?}: made by {by:?}, committed by {:?}", marker.attempt));
                    }
                    if !copy.starts_with(key) {
                        wrong.push(format!("{shown:?}: its copy is not its content"));
                    }
                }
                Err(why) => wrong.push(format!("{shown:?}: {why}")),
            }
        }
        poisons
    }

    /// Whether anything stands at an item's place, other than reports.
    fn stands(&self, key: &[u8]) -> bool {
        match &self.store {
            None => self.path().join("out").join(OsStr::from_bytes(key)).exists(),
            Some(store) => store.below(&text(key)).iter().any(|path| !is_report(path)),
        }
    }

    /// What is published for an item: all that the marker says, and nothing else.
    fn output(&self, key: &[u8]) -> Result<Whole, String> {
        if let Some(store) = &self.store {
            return store.output(&text(key));
        }
        let dir = self.path().join("out").join(OsStr::from_bytes(key));
        let marker = whole(&dir)?;
        let by = fs::read_to_string(dir.join("sub/attempt")).unwrap_or_default();
        Ok(Whole { marker, by, copy: fs::read(dir.join("copy")).unwrap_or_default() })
    }

    /// As [`check_whole`](Self::check_whole), and the dead letter holds exactly the poison, with its reason.
    fn check_published(&self, revision: u64, wrong: &mut Vec<String>) {
        let poisons = self.check_whole(wrong);
        let letters = self.dead(revision);
        if letters.len() != poisons {
            wrong.push(format!("{poisons} should be dead, the ledger says {letters:?}"));
        }
        wrong.extend(
            letters.into_iter().filter(|l| !l.contains("poison")).map(|l| format!("dead without its reason: {l}")),
        );
    }

    /// Nothing that was in the source is lost: each file is where it was or where settling put it, once.
    fn check_source(&self, wrong: &mut Vec<String>) {
        let mut left: Vec<Vec<u8>> = Vec::new();
        for folder in [&self.path().join("source"), self.settled.path()] {
            let mut files = Vec::new();
            walk(folder, &mut files);
            left.extend(files.iter().map(|f| f.file_name().expect("a name").as_bytes().to_vec()));
        }
        left.sort();
        let mut want: Vec<Vec<u8>> =
            self.keys.iter().map(|k| k.rsplit(|b| *b == b'/').next().expect("a name").to_vec()).collect();
        want.sort();
        if left != want {
            wrong.push(format!("the source held {} files and {} are left: {left:?}", want.len(), left.len()));
        }
    }

    fn check_leftovers(&self, wrong: &mut Vec<String>) {
        let mut files = Vec::new();
        walk(&self.path().join("out").join(STAGING_DIR), &mut files);
        files.retain(|f| {
            f.file_name() != Some(OsStr::new("lock")) || f.parent() != Some(&self.path().join("out").join(STAGING_DIR))
        });
        wrong.extend(files.iter().map(|f| format!("staging was left behind: {}", f.display())));
        for folder in ["tmp", "state/attempts"] {
            let entries =
                fs::read_dir(self.path().join(folder)).map(|d| d.flatten().collect()).unwrap_or_else(|_| Vec::new());
            wrong.extend(entries.iter().map(|e| format!("left behind: {}", e.path().display())));
        }
        if let Some(store) = &self.store {
            let open = store.bucket.open_uploads(store.bucket.keys());
            wrong.extend(open.iter().map(|key| format!("an upload was left open: {key}")));
        }
        for Marked { pid, command } in self.processes() {
            wrong.push(format!("process {pid} was left: {command}"));
        }
    }
}

/// An output that is what its marker says.
pub(super) struct Whole {
    pub(super) marker: Marker,
    /// What the script wrote of who it was.
    pub(super) by: String,
    /// What it made of the input.
    pub(super) copy: Vec<u8>,
}

pub(super) fn is_report(path: &str) -> bool {
    path.starts_with("_attempts/") && path.ends_with("/report.json")
}

/// Only such keys go to a bucket.
fn text(key: &[u8]) -> String {
    String::from_utf8(key.to_vec()).expect("an object's key is UTF-8")
}

/// Whether an output directory is what its marker says: all of it, and nothing else.
pub fn whole(dir: &Path) -> Result<Marker, String> {
    let text = fs::read(dir.join(MARKER_FILE)).map_err(|e| format!("no marker: {e}"))?;
    let marker: Marker = serde_json::from_slice(&text).map_err(|e| format!("a bad marker: {e}"))?;
    let mut files = Vec::new();
    walk(dir, &mut files);
    if files.len() != marker.outputs.len() + 1 {
        return Err(format!("{} files stand there and the marker names {}", files.len(), marker.outputs.len()));
    }
    for output in &marker.outputs {
        let path = dir.join(OsStr::from_bytes(&contract::item::decode_path(&output.path)));
        let bytes = fs::read(&path).map_err(|e| format!("{}: {e}", output.path))?;
        let sum: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
        if bytes.len() as u64 != output.size || sum != output.sha256 {
            return Err(format!("{} is not what the marker says", output.path));
        }
    }
    Ok(marker)
}

fn walk(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).map(|d| d.flatten().collect::<Vec<_>>()).unwrap_or_default() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            walk(&entry.path(), into);
        } else {
            into.push(entry.path());
        }
    }
}
