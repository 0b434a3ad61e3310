//! What a job gets to work with.

use std::path::{Path, PathBuf};

use contract::wire::Item;

use crate::{Command, Exit, JobError, Progress};

/// One item, made ready: where its inputs lie, where its output goes, and the way to run commands.
#[derive(Debug)]
pub struct Context {
    item: Item,
    inputs: Vec<PathBuf>,
    output_dir: PathBuf,
    scratch_dir: PathBuf,
    result_file: PathBuf,
    progress: Progress,
}

impl Context {
    /// The item, with the name it goes by here.
    pub fn item(&self) -> &Item {
        &self.item
    }

    /// The first (mostly the only) input, whole and of the item's version. Read-only.
    pub fn input(&self) -> Option<&Path> {
        self.inputs.first().map(PathBuf::as_path)
    }

    /// All inputs, in the item's order.
    pub fn inputs(&self) -> &[PathBuf] {
        &self.inputs
    }

    /// What lies here when the job succeeds is the item's output: regular files, in directories.
    pub fn output_dir(&self) -> &Path {
        &self.output_dir
    }

    /// Room for intermediate files, gone when the worker ends.
    pub fn scratch_dir(&self) -> &Path {
        &self.scratch_dir
    }

    /// JSON written here goes into the marker and the report (at most 64 KiB).
    pub fn result_file(&self) -> &Path {
        &self.result_file
    }

    /// A handle that tells how far the job is.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Runs a command to its end, in a process group of its own, with standard input from /dev/null and the environment
    /// every command of a worker gets; every descendant is gone when this returns.
    ///
    /// # Errors
    /// 127 or 126 when it cannot be started, 124 after `--timeout` (which counts from the first command's start), 143 when
    /// the worker was told to stop.
    pub async fn run(&mut self, command: Command) -> Result<Exit, JobError> {
        Err(JobError::new(contract::exit::BUG, "Bug", format!("{command:?} cannot be run yet")))
    }
}
