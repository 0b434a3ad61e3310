#![doc = include_str!("../README.md")]

mod address;
mod args;
mod client;
mod connect;
mod fetch;
mod headers;
mod inputs;
mod link;
mod name;
mod outputs;
mod publication;
mod refusal;
mod retry;
mod root;
mod standing;
mod store;
mod target;
mod tls;
mod upload;
mod version;

pub use address::Private;
pub use args::HttpsArgs;
pub use client::Surroundings;
pub use connect::{Resolve, SystemResolver};
pub use store::HttpsStore;
