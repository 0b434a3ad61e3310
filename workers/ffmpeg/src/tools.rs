//! ffmpeg and ffprobe: where they are, and what they may open.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use contract::exit;
use worker_kit::{Command, Context, Exit, JobError};

/// Containers that hold a whole video in themselves. Playlists (hls, dash, concat, imf, sdp), devices, generators and
/// patterns over many files are not among them, so that a file cannot make ffmpeg open another. The common audio files
/// are, so that they are called by their name: no video. Names as in `ffmpeg -demuxers`; a demuxer of several names
/// (`mov,mp4,m4a,3gp,3g2,mj2`, `matroska,webm`) is meant by each of them.
const CONTAINERS: &str = "mov,matroska,avi,mpegts,mpeg,mpegvideo,flv,live_flv,asf,ogg,mxf,gxf,nut,rm,wtv,dv,gif,apng,ivf,\
    obu,av1,h261,h263,h264,hevc,m4v,vc1,mjpeg,cavsvideo,dirac,yuv4mpegpipe,swf,nsv,nuv,ty,mp3,aac,flac,wav";

/// The largest picture that is decoded, in pixels: 16K cinema fits, a forged header that asks for gigabytes does not.
pub(crate) const MAX_PIXELS: u64 = 16_384 * 8_640;

/// Where the programs are.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Tools")]
pub(crate) struct Tools {
    /// The ffmpeg to run, 5.1 or newer.
    #[arg(long, default_value = "ffmpeg", value_name = "PROGRAM")]
    pub(crate) ffmpeg: OsString,
    /// The ffprobe to run, of the same version.
    #[arg(long, default_value = "ffprobe", value_name = "PROGRAM")]
    pub(crate) ffprobe: OsString,
    /// Threads that decode; 0: as many as there are CPUs, whatever a container's quota. Each holds a few frames.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) threads: u16,
    /// How long ffprobe may take to look at a file; what it reads of one is bounded, so longer means a store that hangs.
    #[arg(long, default_value = "2m", value_name = "DURATION", value_parser = sidecar::cli::value::positive_duration)]
    pub(crate) ffprobe_timeout: Duration,
}

impl Tools {
    /// An ffmpeg that says on standard error only what is wrong, each line with its level, in English.
    pub(crate) fn ffmpeg(&self) -> Command {
        quiet(&self.ffmpeg).args(["-nostdin", "-nostats"])
    }

    /// An ffprobe, likewise.
    pub(crate) fn ffprobe(&self) -> Command {
        quiet(&self.ffprobe)
    }
}

/// Runs one of them; where it is not installed, the error says where to get it.
pub(crate) async fn run(context: &mut Context, command: Command) -> Result<Exit, JobError> {
    context.run(command).await.map_err(|error| match error.code() {
        exit::NOT_FOUND => error.with_hint("apt-get install ffmpeg, or name it with --ffmpeg and --ffprobe"),
        _ => error,
    })
}

fn quiet(program: &OsString) -> Command {
    Command::new(program).env("LC_ALL", "C").args(["-hide_banner", "-loglevel", "level+error"])
}

/// The options that open `input` and nothing else, whatever it is called and whatever it says.
pub(crate) fn open_only(input: &Path) -> Vec<OsString> {
    let mut words: Vec<OsString> =
        ["-protocol_whitelist", "file,pipe", "-format_whitelist", CONTAINERS, "-i"].map(OsString::from).into();
    words.push(file_url(input));
    words
}

/// `file:PATH`: to ffmpeg the rest is a path, byte for byte, with neither options nor other protocols in it.
pub(crate) fn file_url(path: &Path) -> OsString {
    let mut url = OsString::from("file:");
    url.push(path);
    url
}
