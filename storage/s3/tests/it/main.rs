//! A store as it is reached from outside of the crate.

mod client;
mod credentials;
mod listing;
mod program;
mod proxies;
mod store;
mod teller;
mod transfer;
