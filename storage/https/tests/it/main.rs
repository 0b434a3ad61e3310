//! The store before real servers, most of which misbehave.

mod addresses;
mod fetching;
mod needs_s3_servers;
mod publishing;
mod server;
mod shelf;
mod versions;
mod world;
