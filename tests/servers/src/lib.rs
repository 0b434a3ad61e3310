//! Real servers for tests and benchmarks: S3 stores that are started, paused, killed and restarted, and a proxy that spoils what
//! passes between them and a client.
//!
//! The programs come from `tests/servers/s3/setup`, which builds them once. Nothing outlives the process that started it: each
//! server has a shell beside it that holds the end of a pipe, and when the process is gone, however it went, the shell kills the
//! server and removes its data.

mod bucket;
mod proxy;
mod server;

/// The client that [`S3Server::client`] gives.
pub use aws_sdk_s3;
pub use bucket::Bucket;
pub use proxy::{Proxy, Seen, Spoil};
pub use server::S3Server;
