//! script-worker as its users meet it: the real program, real scripts, real files.

mod cli;
mod commands;
mod commit;
mod disk;
mod inputs;
mod kills;
mod races;
mod world;
