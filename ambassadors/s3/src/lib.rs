#![doc = include_str!("../README.md")]

mod args;
mod filter;
mod item;
mod keeper;
mod metrics;
mod naming;
mod narrowed;
mod paged;
mod preflight;
mod settle;
mod source;
mod trouble;

use std::process::ExitCode;

use ambassador_kit::ServeArgs;
use ambassador_kit::source::Order;
use clap::Parser;
use sidecar::{Failure, ProcessArgs, Shutdown};

pub use args::{BucketArgs, Settings, SettingsError};
pub use paged::PagedSource;
pub use source::S3Source;

/// Serves a bucket's objects through the source contract.
#[derive(Debug, Parser)]
#[command(name = "s3-ambassador", version, max_term_width = 120, after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    bucket: BucketArgs,
    #[command(flatten)]
    serve: ServeArgs,
    #[command(flatten)]
    process: ProcessArgs,
}

const EXAMPLES: &str = "\
Examples:
  s3-ambassador --bucket videos --glob '*.mp4'
  s3-ambassador --bucket videos --prefix in/ --on-settle move:done/ --presign 1h
  s3-ambassador --bucket videos --s3-endpoint-url http://minio:9000 --check
  s3-ambassador --bucket archive --names raw
  curl localhost:8080/v1/items; curl localhost:8080/v1/withheld";

/// Runs the program to its end.
pub fn run(args: Args) -> ExitCode {
    let Args { bucket, serve, process } = args;
    process.run(async |shutdown| serve_bucket(bucket, serve, shutdown).await)
}

async fn serve_bucket(bucket: BucketArgs, serve: ServeArgs, shutdown: Shutdown) -> Result<ExitCode, Failure> {
    let settings = bucket.settings().map_err(Failure::config)?;
    if serve.check {
        preflight::preflight(&settings, &mut std::io::stdout()).await?;
    }
    match settings.order {
        Order::Key => {
            ambassador_kit::serve(serve, shutdown, async |registry| Ok(PagedSource::open(settings, registry))).await
        }
        Order::Age | Order::Position => {
            ambassador_kit::serve(serve, shutdown, async |registry| Ok(S3Source::open(settings, registry))).await
        }
    }
}
