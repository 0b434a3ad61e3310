//! The `https:` store.

mod address;
mod args;
mod client;
mod connect;
mod fetch;
mod headers;
mod inputs;
mod link;
mod name;
mod progress;
mod refusal;
mod retry;
mod store;
mod tls;
mod version;

pub use address::Private;
pub use args::HttpsArgs;
pub use client::Surroundings;
pub use connect::{Resolve, SystemResolver};
pub use store::HttpsStore;
