#![doc = include_str!("../README.md")]

mod args;
mod list;
mod message;
mod metrics;
mod queue;
mod server;
mod source;
mod stream;
mod trouble;

use std::process::ExitCode;

use ambassador_kit::ServeArgs;
use clap::Parser;
use sidecar::{Failure, ProcessArgs, Shutdown};

pub use args::{QueueArgs, Settings, SettingsError};
pub use server::ServerError;
pub use source::RedisSource;

/// Serves a Redis list or stream through the source contract.
#[derive(Debug, Parser)]
#[command(name = "redis-ambassador", version, max_term_width = 120, after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    queue: QueueArgs,
    #[command(flatten)]
    serve: ServeArgs,
    #[command(flatten)]
    process: ProcessArgs,
}

const EXAMPLES: &str = "\
Examples:
  redis-ambassador --url redis://redis --list videos
  redis-ambassador --url redis://redis --stream videos --group media --dead-letter-key videos:failed
  redis-ambassador --url rediss://redis:6380 --list videos --ca-file ca.pem --username media --password-file /run/secrets/redis
  redis-ambassador --url redis://redis --list videos --check
  curl localhost:8080/v1/items; curl localhost:8080/v1/withheld";

/// Runs the program to its end.
pub fn run(args: Args) -> ExitCode {
    let Args { queue, serve, process } = args;
    process.run(async |shutdown| run_queue(queue, serve, shutdown).await)
}

async fn run_queue(queue: QueueArgs, serve: ServeArgs, shutdown: Shutdown) -> Result<ExitCode, Failure> {
    let settings = queue.settings().map_err(Failure::config)?;
    let serve = ServeArgs { settle: settings.window.settling.settle, ..serve };
    ambassador_kit::serve(serve, shutdown, async |registry| Ok(RedisSource::open(settings, registry))).await
}
