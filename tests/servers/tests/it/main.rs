//! The servers of the tests, tested.

#[path = "servers.rs"]
mod needs_s3_servers;
