#![doc = include_str!("../README.md")]

pub mod cli;
pub mod failure;
pub mod fault;
pub mod install;
mod lines;
pub mod probes;
pub mod run;
pub mod secret;
mod settings;
pub mod tree;

pub use failure::{Failure, FailureExt, chain};
pub use probes::{Health, ProbeArgs, Probes};
pub use prometheus_client as metrics;
pub use run::{ProcessArgs, Shutdown};
pub use secret::Secret;
