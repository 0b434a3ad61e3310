//! The store before real servers, most of which misbehave.

mod addresses;
mod fetching;
mod publishing;
mod server;
mod shelf;
mod versions;
mod world;

mod needs_s3_servers;
