#![doc = include_str!("../README.md")]

use std::process::ExitCode;

use ambassador_kit::ServeArgs;
use clap::Parser;
use sidecar::{Failure, ProcessArgs};

/// Serves a Redis list or stream through the source contract.
#[derive(Debug, Parser)]
#[command(name = "redis-ambassador", version, max_term_width = 120)]
pub struct Args {
    #[command(flatten)]
    serve: ServeArgs,
    #[command(flatten)]
    process: ProcessArgs,
}

/// Runs the program to its end.
pub fn run(args: Args) -> ExitCode {
    let Args { serve: _, process } = args;
    process.run(async |_| Err::<ExitCode, _>(Failure::config(anyhow::anyhow!("no list or stream is given"))))
}
