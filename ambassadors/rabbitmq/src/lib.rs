#![doc = include_str!("../README.md")]

use std::process::ExitCode;

use clap::Parser;
use sidecar::ProcessArgs;

/// Serves a RabbitMQ queue's messages through the source contract.
#[derive(Debug, Parser)]
#[command(name = "rabbitmq-ambassador", version, max_term_width = 120)]
pub struct Args {
    #[command(flatten)]
    process: ProcessArgs,
}

/// Runs the program to its end.
pub fn run(args: Args) -> ExitCode {
    args.process.run(async |_shutdown| Ok(ExitCode::SUCCESS))
}
