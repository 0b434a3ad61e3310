//! Exit codes of workers, and what each tells a queue manager to do next (`sysexits.h` where it has a word for it).

/// Published, already published, or superseded by a newer version of the input.
pub const OK: u8 = 0;
/// The highest code a user's script owns; higher ones are reported as [`USER_OTHER`].
pub const USER_MAX: u8 = 63;
/// What a user's code above [`USER_MAX`] becomes.
pub const USER_OTHER: u8 = 1;
/// The command line is wrong.
pub const USAGE: u8 = 64;
/// The item, or its content, can never be processed: a corrupt video, an item without a `uri`.
pub const BAD_ITEM: u8 = 65;
/// The input is not there.
pub const NO_INPUT: u8 = 66;
/// A store stayed unavailable through all retries.
pub const UNAVAILABLE: u8 = 69;
/// A defect of ours.
pub const BUG: u8 = 70;
/// A declared output is missing, or the output's place is taken by something else.
pub const CANT_CREATE: u8 = 73;
/// Local input or output failed, or a disk is full.
pub const IO: u8 = 74;
/// Temporary: the same attempt may succeed later (an expired presigned URL).
pub const TEMPORARY: u8 = 75;
/// The item asks for something this worker may not touch.
pub const FORBIDDEN: u8 = 77;
/// The configuration is wrong.
pub const CONFIG: u8 = 78;
/// The command ran longer than `--timeout`, as in timeout(1).
pub const TIMEOUT: u8 = 124;
/// The command was found and could not be executed, as in a shell.
pub const NOT_EXECUTABLE: u8 = 126;
/// The command was not found, as in a shell.
pub const NOT_FOUND: u8 = 127;
/// Added to a signal's number when that signal ended the command.
pub const SIGNAL_BASE: u8 = 128;

/// What a queue manager does after an attempt ended with a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExitClass {
    /// Record it as done.
    Success,
    /// The same item would fail the same way: to the dead letter at once.
    Permanent,
    /// Something outside the item failed: try again, with a long backoff and together with others that fail alike.
    Outside,
    /// Try again.
    Retry,
}

impl ExitClass {
    /// The class of a worker's exit code: 64 65 66 73 77 78 126 127 are permanent.
    pub fn of(code: u8) -> Self {
        match code {
            OK => Self::Success,
            USAGE | BAD_ITEM | NO_INPUT | CANT_CREATE | FORBIDDEN | CONFIG | NOT_EXECUTABLE | NOT_FOUND => {
                Self::Permanent
            }
            UNAVAILABLE | IO | TEMPORARY => Self::Outside,
            _ => Self::Retry,
        }
    }
}

/// What a code means, in a few words, for people.
pub fn meaning(code: u8) -> &'static str {
    match code {
        OK => "ok",
        1..=USER_MAX => "the command failed",
        USAGE => "wrong usage",
        BAD_ITEM => "bad item",
        NO_INPUT => "input missing",
        UNAVAILABLE => "storage unavailable",
        BUG => "internal error",
        CANT_CREATE => "output missing or its place taken",
        IO => "local I/O failed or disk full",
        TEMPORARY => "temporary failure",
        FORBIDDEN => "forbidden",
        CONFIG => "wrong configuration",
        TIMEOUT => "timed out",
        NOT_EXECUTABLE => "command not executable",
        NOT_FOUND => "command not found",
        SIGNAL_BASE.. => "killed by a signal",
        _ => "unknown",
    }
}
