//! Names of the environment variables by which a queue manager and a worker, and a worker and its command, speak.

/// Path of the item file: the item's `data` object as JSON, or a whole Item. Read-only to the worker.
pub const WORK_ITEM_FILE: &str = "WORK_ITEM_FILE";
/// The item's name as its source lists it.
pub const WORK_ITEM_NAME: &str = "WORK_ITEM_NAME";
/// Which attempt at this item this is, from 1.
pub const ATTEMPT: &str = "ATTEMPT";
/// The nonce of this attempt, inherited by every descendant: who carries it belongs to the attempt.
pub const ATTEMPT_ID: &str = "LONGSHORE_ATTEMPT_ID";
/// The revision to publish under, an integer; raised by the manager to do everything again.
pub const REVISION: &str = "LONGSHORE_REVISION";
/// Where the worker writes its [`Report`](crate::Report).
pub const REPORT: &str = "LONGSHORE_REPORT";
