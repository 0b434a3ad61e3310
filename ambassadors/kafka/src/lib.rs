#![doc = include_str!("../README.md")]

mod args;
mod client;
mod committed;
mod group;
mod load;
mod log;
mod metrics;
mod naming;
mod preflight;
mod record;
mod thread;
mod topic;
mod trouble;

use std::process::ExitCode;

use ambassador_kit::ServeArgs;
use ambassador_kit::load::LoadArgs;
use clap::Parser;
use sidecar::{Failure, ProcessArgs, Shutdown};

pub use args::{Settings, SettingsError, TopicArgs};
pub use client::ClusterError;
pub use group::GroupSource;
pub use log::LogSource;

/// Serves a Kafka topic's records through the source contract.
#[derive(Debug, Parser)]
#[command(name = "kafka-ambassador", version, max_term_width = 120, after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    topic: TopicArgs,
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    serve: ServeArgs,
    #[command(flatten)]
    process: ProcessArgs,
}

const EXAMPLES: &str = "\
Examples:
  kafka-ambassador --brokers kafka:9092 --topic videos
  kafka-ambassador --brokers kafka:9092 --topic videos --payload uri --start 2026-11-22T00:00:00Z
  kafka-ambassador --brokers kafka:9093 --topic videos --ca-file ca.pem --username media --password-file /run/secrets/kafka
  kafka-ambassador --brokers kafka:9092 --topic videos --check
  kafka-ambassador --brokers kafka:9092 --topic videos --load videos.txt
  curl localhost:8080/v1/items; curl localhost:8080/v1/withheld";

/// Runs the program to its end.
pub fn run(args: Args) -> ExitCode {
    let Args { topic, load, serve, process } = args;
    process.run(async |shutdown| run_topic(topic, load, serve, shutdown).await)
}

async fn run_topic(
    topic: TopicArgs,
    load: LoadArgs,
    serve: ServeArgs,
    shutdown: Shutdown,
) -> Result<ExitCode, Failure> {
    let settings = topic.settings().map_err(Failure::config)?;
    if load.is_given() {
        let patience = load.patience();
        let open = move || load::TopicPublisher::open(&settings, serve.request_timeout, patience);
        return ambassador_kit::load::load(load, shutdown, open).await;
    }
    if serve.check {
        preflight::preflight(&settings, serve.request_timeout, &mut std::io::stdout()).await?;
    }
    let check = serve.check;
    match settings.membership.clone() {
        Some(membership) => {
            let serve = ServeArgs { settle: membership.settle, ..serve };
            let open = async |registry: &mut _| {
                GroupSource::join(settings, membership, check, registry).map_err(trouble::Trouble::failure)
            };
            ambassador_kit::serve(serve, shutdown, open).await
        }
        None => ambassador_kit::serve(serve, shutdown, async |registry| Ok(LogSource::open(settings, registry))).await,
    }
}
