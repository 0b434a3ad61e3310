//! Objects in and objects out, with real stores.

mod codes;
mod identities;
mod kills;
mod moods;
mod needs_mount;
mod paths;
mod races;
mod remote;
mod signed;
mod trouble;
