#![doc = include_str!("../README.md")]

mod cli;
mod commit;
mod crew;
mod engine;
mod fetch;
mod inputs;
mod local;
pub mod pipeline;
pub mod plan;
mod publish;
mod record;
pub mod render;
pub mod resolve;
mod run;
pub mod schema;
mod settings;

pub use cli::main;
