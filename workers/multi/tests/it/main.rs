//! Real pipelines of real commands, by the programs themselves.

mod cli;
mod ending;
mod kills;
mod pod;
mod stages;
mod trouble;
mod world;
