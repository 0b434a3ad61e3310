#![doc = include_str!("../README.md")]

mod args;
mod filter;
mod jail;
mod keeper;
mod lanes;
mod metrics;
mod quiet;
mod reason;
mod rest;
mod settle;
mod source;
mod stamp;
mod vitals;
mod watch;

use std::process::ExitCode;

use ambassador_kit::ServeArgs;
use clap::Parser;
use sidecar::{Failure, ProcessArgs, Shutdown};

pub use args::{FilesArgs, Settings, SettingsError};
pub use source::FilesSource;

/// Serves a folder's files through the source contract.
#[derive(Debug, Parser)]
#[command(name = "files-ambassador", version, max_term_width = 120, after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    files: FilesArgs,
    #[command(flatten)]
    serve: ServeArgs,
    #[command(flatten)]
    process: ProcessArgs,
}

const EXAMPLES: &str = "\
Examples:
  files-ambassador --root /media --glob '*.mp4'
  files-ambassador --root /media --glob 'in/**/*.mp4' --on-settle move:/media/done
  files-ambassador --root /media --check
  MEDIA_PATH=/media files-ambassador --item-base file:///mnt/media/
  curl localhost:8080/v1/items; curl localhost:8080/v1/withheld";

/// Runs the program to its end.
pub fn run(args: Args) -> ExitCode {
    let Args { files, serve, process } = args;
    process.run(async |shutdown| serve_files(files, serve, shutdown).await)
}

async fn serve_files(files: FilesArgs, serve: ServeArgs, shutdown: Shutdown) -> Result<ExitCode, Failure> {
    let settings = files.settings().map_err(Failure::config)?;
    if serve.check {
        source::preflight(&settings).await?;
    }
    ambassador_kit::serve(serve, shutdown, async |registry| FilesSource::open(settings, registry)).await
}
