//! Real pipelines of real commands, by the programs themselves.

mod bells;
mod chain;
mod cli;
mod ending;
mod kills;
mod needs_mount;
mod pod;
mod stages;
mod trouble;
mod world;
