//! Flags that every worker has.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use contract::ItemName;
use sidecar::ProcessArgs;
use sidecar::cli::value;
use storage::Uri;

use crate::template::Template;

/// Where Kubernetes reads a container's last words.
pub(crate) const TERMINATION_LOG: &str = "/dev/termination-log";

/// Flags that every worker has; flatten it into the worker's own.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Worker")]
pub struct WorkerArgs {
    /// Where each item's output goes: a URI or a path with at least one of {key} {dir} {stem} {ext} (the item's native key
    /// and its parts) and {name} (the item's name). What stands before the first { is the output root.
    #[arg(long, value_name = "TEMPLATE", value_parser = OsStringValueParser::new().try_map(Template::parse))]
    pub(crate) output: Template,
    /// Inputs may be read below this URI or path, and nowhere else; repeatable.
    #[arg(long, value_name = "URI", value_parser = OsStringValueParser::new().try_map(|text| Uri::parse_or_path(&text)))]
    pub(crate) allow_input: Vec<Uri>,
    /// The file with the item: its `data` object as JSON, or a whole Item.
    #[arg(long, env = contract::attempt::WORK_ITEM_FILE, value_name = "FILE")]
    pub(crate) work_item_file: Option<PathBuf>,
    /// The item's name as its source lists it; without it the item's own, or one made from its key.
    #[arg(long, env = contract::attempt::WORK_ITEM_NAME, value_name = "NAME")]
    pub(crate) work_item_name: Option<ItemName>,
    /// Which attempt at this item this is.
    #[arg(long, env = contract::attempt::ATTEMPT, value_name = "N", default_value_t = 1)]
    pub(crate) attempt: u32,
    /// The nonce of this attempt; made up when not given.
    #[arg(long, value_name = "NONCE", value_parser = nonce)]
    pub(crate) attempt_id: Option<String>,
    /// The revision to publish under; raise it to do everything again.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) revision: u64,
    /// How long the commands of one item may take before they are stopped (exit 124), as 90s or 2h; for ever without it.
    #[arg(long, value_name = "DURATION", value_parser = value::positive_duration)]
    pub(crate) timeout: Option<Duration>,
    /// Variables of this process's environment that commands do not get.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) env_deny: Vec<OsString>,
    /// Exit codes by which the command says that this item is hopeless: exit 65, and no attempt follows.
    #[arg(long, value_name = "CODE", value_delimiter = ',', value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) permanent_exit: Vec<u8>,
    /// Publish also when nothing was written, as an output without files; otherwise that is exit 73.
    #[arg(long)]
    pub(crate) allow_empty: bool,
    /// Where to write a full report of the attempt, as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Where to write a line of JSON on how it ended; nowhere when the file does not exist.
    #[arg(long, value_name = "FILE", default_value = TERMINATION_LOG)]
    pub(crate) termination_log: PathBuf,
    /// Directory for scratch files; TMPDIR without it, else /tmp.
    #[arg(long, value_name = "DIR")]
    pub(crate) scratch: Option<PathBuf>,
    /// How much of the end of the command's output is kept for the report.
    #[arg(long, value_name = "SIZE", default_value = "16KiB")]
    pub(crate) tail_bytes: ByteSize,
    /// Look whether everything an item needs is there (stores, output root, programs), say so, and exit.
    #[arg(long)]
    pub(crate) check: bool,
    #[cfg(feature = "s3")]
    #[command(flatten)]
    pub(crate) remote: crate::stores::RemoteArgs,
    #[command(flatten)]
    pub(crate) process: ProcessArgs,
}

impl WorkerArgs {
    /// The same with `default` as `--timeout`, where none was said: for a worker whose input may be made to take for ever.
    #[must_use]
    pub fn timeout_or(mut self, default: Duration) -> Self {
        self.timeout.get_or_insert(default);
        self
    }

    /// The same with `default` as `--scratch`, where none was said: for a worker whose commands run where TMPDIR is another.
    #[must_use]
    pub fn scratch_or(mut self, default: PathBuf) -> Self {
        self.scratch.get_or_insert(default);
        self
    }
}

/// A nonce becomes part of a file name.
pub(crate) fn nonce(text: &str) -> Result<String, &'static str> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if (1..=128).contains(&text.len()) && text.bytes().all(legal) && !text.starts_with('.') {
        Ok(text.to_owned())
    } else {
        Err("a nonce is 1 to 128 letters, digits, dashes, underscores and dots, and does not begin with a dot")
    }
}
