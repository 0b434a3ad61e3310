#![doc = include_str!("../README.md")]

pub mod catalog;
pub mod conformance;
mod guard;
pub mod load;
pub mod metrics;
pub mod naming;
mod patterns;
pub mod queue;
mod remembered;
pub mod router;
pub mod serve;
mod settling;
pub mod source;
mod turns;
mod vitals;

pub use catalog::Catalog;
pub use guard::{Guard, GuardError};
pub use naming::{Names, Unnameable};
pub use patterns::{PatternError, Patterns};
pub use remembered::Remembered;
pub use router::router;
pub use serve::{ServeArgs, serve};
pub use settling::{Fullness, SettleArgs, SettleWhen};
pub use source::Source;
pub use turns::{Turn, Turns};
pub use vitals::Vitals;
