//! The command line.

use std::num::NonZeroU32;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use worker_kit::WorkerArgs;

use crate::image::{Encoding, Format};
use crate::thumbnails::Thumbnails;
use crate::tools::Tools;

const EXAMPLES: &str = "\
Examples:
  One video, by hand:
    echo '{\"uri\":\"file:///videos/a.mp4\",\"key\":\"a.mp4\"}' > item.json
    WORK_ITEM_FILE=item.json ffmpeg-worker thumbnails --allow-input file:///videos/ --output 'file:///thumbnails/{key}/'

  A folder, by a queue manager:
    queue-manager local --source http://127.0.0.1:8080 --until-empty -- \\
      ffmpeg-worker thumbnails --allow-input file:///videos/ --output 'file:///thumbnails/{key}/' --timeout 30m";

/// Turns the video that WORK_ITEM_FILE names into images with ffmpeg, publishes them atomically, and exits with a code
/// that says what to do next.
#[derive(Debug, Parser)]
#[command(name = "ffmpeg-worker", version, after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make one image of every N frames: image k is exactly frame N·k, both from 0.
    #[command(after_help = EXAMPLES)]
    Thumbnails(ThumbnailsArgs),
}

#[derive(Debug, clap::Args)]
struct ThumbnailsArgs {
    /// Take one frame of this many.
    #[arg(long, default_value = "100", value_name = "FRAMES", value_parser = frames)]
    every: NonZeroU32,
    /// Width of each image in pixels; the height follows from the video's shape as it is meant to be shown.
    #[arg(long, default_value_t = 320, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(1..=16_383))]
    width: u32,
    /// What kind of image.
    #[arg(long, value_enum, default_value_t = Format::Jpg)]
    format: Format,
    /// How good, from 1 (small) to 100; of no effect on png, which loses nothing.
    #[arg(long, default_value_t = 90, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100))]
    quality: u8,
    #[command(flatten)]
    tools: Tools,
    #[command(flatten)]
    worker: WorkerArgs,
}

fn frames(text: &str) -> Result<NonZeroU32, &'static str> {
    text.parse().map_err(|_| "write a whole number from 1 on")
}

/// The whole program: one item, from the command line to the exit code.
pub fn main() -> ExitCode {
    worker_kit::main(|args: Args| {
        let Verb::Thumbnails(args) = args.verb;
        let encoding = Encoding { format: args.format, quality: args.quality };
        let job = Thumbnails { every: args.every, width: args.width, encoding, tools: args.tools };
        (args.worker, job)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        sidecar::cli::command::<Args>().debug_assert();
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let parses = |words: &str| Args::try_parse_from(words.split(' ')).is_ok();
        assert!(parses("ffmpeg-worker thumbnails --output /o/{key}/ --every 1 --width 1 --quality 100"));
        for flag in
            ["--every 0", "--width 0", "--width 20000", "--quality 0", "--quality 101", "--format bmp", "--threads -1"]
        {
            assert!(!parses(&format!("ffmpeg-worker thumbnails --output /o/{{key}}/ {flag}")), "{flag}");
        }
        assert!(!parses("ffmpeg-worker"));
    }
}
