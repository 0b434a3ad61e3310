#![doc = include_str!("../README.md")]

mod proxy;
mod server;

pub use proxy::{Proxy, Seen, Spoil};
pub use server::S3Server;
