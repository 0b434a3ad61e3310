//! ffmpeg and ffprobe: where they are, what they may open, and what they may use.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;
use worker_kit::{Command, Limits};

/// Containers that hold a whole video in themselves. Playlists (hls, dash, concat, imf, sdp), devices, generators and
/// patterns over many files are not among them, so that a file cannot make ffmpeg open another. The common audio files
/// are, so that they are called by their name: no video. Names as in `ffmpeg -demuxers`; a demuxer of several names
/// (`mov,mp4,m4a,3gp,3g2,mj2`, `matroska,webm`) is meant by each of them.
const CONTAINERS: &str = "mov,matroska,avi,mpegts,mpeg,mpegvideo,flv,live_flv,asf,ogg,mxf,gxf,nut,rm,wtv,dv,gif,apng,ivf,\
    obu,av1,h261,h263,h264,hevc,m4v,vc1,mjpeg,cavsvideo,dirac,yuv4mpegpipe,swf,nsv,nuv,ty,mp3,aac,flac,wav";

/// 16K cinema fits, a forged header that asks for gigabytes does not.
const MAX_PIXELS: u64 = 16_384 * 8_640;
/// The most of standard error that is kept to be judged. A sound file says nothing there.
const STDERR_MAX: usize = 1 << 20;
/// More threads than these cost memory and gain nothing: ffmpeg itself takes no more unless told.
const MOST_THREADS: usize = 16;

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
    /// How long ffprobe may take to look at a file; what it reads of one is bounded, so longer means a store that hangs.
    #[arg(long, default_value = "2m", value_name = "DURATION", value_parser = sidecar::cli::value::positive_duration)]
    pub(crate) ffprobe_timeout: Duration,
    #[command(flatten)]
    pub(crate) bounds: Bounds,
}

/// What a file may make ffmpeg use. The time is bounded by `--timeout`.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Bounds")]
pub(crate) struct Bounds {
    /// Memory that ffmpeg may fill with data, frames and stacks; a file that needs more is exit 65.
    #[arg(long, default_value = "4GiB", value_name = "SIZE", value_parser = some)]
    pub(crate) max_memory: ByteSize,
    /// Bytes that ffmpeg may write for one item, all files together; more is exit 65.
    #[arg(long, default_value = "32GiB", value_name = "SIZE", value_parser = some)]
    pub(crate) max_output: ByteSize,
    /// The largest picture that is decoded or made, width times height.
    #[arg(long, default_value_t = MAX_PIXELS, value_name = "PIXELS", value_parser = clap::value_parser!(u64).range(1..=i32::MAX as u64))]
    pub(crate) max_pixels: u64,
    /// Threads of each decoder, encoder and filter; 0: as many as the CPUs (a container's quota counts), 16 at the most.
    #[arg(long, default_value_t = 0, value_name = "N")]
    threads: u16,
    /// One more kind of file to read, as `ffmpeg -demuxers` calls it; repeatable. One that can name other files (hls, concat,
    /// dash, image2 …) lets an item read whatever file this worker may read.
    #[arg(long, value_name = "DEMUXER", value_delimiter = ',', value_parser = demuxer)]
    allow_format: Vec<String>,
}

fn some(text: &str) -> Result<ByteSize, String> {
    match text.parse()? {
        ByteSize(0) => Err("it must be more than nothing".into()),
        size => Ok(size),
    }
}

fn demuxer(text: &str) -> Result<String, &'static str> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if !text.is_empty() && text.bytes().all(legal) {
        Ok(text.to_owned())
    } else {
        Err("write a name, as hls or image2")
    }
}

impl Tools {
    pub(crate) fn programs(&self) -> Vec<OsString> {
        vec![self.ffmpeg.clone(), self.ffprobe.clone()]
    }

    /// An ffmpeg that tells its progress on standard output and on standard error only what is wrong, each line with its
    /// level, in English; that overwrites nothing, and works in `dir`.
    pub(super) fn ffmpeg(&self, dir: &Path) -> Command {
        let threads = self.bounds.threads();
        self.quiet(&self.ffmpeg)
            .cwd(dir)
            .args(["-nostdin", "-nostats", "-n", "-progress", "pipe:1", "-stats_period", "0.5"])
            .args(["-filter_threads", &threads, "-filter_complex_threads", &threads])
    }

    /// An ffprobe, likewise.
    pub(super) fn ffprobe(&self) -> Command {
        self.quiet(&self.ffprobe)
    }

    fn quiet(&self, program: &OsString) -> Command {
        let limits =
            Limits { memory: Some(self.bounds.max_memory.as_u64()), file: Some(self.bounds.max_output.as_u64()) };
        Command::new(program)
            .env("LC_ALL", "C")
            // It would leave its report in the output directory.
            .env_remove("FFREPORT")
            // The AV1 encoder heeds no -loglevel.
            .env("SVT_LOG", "1")
            .capture_stderr(STDERR_MAX)
            .limits(limits)
            .args(["-hide_banner", "-loglevel", "level+error"])
    }
}

impl Bounds {
    /// `-threads` and its like.
    pub(crate) fn threads(&self) -> String {
        let here = || std::thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
        if self.threads == 0 { here().to_string() } else { self.threads.to_string() }
    }

    /// The options that open `input` and nothing else, whatever it is called and whatever it says. They end with `-i` and
    /// the file, so that they hold for it whatever was said before.
    pub(crate) fn open_only(&self, input: &Path) -> Vec<OsString> {
        let mut formats = CONTAINERS.to_owned();
        for format in &self.allow_format {
            formats.push(',');
            formats.push_str(format);
        }
        let pixels = self.max_pixels.to_string();
        let words: [&str; 7] =
            ["-max_pixels", &pixels, "-protocol_whitelist", "file,pipe", "-format_whitelist", &formats, "-i"];
        words.iter().map(OsString::from).chain([file_url(input)]).collect()
    }
}

/// `file:PATH`: to ffmpeg the rest is a path, byte for byte, with neither options nor other protocols in it.
pub(crate) fn file_url(path: impl AsRef<OsStr>) -> OsString {
    let mut url = OsString::from("file:");
    url.push(path);
    url
}
