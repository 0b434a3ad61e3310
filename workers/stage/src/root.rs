//! Where the files lie: one directory tree, at the same path in every container, in which each directory has one writer.
//!
//! ```text
//! <root>/adapter/                    the adapter writes; every stage reads
//!     hello.json  lock.<boot>  heartbeat  bell  done.json
//!     stages/<stage>/<n>.go.json  <n>.cancel.json
//!     scratch/                       the item and its inputs
//! <root>/stages/<stage>/             the stage writes; the adapter and the stages that need it read
//!     hello.json  lock.<boot>  heartbeat  bell
//!     <n>.started.json  <n>.result.json
//!     out.<n>.partial/ → out/        tmp/
//! ```

use std::path::{Path, PathBuf};

use crate::{Boot, StageName};

/// The tree that an adapter and its stages share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root(PathBuf);

/// What the adapter writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterDir(PathBuf);

/// What one stage writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageDir(PathBuf);

impl Root {
    /// Where manifests mount it.
    pub const DEFAULT: &str = "/longshore";

    /// The tree at `path`, which must be absolute: containers change directories.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The tree's own path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The adapter's directory.
    pub fn adapter(&self) -> AdapterDir {
        AdapterDir(self.0.join("adapter"))
    }

    /// A stage's directory.
    pub fn stage(&self, stage: &StageName) -> StageDir {
        StageDir(self.0.join("stages").join(stage.as_str()))
    }
}

impl AdapterDir {
    /// The directory, where `hello.json`, the lock and the heartbeat lie.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Where orders for a stage appear.
    pub fn orders(&self, stage: &StageName) -> PathBuf {
        self.0.join("stages").join(stage.as_str())
    }

    /// Attempt n shall run.
    pub fn go(&self, stage: &StageName, attempt: u32) -> PathBuf {
        self.orders(stage).join(format!("{attempt}.go.json"))
    }

    /// Attempt n shall stop.
    pub fn cancel(&self, stage: &StageName, attempt: u32) -> PathBuf {
        self.orders(stage).join(format!("{attempt}.cancel.json"))
    }

    /// There will be no more work.
    pub fn done(&self) -> PathBuf {
        self.0.join("done.json")
    }

    /// The item and its inputs.
    pub fn scratch(&self) -> PathBuf {
        self.0.join("scratch")
    }
}

impl StageDir {
    /// The directory, where `hello.json`, the lock and the heartbeat lie.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Attempt n runs.
    pub fn started(&self, attempt: u32) -> PathBuf {
        self.0.join(format!("{attempt}.started.json"))
    }

    /// Attempt n is over.
    pub fn result(&self, attempt: u32) -> PathBuf {
        self.0.join(format!("{attempt}.result.json"))
    }

    /// Where attempt n writes.
    pub fn partial(&self, attempt: u32) -> PathBuf {
        self.0.join(format!("out.{attempt}.partial"))
    }

    /// What the attempt that succeeded has written.
    pub fn out(&self) -> PathBuf {
        self.0.join("out")
    }

    /// Room for intermediate files.
    pub fn temporary(&self) -> PathBuf {
        self.0.join("tmp")
    }
}

/// The file that says who lives in a side's directory.
pub fn hello(side: &Path) -> PathBuf {
    side.join("hello.json")
}

/// The file whose lock a life holds.
pub fn lock(side: &Path, boot: &Boot) -> PathBuf {
    side.join(format!("lock.{boot}"))
}

/// The file whose number grows as long as a life lives.
pub fn heartbeat(side: &Path) -> PathBuf {
    side.join("heartbeat")
}

/// The pipe by which a side is told that something was written for it.
pub fn bell(side: &Path) -> PathBuf {
    side.join("bell")
}
