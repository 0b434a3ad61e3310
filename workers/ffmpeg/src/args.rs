//! The command line.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use worker_kit::{Context, Job, JobError, WorkerArgs};

use crate::free::Free;
use crate::scene::Scene;
use crate::sheet::ContactSheet;
use crate::thumbnails::Thumbnails;
use crate::transcode::Transcode;

/// What `--timeout` is where nobody says it: a file must not be able to take for ever.
const TIMEOUT: Duration = Duration::from_secs(12 * 60 * 60);

const EXAMPLES: &str = "\
Examples:
  One video, by hand:
    echo '{\"uri\":\"file:///videos/a.mp4\",\"key\":\"a.mp4\"}' > item.json
    WORK_ITEM_FILE=item.json ffmpeg-worker thumbnails --allow-input file:///videos/ --output 'file:///thumbnails/{key}/'

  Every video of a bucket, by presigned URLs or the usual credentials, into another:
    ffmpeg-worker thumbnails --allow-input s3://videos/ --output 's3://thumbnails/{key}/'

  A folder, by a queue manager:
    queue-manager local --source http://127.0.0.1:8080 --until-empty -- \\
      ffmpeg-worker thumbnails --allow-input file:///videos/ --output 'file:///thumbnails/{key}/' --timeout 30m";

const SCENE: &str = "\
Examples:
  An image of each scene, of soft changes too, and the times in _SUCCESS.json:
    ffmpeg-worker scene --threshold 0.2 --allow-input /videos/ --output '/scenes/{key}/'";

const SHEET: &str = "\
Examples:
  A whole film on one sheet of five by eight pictures, with the times:
    ffmpeg-worker contact-sheet --columns 5 --rows 8 --timestamps --allow-input /videos/ --output '/sheets/{key}/'
  A picture for every ten seconds, on as many sheets as that takes:
    ffmpeg-worker contact-sheet --interval 10s --width 160 --allow-input /videos/ --output '/sheets/{key}/'";

const TRANSCODE: &str = "\
Examples:
  video.mp4 for the web, 720 lines at the most:
    ffmpeg-worker transcode --height 720 --allow-input /videos/ --output '/web/{key}/' --timeout 4h
  A small silent video.webm:
    ffmpeg-worker transcode --codec vp9 --crf 40 --height 360 --audio none --allow-input /videos/ --output '/small/{key}/'";

const FREE: &str = "\
Examples:
  The first ten seconds as they are, and the sound by itself:
    ffmpeg-worker args --allow-input /videos/ --output '/clips/{key}/' -- \\
      -i {input} -t 10 -c copy {output}/clip.mp4 -vn -c:a libmp3lame {output}/sound.mp3
  A watermark; files of yours need their whole path:
    ffmpeg-worker args --allow-input /videos/ --output '/marked/{key}/' -- \\
      -i {input} -i /etc/logo.png -filter_complex overlay=10:10 marked.mp4";

/// Makes something of the video that WORK_ITEM_FILE names with ffmpeg, publishes it atomically, and exits with a code that
/// says what to do next.
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
    Thumbnails(With<Thumbnails>),
    /// Make one image of each scene: its first frame.
    #[command(after_help = SCENE)]
    Scene(With<Scene>),
    /// Make images of many small pictures, which show a video at a glance.
    #[command(after_help = SHEET)]
    ContactSheet(With<ContactSheet>),
    /// Make the whole video anew, in another codec or size.
    #[command(after_help = TRANSCODE)]
    Transcode(With<Transcode>),
    /// Run ffmpeg with arguments of your own.
    #[command(after_help = FREE)]
    Args(With<Free>),
}

/// A subcommand's own flags, and those that every worker has.
#[derive(Debug, clap::Args)]
struct With<J: clap::Args> {
    #[command(flatten)]
    job: J,
    #[command(flatten)]
    worker: WorkerArgs,
}

/// Whichever was chosen.
enum Chosen {
    Thumbnails(Thumbnails),
    Scene(Scene),
    ContactSheet(ContactSheet),
    Transcode(Transcode),
    Free(Free),
}

impl Job for Chosen {
    fn programs(&self) -> Vec<OsString> {
        let tools = match self {
            Self::Thumbnails(job) => &job.tools,
            Self::Scene(job) => &job.tools,
            Self::ContactSheet(job) => &job.tools,
            Self::Transcode(job) => &job.tools,
            Self::Free(job) => &job.tools,
        };
        tools.programs()
    }

    async fn run(self, context: &mut Context) -> Result<(), JobError> {
        match self {
            Self::Thumbnails(job) => job.run(context).await,
            Self::Scene(job) => job.run(context).await,
            Self::ContactSheet(job) => job.run(context).await,
            Self::Transcode(job) => job.run(context).await,
            Self::Free(job) => job.run(context).await,
        }
    }
}

/// The whole program: one item, from the command line to the exit code.
pub fn main() -> ExitCode {
    worker_kit::main(|args: Args| {
        let (worker, job) = match args.verb {
            Verb::Thumbnails(With { job, worker }) => (worker, Chosen::Thumbnails(job)),
            Verb::Scene(With { job, worker }) => (worker, Chosen::Scene(job)),
            Verb::ContactSheet(With { job, worker }) => (worker, Chosen::ContactSheet(job)),
            Verb::Transcode(With { job, worker }) => (worker, Chosen::Transcode(job)),
            Verb::Args(With { job, worker }) => (worker, Chosen::Free(job)),
        };
        (worker.timeout_or(TIMEOUT), job)
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
        assert!(!parses("ffmpeg-worker"));
        for (verb, right, wrong) in [
            (
                "thumbnails",
                "--every 1 --width 1 --quality 100 --allow-format hls,concat --max-memory 1GiB",
                &[
                    "--every 0",
                    "--width 0",
                    "--width 20000",
                    "--quality 0",
                    "--quality 101",
                    "--format bmp",
                    "--threads -1",
                ][..],
            ),
            (
                "thumbnails",
                "--max-output 1KB",
                &["--max-output 0", "--max-memory x", "--max-pixels 0", "--allow-format a:b"],
            ),
            ("scene", "--threshold 0.01", &["--threshold 0", "--threshold 1", "--threshold NaN", "--max-images 0"]),
            (
                "contact-sheet",
                "--columns 1 --timestamps --font /f",
                &["--columns 0", "--rows 101", "--font /f", "--interval 0s"],
            ),
            (
                "transcode",
                "--codec av1 --crf 63 --audio none",
                &["--codec xvid", "--crf 64", "--height 1", "--audio loud"],
            ),
        ] {
            let with = |flags: &str| parses(&format!("ffmpeg-worker {verb} --output /o/{{key}}/ {flags}"));
            assert!(with(right), "{verb} {right}");
            for flags in wrong {
                assert!(!with(flags), "{verb} {flags}");
            }
        }
        assert!(parses("ffmpeg-worker args --output /o/{key}/ -- -i {input} {output}/a.mp4"));
        for wrong in ["args --output /o/{key}/", "args --output /o/{key}/ -- -y -i {input} a.mp4"] {
            assert!(!parses(&format!("ffmpeg-worker {wrong}")), "{wrong}");
        }
    }
}
