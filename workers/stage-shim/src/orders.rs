//! What an adapter asks for: files in a directory that is not ours, believed only where they are addressed to this life.

use std::collections::BTreeSet;
use std::io;

use stage::protocol::{Cancel, Done, Go};
use stage::{AdapterDir, Boot, StageName, files};
use tracing::warn;

/// The orders of one adapter's life to one shim's life.
#[derive(Debug)]
pub(crate) struct Orders {
    dir: AdapterDir,
    stage: StageName,
    /// Whose they must be.
    adapter: Boot,
    /// Whom they must be for.
    boot: Boot,
    /// The attempt that was taken last.
    taken: u32,
    /// Of what somebody was told already.
    complained: BTreeSet<String>,
}

impl Orders {
    pub(crate) fn new(dir: AdapterDir, stage: StageName, adapter: Boot, boot: Boot) -> Self {
        Self { dir, stage, adapter, boot, taken: 0, complained: BTreeSet::new() }
    }

    /// The newest attempt that is asked for and was not taken yet.
    pub(crate) fn next(&mut self) -> Option<Go> {
        let mut asked: Vec<u32> = self.attempts().into_iter().filter(|n| *n > self.taken).collect();
        asked.sort_unstable();
        while let Some(n) = asked.pop() {
            let go = match files::read::<Go>(&self.dir.go(&self.stage, n)) {
                Ok(Some(go)) => go,
                Ok(None) => continue,
                Err(error) => {
                    self.complain(&error);
                    continue;
                }
            };
            if go.boot == self.boot && go.adapter == self.adapter && go.attempt == n && go.stage == self.stage {
                self.taken = n;
                return Some(go);
            }
        }
        None
    }

    /// Whether any attempt was taken.
    pub(crate) fn were_taken(&self) -> bool {
        self.taken > 0
    }

    /// Whether attempt n shall stop, and within which grace.
    pub(crate) fn cancelled(&mut self, attempt: u32) -> Option<Cancel> {
        let cancel = files::read::<Cancel>(&self.dir.cancel(&self.stage, attempt));
        let cancel = cancel.unwrap_or_else(|error| {
            self.complain(&error);
            None
        });
        cancel.filter(|cancel| cancel.adapter == self.adapter && cancel.attempt == attempt)
    }

    /// Whether there will be no more work.
    pub(crate) fn are_done(&mut self) -> bool {
        let done = files::read::<Done>(&self.dir.done()).unwrap_or_else(|error| {
            self.complain(&error);
            None
        });
        done.is_some_and(|done| done.adapter == self.adapter)
    }

    /// The attempts for which there is a file.
    fn attempts(&self) -> Vec<u32> {
        let Ok(entries) = self.dir.orders(&self.stage).read_dir() else { return Vec::new() };
        let number = |name: &str| {
            let number = name.strip_suffix(".go.json")?.parse::<u32>().ok()?;
            (name == format!("{number}.go.json")).then_some(number)
        };
        entries.flatten().filter_map(|entry| number(entry.file_name().to_str()?)).collect()
    }

    /// Says what is wrong with an order, once.
    fn complain(&mut self, error: &io::Error) {
        const MOST: usize = 100;
        if self.complained.len() < MOST && self.complained.insert(error.to_string()) {
            warn!(%error, "an order that cannot be read is passed over");
        }
    }
}
