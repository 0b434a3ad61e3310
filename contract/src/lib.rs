//! The two contracts Longshore's programs meet at, as types: the source's HTTP contract (`/v1/items`) and the worker's
//! (`WORK_ITEM_FILE`, exit codes, the report, `_SUCCESS.json`).
//!
//! Nothing here does I/O except [`client`], which is behind the feature of that name. The prose is `docs/contract.md`.

pub mod attempt;
#[cfg(feature = "client")]
pub mod client;
pub mod exit;
pub mod item;
pub mod marker;
pub mod name;
pub mod report;
pub mod time;
pub mod wire;

pub use exit::ExitClass;
pub use item::{FileVersion, Key, ObjectData};
pub use marker::{MARKER_FILE, Marker, STAGING_DIR};
pub use name::{InvalidName, ItemName};
pub use report::{Outcome, Report};
pub use time::Timestamp;
