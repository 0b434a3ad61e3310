//! Objects in and objects out, with real stores.

mod codes;
mod kills;
mod needs_mount;
mod paths;
mod races;
mod remote;
mod trouble;
