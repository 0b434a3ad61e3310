//! script-worker as its users meet it: the real program, real scripts, real files.

mod cli;
mod commands;
mod commit;
mod inputs;
mod kills;
mod needs_mount;
mod needs_s3_servers;
mod races;
mod world;
