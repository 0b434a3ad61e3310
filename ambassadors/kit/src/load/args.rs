//! The flags of a loader.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use sidecar::cli::value;

use super::line::Key;
use super::state;

/// What to fill the queue with.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Loading instead of serving")]
pub struct LoadArgs {
    /// Publish each line of FILE (`-`: of stdin) as a message, and exit: 0 once all of them are confirmed. Ended before, it goes on where
    /// it was when it is started again.
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    pub(super) load: Option<PathBuf>,
    /// What a line is: the message's value (`text`), or an object (`json`) with `value` or `valueBase64`, and `key` or `keyBase64`,
    /// `headers`, `partition` where they are wanted.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Text)]
    pub(super) load_format: Format,
    /// The key of a line of text: `none`, `line` (the line itself), `tab` (what precedes its first tab; the value is the rest), or
    /// `field:NAME` (of a line that is a JSON object).
    #[arg(long, value_name = "WHENCE", default_value = "none", value_parser = Key::parse)]
    pub(super) load_key: Key,
    /// A header of every message, as often as needed; in the variable one a line.
    #[arg(long = "load-header", value_name = "NAME=VALUE", value_delimiter = '\n', value_parser = header)]
    pub(super) load_headers: Vec<(String, String)>,
    /// Where to keep how far it came [default: FILE.load-state; of stdin nowhere, and it cannot be resumed].
    #[arg(long, value_name = "FILE")]
    pub(super) load_state: Option<PathBuf>,
    /// How long to wait for whoever is published to while nothing is confirmed, before the first line as after any other; where nothing
    /// says that it is in vain.
    #[arg(long, value_parser = value::positive_duration, value_name = "DURATION", default_value = "5m")]
    load_patience: Duration,
}

/// `--load-format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// The value.
    Text,
    /// An object.
    Json,
}

impl LoadArgs {
    /// Whether there is something to load.
    pub fn is_given(&self) -> bool {
        self.load.is_some()
    }

    /// How long to wait while nothing is confirmed.
    pub fn patience(&self) -> Duration {
        self.load_patience
    }

    /// The file that is loaded; `None` is stdin.
    pub(super) fn file(&self) -> Option<&Path> {
        self.load.as_deref().filter(|path| *path != Path::new("-"))
    }

    /// Where to keep how far `file` is loaded.
    pub(super) fn state_of(&self, file: &Path) -> PathBuf {
        self.load_state.clone().unwrap_or_else(|| state::beside(file))
    }
}

fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("a header is NAME=VALUE".to_owned()),
    }
}
