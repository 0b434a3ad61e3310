#![doc = include_str!("../README.md")]

mod args;
mod client;
mod load;
mod message;
mod metrics;
mod names;
mod preflight;
mod queue;
mod shared;
mod source;
mod taking;
mod trouble;

use std::process::ExitCode;

use ambassador_kit::ServeArgs;
use ambassador_kit::load::LoadArgs;
use clap::Parser;
use sidecar::{Failure, ProcessArgs, Shutdown};

use self::load::QueuePublisher;
pub use args::{QueueArgs, Settings, SettingsError};
pub use client::BrokerError;
pub use source::QueueSource;

/// Serves a RabbitMQ queue's messages through the source contract.
#[derive(Debug, Parser)]
#[command(name = "rabbitmq-ambassador", version, max_term_width = 120, after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    queue: QueueArgs,
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    to: load::ToArgs,
    #[command(flatten)]
    serve: ServeArgs,
    #[command(flatten)]
    process: ProcessArgs,
}

const EXAMPLES: &str = "\
Examples:
  rabbitmq-ambassador --url amqp://rabbitmq --queue videos
  rabbitmq-ambassador --url amqps://rabbitmq/media --queue videos --ca-file ca.pem --username media --password-file /run/secrets/rabbitmq
  rabbitmq-ambassador --url amqp://rabbitmq --queue videos --declare quorum --dead-letter-exchange dead --window 20
  rabbitmq-ambassador --url amqp://rabbitmq --queue videos --check
  rabbitmq-ambassador --url amqp://rabbitmq --queue videos --load videos.txt --load-key line
  curl localhost:8080/v1/items; curl localhost:8080/v1/withheld";

/// Runs the program to its end.
pub fn run(args: Args) -> ExitCode {
    let Args { queue, load, to, serve, process } = args;
    process.muted("lapin").run(async |shutdown| {
        let settings = queue.settings().map_err(Failure::config)?;
        if load.is_given() {
            let patience = load.patience();
            let open = move || QueuePublisher::open(settings.clone(), to.clone(), serve.request_timeout, patience);
            return ambassador_kit::load::load(load, shutdown, open).await;
        }
        serve_queue(settings, serve, shutdown).await
    })
}

async fn serve_queue(settings: Settings, serve: ServeArgs, shutdown: Shutdown) -> Result<ExitCode, Failure> {
    if serve.check {
        preflight::check(&settings, &mut std::io::stdout()).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let serve = ServeArgs { settle: settings.window.settling.settle, ..serve };
    ambassador_kit::serve(serve, shutdown, async |registry| Ok(QueueSource::open(settings, registry))).await
}
