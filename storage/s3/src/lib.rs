//! The `s3:` store.

mod args;
mod bucket;
mod client;
mod error;
mod transfer;
mod uri;

pub use args::{AddressingStyle, S3Args, TransferArgs};
pub use bucket::{Bucket, Condition, Head, ListPage, ListQuery, Listed, Written};
pub use client::S3;
pub use transfer::{Fetched, Meter, Upload, Wanted};
pub use uri::Location;
