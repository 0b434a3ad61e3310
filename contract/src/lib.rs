#![doc = include_str!("../README.md")]

pub mod attempt;
#[cfg(feature = "client")]
pub mod client;
pub mod exit;
pub mod item;
pub mod marker;
pub mod name;
pub mod report;
pub mod time;
pub mod trace;
pub mod wire;

pub use exit::ExitClass;
pub use item::{FileVersion, Key, ObjectData};
pub use marker::{ATTEMPTS_DIR, MARKER_FILE, Marker, STAGING_DIR};
pub use name::{InvalidName, ItemName};
pub use report::{Outcome, Report};
pub use time::Timestamp;
pub use trace::TraceContext;
