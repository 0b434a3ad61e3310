//! script-worker as its users meet it: the real program, real scripts, real files.

mod cli;
mod commands;
mod commit;
mod inputs;
mod kills;
mod needs_mount;
mod races;
mod world;
