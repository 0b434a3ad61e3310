#![doc = include_str!("../README.md")]

pub mod catalog;
pub mod conformance;
pub mod metrics;
pub mod router;
pub mod serve;
pub mod source;

pub use catalog::Catalog;
pub use router::router;
pub use serve::{ServeArgs, serve};
pub use source::Source;
