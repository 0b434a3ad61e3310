#![doc = include_str!("../README.md")]

mod args;
mod list;
mod load;
mod message;
mod metrics;
mod others;
mod queue;
mod server;
mod source;
mod stream;
mod trouble;

use std::process::ExitCode;

use ambassador_kit::ServeArgs;
use ambassador_kit::load::LoadArgs;
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
    load: LoadArgs,
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
  redis-ambassador --url redis://redis --list videos --load videos.txt
  curl localhost:8080/v1/items; curl localhost:8080/v1/withheld";

/// Runs the program to its end.
pub fn run(args: Args) -> ExitCode {
    let Args { queue, load, serve, process } = args;
    // Two threads wake each other for each message: on two cores that is a fifth of the rate, and a third of the processor time.
    process.run_single(async |shutdown| run_queue(queue, load, serve, shutdown).await)
}

async fn run_queue(
    queue: QueueArgs,
    load: LoadArgs,
    serve: ServeArgs,
    shutdown: Shutdown,
) -> Result<ExitCode, Failure> {
    let settings = queue.settings().map_err(Failure::config)?;
    if load.is_given() {
        let patience = load.patience();
        let open = move || load::KeyPublisher::open(settings.clone(), serve.request_timeout, patience);
        return ambassador_kit::load::load(load, shutdown, open).await;
    }
    if serve.check {
        let deadline = serve.request_timeout;
        let look =
            async |registry: &mut _| RedisSource::look(settings, registry, deadline, &mut std::io::stdout()).await;
        return ambassador_kit::serve(serve, shutdown, look).await;
    }
    let serve = ServeArgs { settle: settings.window.settling.settle, ..serve };
    ambassador_kit::serve(serve, shutdown, async |registry| Ok(RedisSource::open(settings, registry))).await
}
