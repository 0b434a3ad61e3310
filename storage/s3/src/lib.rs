#![doc = include_str!("../README.md")]

mod args;
mod bucket;
mod client;
mod clock;
mod credentials;
mod error;
mod home;
mod inputs;
mod listing;
mod outputs;
mod retry;
mod store;
mod transfer;
mod uri;
mod whole;

pub use args::{AddressingStyle, S3Args, TransferArgs};
pub use bucket::{
    Bucket, Checksums, Condition, Copied, Deleted, Destination, Head, ListPage, ListQuery, Listed, OpenUpload, Origin,
    Presigned, Tagged, Versioning, Which, Written,
};
pub use client::{Identity, S3};
pub use listing::{Listing, Walk, WalkPage};
pub use retry::Patience;
pub use store::{PublishMode, S3Store};
pub use transfer::{Digest, Fetched, SHA256_METADATA, ToFetch, ToUpload, Upload, Wanted};
pub use uri::Location;
