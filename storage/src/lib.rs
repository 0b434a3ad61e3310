#![doc = include_str!("../README.md")]

mod error;
mod file;
mod meter;
mod place;
mod store;
mod turns;
mod uri;

pub use error::Error;
pub use file::{FileStore, blocking, measure, output_files};
pub use meter::{Count, Meter};
pub use place::{InvalidPlace, Place};
pub use store::{
    Allowed, BoxFuture, Claim, Committed, Draft, Input, Inputs, Object, Outputs, Publication, Regard, Standing, Store,
    Stores, Verify, marker_json,
};
pub use turns::in_turn;
pub use uri::{InvalidUri, Uri};
