//! Why a store could not do what it was asked, classed by what the asker does next.

use std::io;

/// What went wrong at a store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URI is none, or names something that can be no input: a directory, a device.
    #[error("{0}")]
    Invalid(String),
    /// It lies outside of what is allowed, or permission is denied.
    #[error("{0}")]
    Forbidden(String),
    /// A URL that was good for a while no longer is: the item, read anew, has another.
    #[error("{0}")]
    Expired(String),
    /// The input is not there.
    #[error("{0}")]
    NotFound(String),
    /// The input is there, in another version than the one asked for.
    #[error("{uri} is now version {found}, not {wanted}")]
    Changed {
        /// The input.
        uri: String,
        /// The version the item names.
        wanted: String,
        /// The version that is there.
        found: String,
    },
    /// The output's place is taken by something that is not this item's.
    #[error("{0}")]
    Taken(String),
    /// Something stands at the output's place that may not be read, so that nobody can tell whether it is this item's.
    #[error("{0}")]
    Unreadable(String),
    /// What was written cannot be published as it is: nothing at all, a symbolic link, a name of ours.
    #[error("{0}")]
    Unpublishable(String),
    /// The store does not answer, or is not mounted: later it may.
    #[error("{doing}")]
    Unavailable {
        /// What was being done, on what.
        doing: String,
        /// How that failed.
        source: io::Error,
    },
    /// Somebody else is at it and does not come to an end.
    #[error("{0}")]
    Busy(String),
    /// Reading or writing a local file failed, or a disk is full.
    #[error("{doing}")]
    Io {
        /// What was being done, on what.
        doing: String,
        /// How that failed.
        source: io::Error,
    },
    /// No store of this build speaks the scheme, or the file system or kernel lacks what is needed.
    #[error("{0}")]
    Unsupported(String),
}

impl Error {
    /// `source`, met while `doing`: a server that is away is told from a local failure by the error's number.
    pub fn io(doing: impl Into<String>, source: impl Into<io::Error>) -> Self {
        let (doing, source) = (doing.into(), source.into());
        if is_away(&source) { Self::Unavailable { doing, source } } else { Self::Io { doing, source } }
    }

    /// What a fault point told to fail answers.
    pub fn fault(source: io::Error) -> Self {
        Self::Io { doing: "pass a fault point".to_owned(), source }
    }
}

/// Whether a file system says by this error that its server or device does not answer.
fn is_away(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [
        Errno::STALE,
        Errno::TIMEDOUT,
        Errno::HOSTDOWN,
        Errno::HOSTUNREACH,
        Errno::NOTCONN,
        Errno::CONNREFUSED,
        Errno::CONNABORTED,
        Errno::REMOTEIO,
        Errno::NODEV,
    ]
    .iter()
    .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
