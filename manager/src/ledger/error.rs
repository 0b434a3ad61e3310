//! Why a ledger cannot be used.

use std::path::PathBuf;

/// Why the ledger cannot be used, classed by what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Another manager has it.
    #[error(
        "the ledger in {dir} is in use by another queue-manager (pid {pid}): stop that one, or give this one another --state"
    )]
    Locked {
        /// The state directory.
        dir: PathBuf,
        /// Who, as far as is known.
        pid: String,
    },
    /// It lies where locks and shared memory do not work.
    #[error(
        "{dir} is on a network file system ({kind}), where SQLite cannot keep a ledger safely: give a directory on a local disk with --state"
    )]
    Network {
        /// The state directory.
        dir: PathBuf,
        /// Which.
        kind: &'static str,
    },
    /// It is damaged.
    #[error(
        "the ledger {path} is damaged ({why}): restore it from a copy, or try `sqlite3 {path} .recover`; moved away, everything listed is run again"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// SQLite's words.
        why: String,
    },
    /// A later version of this program wrote it.
    #[error(
        "the ledger {path} has format {found}, and this queue-manager knows formats up to {known}: use the version that wrote it, or a later one"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// It cannot be written now, and may be later: nothing was changed.
    #[error("the ledger {path} cannot be written: {why}")]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What stands in the way.
        why: String,
    },
    /// The files around it cannot be made or read.
    #[error("{doing} {path} (--state says where the ledger is)")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A defect of ours.
    #[error("the ledger {path} refused a statement: {why}")]
    Defect {
        /// The file.
        path: PathBuf,
        /// SQLite's words.
        why: String,
    },
}

impl LedgerError {
    /// Whether the same call may succeed a while later, as when a disk is full.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unwritable { .. })
    }

    /// What a program that cannot go on for this exits with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Locked { .. } | Self::Network { .. } | Self::Newer { .. } => 78,
            Self::Corrupt { .. } | Self::Unwritable { .. } | Self::Io { .. } => 74,
            Self::Defect { .. } => 70,
        }
    }
}
