//! Why a file is not listed: one word for metrics and machines, one line for people.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ambassador_kit::Unnameable;
use ambassador_kit::catalog::Why;

/// Why something in the folder is not listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Its size changed between two looks.
    Growing {
        /// Before.
        from: u64,
        /// Now.
        to: u64,
        /// How long it must rest.
        rest: Duration,
    },
    /// It has not rested long enough.
    Settling {
        /// How long it must rest.
        rest: Duration,
    },
    /// Some process of this machine has it open for writing.
    OpenForWriting,
    /// Its done-marker is not there.
    NoDoneMarker {
        /// The marker's name.
        marker: String,
    },
    /// It is a done-marker.
    DoneMarker,
    /// Its name begins with a dot.
    Hidden,
    /// Its name says that it is not finished.
    Partial {
        /// Which pattern says so.
        pattern: Box<str>,
    },
    /// `--exclude` matches.
    Excluded {
        /// Which pattern.
        pattern: Box<str>,
    },
    /// No `--glob` matches.
    NoMatch,
    /// It has no name with `--names raw`.
    Unnameable {
        /// Why.
        why: Unnameable,
    },
    /// It lies deeper than `--max-depth`.
    TooDeep {
        /// The flag's value.
        max: u32,
    },
    /// Its path is longer than the system's.
    TooLong,
    /// It is smaller than `--min-size`.
    TooSmall {
        /// Its size.
        size: u64,
        /// The flag's value.
        min: u64,
    },
    /// It is larger than `--max-size`.
    TooLarge {
        /// Its size.
        size: u64,
        /// The flag's value.
        max: u64,
    },
    /// Some worker published it.
    OwnOutput,
    /// It lies where settled files go.
    Settled,
    /// It failed for good, and was told to stay.
    DeadLetter,
    /// It is a symbolic link that names no file beneath the root.
    Symlink {
        /// What it is.
        what: &'static str,
    },
    /// It is a symbolic link that leads out of the root, or an absolute one.
    OutsideRoot,
    /// It is a socket, a pipe or a device.
    NotAFile,
    /// It cannot be read.
    Unreadable {
        /// What the system says.
        error: rustix::io::Errno,
    },
    /// What was mounted there is no more.
    MountGone,
    /// Too much is withheld to hold every single entry.
    NotHeld {
        /// How many more there are.
        count: u64,
    },
}

impl Reason {
    /// The word of the contract, also the label of the metric.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Growing { .. } => "growing",
            Self::Settling { .. } => "settling",
            Self::OpenForWriting => "open-for-writing",
            Self::NoDoneMarker { .. } => "no-done-marker",
            Self::DoneMarker => "done-marker",
            Self::Hidden => "hidden",
            Self::Partial { .. } => "partial",
            Self::Excluded { .. } => "excluded",
            Self::NoMatch => "no-match",
            Self::Unnameable { .. } => "unnameable",
            Self::TooDeep { .. } | Self::TooLong => "too-deep",
            Self::TooSmall { .. } => "too-small",
            Self::TooLarge { .. } => "too-large",
            Self::OwnOutput => "own-output",
            Self::Settled => "settled",
            Self::DeadLetter => "dead-letter",
            Self::Symlink { .. } => "symlink",
            Self::OutsideRoot => "outside-root",
            Self::NotAFile => "not-a-file",
            Self::Unreadable { .. } => "unreadable",
            Self::MountGone => "mount-gone",
            Self::NotHeld { .. } => "not-held",
        }
    }

    /// Whether the file will be listed by itself in a while.
    pub(crate) fn pending(&self) -> bool {
        matches!(self, Self::Growing { .. } | Self::Settling { .. } | Self::OpenForWriting | Self::NoDoneMarker { .. })
    }

    /// Whether this hides something from view: the list is not complete then.
    pub(crate) fn obscures(&self) -> bool {
        matches!(self, Self::Unreadable { .. } | Self::MountGone)
    }

    fn message(&self, globs: &str) -> String {
        let seconds = |rest: &Duration| humantime::format_duration(*rest).to_string();
        match self {
            Self::Growing { from, to, rest } => format!(
                "its size went from {from} to {to} bytes; it is listed once nothing changes for {}",
                seconds(rest)
            ),
            Self::Settling { rest } => {
                format!("it is listed once nothing has been seen to change for {} (--stable-for)", seconds(rest))
            }
            Self::OpenForWriting => "a process has it open for writing; it is listed once that closes it".into(),
            Self::NoDoneMarker { marker } => format!("it is listed once {marker:?} lies beside it (--done-marker)"),
            Self::DoneMarker => "it marks another file as done".into(),
            Self::Hidden => "its name begins with a dot (list it with --include-hidden)".into(),
            Self::Partial { pattern } => format!("its name matches --partial {pattern:?}: it is not finished"),
            Self::Excluded { pattern } => format!("it matches --exclude {pattern:?}"),
            Self::NoMatch => format!("it matches no --glob (of: {globs})"),
            Self::Unnameable { why } => format!("it has no raw name: {why} (--names label has one for every file)"),
            Self::TooDeep { max } => format!("it lies deeper than --max-depth {max}"),
            Self::TooLong => "its path is longer than the 4,095 bytes that any program can open".into(),
            Self::TooSmall { size, min } => format!("it has {size} bytes, fewer than --min-size {min}"),
            Self::TooLarge { size, max } => format!("it has {size} bytes, more than --max-size {max}"),
            Self::OwnOutput => "it is the published output of a worker (list it with --own-output list)".into(),
            Self::Settled => "settled files are moved there".into(),
            Self::DeadLetter => {
                "it failed for good and stays where it is; give --dead-letter DIR to move such files".into()
            }
            Self::Symlink { what } => format!("it is a symbolic link {what}"),
            Self::OutsideRoot => "it is a symbolic link that leads out of the root, or an absolute one".into(),
            Self::NotAFile => "it is a socket, a pipe or a device".into(),
            Self::Unreadable { error } => {
                format!("it cannot be read: {}", io::Error::from(*error))
            }
            Self::MountGone => {
                "what was mounted there is gone; mount it again, or restart this program if that is meant".into()
            }
            Self::NotHeld { count } => format!("{count} more are withheld for good and not held one by one"),
        }
    }
}

/// Makes [`Why`]s; messages that say the same share one text.
#[derive(Debug)]
pub(crate) struct Whys {
    globs: String,
    shared: std::collections::HashMap<String, Arc<str>>,
}

impl Whys {
    /// Texts shared at most; patterns and errors are few, sizes are not shared.
    const MOST: usize = 1_024;

    pub(crate) fn new(globs: String) -> Self {
        Self { globs, shared: std::collections::HashMap::new() }
    }

    pub(crate) fn of(&mut self, reason: &Reason) -> Why {
        let text = reason.message(&self.globs);
        let message = match self.shared.get(&text) {
            Some(message) => Arc::clone(message),
            None => {
                let message = Arc::<str>::from(text.as_str());
                if self.shared.len() < Self::MOST && !matches!(reason, Reason::Growing { .. }) {
                    self.shared.insert(text, Arc::clone(&message));
                }
                message
            }
        };
        Why { reason: reason.label(), message, pending: reason.pending() }
    }
}
