//! The flags, and what they mean once they are parsed.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use ambassador_kit::{Names, PatternError};
use bytesize::ByteSize;
use clap::{Args, ValueEnum};
use sidecar::cli::value;
use tracing::warn;
use url::Url;

use crate::filter::Filter;

/// Which folder is served, and how.
#[derive(Clone, Debug, Args)]
pub struct FilesArgs {
    /// The folder to serve. MEDIA_PATH does the same and gives way to this.
    #[arg(long, value_name = "DIR", required_unless_present = "media_path")]
    root: Option<PathBuf>,
    /// The folder, under the name the book's own ambassador has for it.
    #[arg(long, env = "MEDIA_PATH", value_name = "DIR", hide = true)]
    media_path: Option<PathBuf>,
    /// What names are derived with, beside path and version. Empty, so that a mount elsewhere gives the same names.
    #[arg(long, value_name = "TEXT", default_value = "")]
    source_id: String,
    /// Whether overwritten content is a new item (`version`) or the same one (`key`).
    #[arg(long, value_enum, default_value_t = Identity::Version)]
    identity: Identity,
    /// What names look like: short and legal in Kubernetes (`label`), or `<path>@<version>` (`raw`), for managers that expect
    /// what the book's sample lists.
    #[arg(long, value_enum, default_value_t = Names::Label)]
    names: Names,
    /// URI or path under which workers see the root, if they mount it elsewhere [default: file://ROOT/].
    #[arg(long, value_name = "URI", value_parser = parse_item_base)]
    item_base: Option<Url>,

    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    when: WhenArgs,
    #[command(flatten)]
    settle: SettleArgs,
}

/// Which files are items.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Which files")]
pub(crate) struct FilterArgs {
    /// List files that match: a name (`*.mp4`, at any depth) or a path from the root (`in/**/*.mp4`). Repeatable (in the
    /// variable: one a line) [default: every file].
    #[arg(long, value_name = "PATTERN", value_delimiter = '\n')]
    pub(crate) glob: Vec<String>,
    /// Withhold files and directories that match, in the same way. Repeatable.
    #[arg(long, value_name = "PATTERN", value_delimiter = '\n')]
    pub(crate) exclude: Vec<String>,
    /// Withhold files whose name says that they are not finished. Repeatable; replaces the default.
    #[arg(long, value_name = "PATTERN", value_delimiter = '\n', default_values_t = PARTIAL.map(str::to_owned))]
    pub(crate) partial: Vec<String>,
    /// List files and enter directories whose name begins with a dot too.
    #[arg(long)]
    pub(crate) include_hidden: bool,
    /// Withhold smaller files.
    #[arg(long, value_name = "SIZE")]
    pub(crate) min_size: Option<ByteSize>,
    /// Withhold larger files.
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_size: Option<ByteSize>,
    /// How many levels of directories to enter: 1 is the root's own files only.
    #[arg(long, value_name = "LEVELS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_depth: Option<u32>,
    /// What to do with directories that hold `_SUCCESS.json`, which are some worker's output.
    #[arg(long, value_enum, default_value_t = OwnOutput::Withhold)]
    pub(crate) own_output: OwnOutput,
}

/// How long a file system may take to say where a path leads.
const PATIENCE: Duration = Duration::from_secs(2);

/// Names that programs give to files they have not finished.
const PARTIAL: [&str; 8] = ["*.part", "*.partial", "*.tmp", "*.temp", "*.crdownload", "*.download", "*.filepart", "*~"];

/// When a file is taken for finished.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "When a file is listed")]
pub(crate) struct WhenArgs {
    /// How often to read the whole folder again; what inotify tells is only a hint that makes it faster.
    #[arg(long, value_parser = value::positive_duration, value_name = "DURATION", default_value = "30s")]
    pub(crate) rescan: Duration,
    /// How long size, modification time and inode must stay the same, where nothing better is known.
    #[arg(long, value_parser = value::duration, value_name = "DURATION", default_value = "10s")]
    pub(crate) stable_for: Duration,
    /// List a file only once another of its name and this suffix lies beside it, such as `.done`.
    #[arg(long, value_name = "SUFFIX")]
    pub(crate) done_marker: Option<String>,
    /// Do not use inotify.
    #[arg(long)]
    pub(crate) no_inotify: bool,
    /// How long the last list still stands once the folder is lost; an item of it cannot be read meanwhile.
    #[arg(long, value_parser = value::duration, value_name = "DURATION", default_value = "0s")]
    pub(crate) max_stale: Duration,
    /// After how long without an answer the file system is taken for lost.
    #[arg(long, value_parser = value::positive_duration, value_name = "DURATION", default_value = "30s")]
    pub(crate) stall_after: Duration,
}

/// What becomes of files that a manager is done with.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "When an item is done")]
pub(crate) struct SettleArgs {
    /// `none`: nothing, and a manager is told so. `delete`, or `move:DIR` with the path below the root kept.
    #[arg(long, value_parser = parse_on_settle, value_name = "ACTION", default_value = "none")]
    pub(crate) on_settle: OnSettle,
    /// Where files go that can never be done [default: `move:DIR` has DIR/failed; `delete` leaves them where they are,
    /// withheld].
    #[arg(long, value_name = "DIR")]
    pub(crate) dead_letter: Option<PathBuf>,
}

/// What makes an item the same item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Identity {
    /// Path, size and modification time.
    Version,
    /// Path alone.
    Key,
}

/// What is done with directories that some worker has published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OwnOutput {
    /// They are not listed.
    Withhold,
    /// They are listed as any other.
    List,
}

/// What is done with a file whose item is settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OnSettle {
    /// Nothing; settling is not offered.
    None,
    /// It is deleted.
    Delete,
    /// It is moved below this directory.
    Move(PathBuf),
}

fn parse_on_settle(text: &str) -> Result<OnSettle, String> {
    match text.split_once(':') {
        None if text == "none" => Ok(OnSettle::None),
        None if text == "delete" => Ok(OnSettle::Delete),
        Some(("move", dir)) if !dir.is_empty() => Ok(OnSettle::Move(dir.into())),
        _ => Err("give `none`, `delete` or `move:DIR`".into()),
    }
}

/// What the flags come to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder as it was given, made absolute.
    pub(crate) root: PathBuf,
    /// Prefix of every item's URI; ends with a slash.
    pub(crate) item_base: String,
    /// What names are derived with.
    pub(crate) source_id: String,
    /// What makes an item the same item.
    pub(crate) identity: Identity,
    /// What names look like.
    pub(crate) names: Names,
    /// Which files are items.
    pub(crate) filter: Filter,
    /// When a file is taken for finished.
    pub(crate) when: WhenArgs,
    /// What is done with settled files.
    pub(crate) on_settle: OnSettle,
    /// Where failed ones go; `None`: they stay.
    pub(crate) dead_letter: Option<PathBuf>,
}

/// Why the flags make no sense together.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A pattern is wrong.
    #[error("read the patterns")]
    Filter(#[from] PatternError),
    /// `--item-base` cannot be extended by a path.
    #[error("--item-base {0} has no place for a path (give one such as file:///media/)")]
    ItemBase(Url),
    /// There is no working directory to resolve a relative path with.
    #[error("find {} (give an absolute path)", path.display())]
    Relative {
        /// What was given.
        path: PathBuf,
        /// Why it could not be resolved.
        source: std::io::Error,
    },
    /// A directory that settled files go to is the folder itself.
    #[error("{} is the folder being served: settled files would be listed again (choose another)", .0.display())]
    SettleIntoRoot(PathBuf),
    /// A done-marker that no file beside another can be.
    #[error("--done-marker {0:?} holds a slash, and the marker lies beside its file (give a suffix such as .done)")]
    DoneMarker(String),
    /// Bounds that leave nothing.
    #[error("no file is at least {min} and at most {max}: --min-size is larger than --max-size")]
    Sizes {
        /// `--min-size`.
        min: ByteSize,
        /// `--max-size`.
        max: ByteSize,
    },
    /// `--dead-letter` without a way to settle.
    #[error("--dead-letter does nothing without --on-settle move:DIR or delete")]
    DeadLetterAlone,
}

impl FilesArgs {
    /// Checks everything that can be checked without looking at the folder.
    ///
    /// # Errors
    /// [`SettingsError`], naming the flag.
    pub fn settings(self) -> Result<Settings, SettingsError> {
        if let Some(marker) = self.when.done_marker.as_ref().filter(|marker| marker.contains('/')) {
            return Err(SettingsError::DoneMarker(marker.clone()));
        }
        if let (Some(min), Some(max)) = (self.filter.min_size, self.filter.max_size)
            && min > max
        {
            return Err(SettingsError::Sizes { min, max });
        }
        let given = self.root.or(self.media_path).expect("clap requires one of the two");
        let root = absolute(&given)?;
        let on_settle = match self.settle.on_settle {
            OnSettle::Move(dir) => OnSettle::Move(absolute(&dir)?),
            other => other,
        };
        let dead_letter = match (self.settle.dead_letter, &on_settle) {
            (Some(_), OnSettle::None) => return Err(SettingsError::DeadLetterAlone),
            (Some(dir), _) => Some(absolute(&dir)?),
            (None, OnSettle::Move(dir)) => Some(dir.join("failed")),
            (None, _) => None,
        };
        let seen = real(&root);
        let mut filter = Filter::new(&self.filter, self.when.done_marker.as_deref())?;
        filter.withhold_too_long(&root);
        for dir in [moved_to(&on_settle), dead_letter.as_deref()].into_iter().flatten() {
            let real = real(dir);
            match real.strip_prefix(&seen).or_else(|_| real.strip_prefix(&root)) {
                Ok(inside) if inside.as_os_str().is_empty() => {
                    return Err(SettingsError::SettleIntoRoot(dir.to_owned()));
                }
                Ok(inside) => filter.withhold_settled(inside),
                Err(_) => {}
            }
        }
        Ok(Settings {
            item_base: item_base(self.item_base, &seen)?,
            root,
            source_id: self.source_id,
            identity: self.identity,
            names: self.names,
            filter,
            when: self.when,
            on_settle,
            dead_letter,
        })
    }
}

fn parse_item_base(text: &str) -> Result<Url, String> {
    let url = if text.starts_with('/') {
        Url::parse(&format!("file://{}", contract::item::encode_path(text.as_bytes())))
    } else {
        Url::parse(text)
    };
    url.map_err(|error| {
        format!("{error}; write a URI such as file:///mnt/media/, or a path from the root of the file system")
    })
}

fn moved_to(on_settle: &OnSettle) -> Option<&Path> {
    match on_settle {
        OnSettle::Move(dir) => Some(dir),
        OnSettle::None | OnSettle::Delete => None,
    }
}

fn absolute(path: &Path) -> Result<PathBuf, SettingsError> {
    std::path::absolute(path).map_err(|source| SettingsError::Relative { path: path.to_owned(), source })
}

/// The path without links in it, as far as there is anything there, and its file system answers: one that hangs must not keep
/// the program from starting and saying so.
fn real(path: &Path) -> PathBuf {
    let (answer, answered) = mpsc::channel();
    let asked = path.to_owned();
    let asking = std::thread::Builder::new().spawn(move || answer.send(asked.canonicalize()));
    let resolved = asking.ok().and_then(|_| answered.recv_timeout(PATIENCE).ok());
    if resolved.is_none() {
        warn!(path = %path.display(), "the file system does not answer: the path is taken as it is written");
    }
    resolved.and_then(Result::ok).unwrap_or_else(|| path.to_owned())
}

fn item_base(given: Option<Url>, root: &Path) -> Result<String, SettingsError> {
    use std::os::unix::ffi::OsStrExt;
    let mut base = match given {
        Some(url) if url.cannot_be_a_base() => return Err(SettingsError::ItemBase(url)),
        Some(url) => url.to_string(),
        None => format!("file://{}", contract::item::encode_path(root.as_os_str().as_bytes())),
    };
    if !base.ends_with('/') {
        base.push('/');
    }
    Ok(base)
}
