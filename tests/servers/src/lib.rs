#![doc = include_str!("../README.md")]

mod bucket;
mod cluster;
mod proxy;
mod role;
mod server;

/// The client that [`S3Server::client`] gives.
pub use aws_sdk_s3;
pub use bucket::Bucket;
pub use cluster::{Cluster, JobEnd, Namespace, base_image};
pub use proxy::{Proxy, Seen, Spoil};
pub use server::S3Server;
