//! Whose fault it is when ffmpeg or ffprobe ends badly: the video's, the machine's, or the configuration's.

use std::path::Path;

use contract::exit;
use rustix::process::Signal;
use worker_kit::{Exit, JobError};

use super::disk;
use super::tools::{Bounds, file_url};

/// Ends of lines on standard error that are the machine's doing (`strerror` in the C locale), each with the exit code, the
/// reason and the advice that belong to it.
const MACHINE: [(&str, u8, &str, &str); 7] = [
    ("No space left on device", exit::IO, "DiskFull", "the disk of the output is full"),
    ("Disk quota exceeded", exit::IO, "DiskFull", "the quota of the output is used up"),
    ("Read-only file system", exit::IO, "OutputNotWritable", "the output cannot be written"),
    ("Input/output error", exit::IO, "IoError", "reading the video or writing the images failed"),
    (
        "Resource temporarily unavailable",
        exit::TEMPORARY,
        "Exhausted",
        "there was nothing to spare for one more thread",
    ),
    ("No such file or directory", exit::NO_INPUT, "InputMissing", "the video is not there any more"),
    ("Permission denied", exit::FORBIDDEN, "InputForbidden", "the video may not be read"),
];

/// Where the bound on memory was met, as ffmpeg, a decoder and an encoder say it: a file's doing, and not the machine's.
const NO_MEMORY: [&str; 3] = ["Cannot allocate memory", "get_buffer() failed", "[error]: malloc of size"];
/// Why else a decoder gets no room for a frame.
const NO_PICTURE: &str = "image parameters invalid";
/// An encoder does not take what it is given: too small, too large.
const CANNOT_ENCODE: &str = "Error while opening encoder";
/// Its end, and the signal, where the bound on a file was met.
const FILE_TOO_LARGE: &str = "File too large";
/// Of a frame in the middle of a file that is larger than its header said.
const TOO_MANY_PIXELS: &str = "exceeds specified max pixel count";

/// A file of the operator's naming is there already.
const TAKEN: &str = "already exists. Exiting";

/// Words that mean that this ffmpeg cannot do what it is asked, whatever the video.
const UNSUITABLE: [&str; 7] = [
    "Unrecognized option",
    "Unknown encoder",
    "No such filter",
    "Error splitting the argument list",
    "Unknown decoder",
    "Cannot find a valid font",
    "Could not load font",
];

/// Demuxers that go on, and end as if all were well, where a file is damaged or cut off; they do complain of it. (The one
/// of MP4 does not go on; its complaints are about edit lists, and mean nothing.)
const GOES_ON: [&str; 5] = ["[matroska,webm @", "[flv @", "[avi @", "[asf @", "[ogg @"];

/// What ffmpeg says, as a failure, of a video without a frame.
const NO_FRAME: &str = "Cannot determine format of input stream";

/// Whoever judges how a tool ended.
#[derive(Clone, Copy)]
pub(super) struct Judge<'a> {
    pub(super) tool: &'static str,
    pub(super) input: &'a Path,
    /// What people know the input as.
    pub(super) name: &'a str,
    pub(super) bounds: &'a Bounds,
}

impl Judge<'_> {
    /// What a bad end means for the item.
    pub(super) fn failed(&self, exit: &Exit) -> JobError {
        let Self { tool, name, .. } = *self;
        let said = Said::new(&exit.stderr_tail, self.input);
        let bad = |reason, message| JobError::new(exit::BAD_ITEM, reason, message);
        if let Some(error) = self.bound_met(exit, &said) {
            return error;
        }
        if let Some(signal) = exit.signal {
            return match crash(signal) {
                Some(signal) => {
                    let why = said.best().map(|line| format!(": {line}")).unwrap_or_default();
                    bad("CorruptVideo", format!("{name} makes {tool} crash ({signal}){why}"))
                }
                None => self.killed(signal),
            };
        }
        if let Some(code @ (exit::NOT_EXECUTABLE | exit::NOT_FOUND)) =
            exit.code.and_then(|code| u8::try_from(code).ok())
        {
            // Of a launcher or a loader (ld.so, a script's shell): the tool itself never ran, whatever was said of missing files.
            let why = said.lines().last().map(|line| format!(": {}", plain(line))).unwrap_or_default();
            return JobError::new(code, "UnsuitableFfmpeg", format!("{tool} could not be started{why}"))
                .with_hint("install it with the libraries that it needs, or name another with --ffmpeg and --ffprobe");
        }
        if let Some(line) = said.lines().find(|line| UNSUITABLE.iter().any(|words| line.contains(words))) {
            let advice = "ffmpeg 5.1 or newer with what the output needs is wanted; see --ffmpeg and --ffprobe";
            let message = format!("this {tool} cannot be used: {}: {advice}", plain(line));
            return JobError::new(exit::CONFIG, "UnsuitableFfmpeg", message);
        }
        for (end, code, reason, meaning) in MACHINE {
            if said.ends(end) {
                return JobError::new(code, reason, format!("{tool} failed on {name}: {meaning}: {end}"));
            }
        }
        if let Some(line) = said.lines().find(|line| line.contains(TAKEN)) {
            return JobError::new(exit::CANT_CREATE, "OutputTaken", format!("nothing is overwritten: {}", plain(line)));
        }
        if let Some(format) = said.lines().find(|line| line.contains("Format not on whitelist")) {
            let format = format.split_once('@').map_or("unknown", |(format, _)| format.trim_matches(['[', ' ']));
            let why = "which can name other files or is no video: only whole videos are read (see --allow-format)";
            return bad("NotAVideo", format!("{name} is not a video but {format:?}, {why}"));
        }
        if said.lines().any(|line| line.contains(NO_FRAME)) {
            return no_frames(name);
        }
        let why = said.best().unwrap_or_else(|| format!("{tool} does not say why"));
        if said.lines().any(|line| line.contains(CANNOT_ENCODE)) {
            return bad("CannotEncode", format!("{name} cannot be made into what is asked for: {why}"));
        }
        bad("CorruptVideo", format!("{name} is damaged or not a video: {why}"))
    }

    /// What it was not given more of, although it ended well.
    pub(super) fn bounded(&self, exit: &Exit) -> Option<JobError> {
        self.bound_met(exit, &Said::new(&exit.stderr_tail, self.input))
    }

    fn bound_met(&self, exit: &Exit, said: &Said) -> Option<JobError> {
        let Self { tool, name, bounds, .. } = *self;
        let bad = |reason, message| Some(JobError::new(exit::BAD_ITEM, reason, message));
        if exit.signal == Some(Signal::XFSZ.as_raw()) || said.ends(FILE_TOO_LARGE) {
            return Some(disk::too_large(bounds.max_output, name));
        }
        if said.lines().any(|line| line.contains(TOO_MANY_PIXELS) || pixels_in(line) > bounds.max_pixels) {
            let message = format!("{name} has a picture of more than the {} pixels of --max-pixels", bounds.max_pixels);
            return bad("PictureTooLarge", message);
        }
        let says = |words: &str| said.lines().any(|line| line.contains(words));
        if NO_MEMORY.iter().any(|words| says(words)) && !says(NO_PICTURE) {
            let message = format!("{name} makes {tool} ask for more than the {} of --max-memory", bounds.max_memory);
            return bad("TooMuchMemory", message);
        }
        None
    }

    /// Why a video is not whole although ffmpeg ended well.
    pub(super) fn damaged(&self, exit: &Exit) -> Option<JobError> {
        let said = Said::new(&exit.stderr_tail, self.input);
        let mut lines = said.lines();
        let why = match lines.find(|line| GOES_ON.iter().any(|demuxer| line.starts_with(demuxer))) {
            Some(line) => plain(line),
            None if exit.stderr_whole => return None,
            None => format!("ffmpeg complains of it without end, as: {}", said.best().unwrap_or_default()),
        };
        let message = format!("{} is damaged or was never finished: {why}", self.name);
        Some(JobError::new(exit::BAD_ITEM, "CorruptVideo", message))
    }

    fn killed(&self, signal: i32) -> JobError {
        let code = u8::try_from(signal).unwrap_or_default().saturating_add(exit::SIGNAL_BASE);
        let advice = if signal == Signal::KILL.as_raw() { ": was there too little memory?" } else { "" };
        let message = format!("{} on {} was killed by signal {signal}{advice}", self.tool, self.name);
        JobError::new(code, "CommandKilled", message)
    }
}

/// The output that was asked for is not there, and could not be.
pub(super) fn no_frames(name: &str) -> JobError {
    JobError::new(exit::CANT_CREATE, "NoFrames", format!("{name} gives nothing: there is not one frame in it"))
}

/// Of a picture that is too large even for ffmpeg: `Picture size 65535x65535 is invalid`.
fn pixels_in(line: &str) -> u64 {
    let size = line.split_once("Picture size ").and_then(|(_, size)| size.split_whitespace().next()?.split_once('x'));
    let pixels = size.and_then(|(width, height)| width.parse::<u64>().ok()?.checked_mul(height.parse().ok()?));
    pixels.unwrap_or_default()
}

/// The signals a program raises against itself, on what it read.
fn crash(signal: i32) -> Option<&'static str> {
    match Signal::from_named_raw(signal)? {
        Signal::ABORT => Some("SIGABRT"),
        Signal::SEGV => Some("SIGSEGV"),
        Signal::FPE => Some("SIGFPE"),
        _ => None,
    }
}

/// What a tool said on standard error, with the input's path taken out, so that a file's name cannot pass for a message.
struct Said(String);

impl Said {
    fn new(stderr: &str, input: &Path) -> Self {
        let url = file_url(input);
        Self(stderr.replace(&*url.to_string_lossy(), "input").replace(&*input.to_string_lossy(), "input"))
    }

    fn lines(&self) -> impl Iterator<Item = &str> {
        self.0.lines().map(str::trim).filter(|line| !line.is_empty())
    }

    /// Whether a line has this end.
    fn ends(&self, end: &str) -> bool {
        self.lines().any(|line| line.trim_end_matches('.').ends_with(end))
    }

    /// The line that says most: the one it gave up over, else what it first complained of, with its last word.
    fn best(&self) -> Option<String> {
        let level = |words: &[&str]| self.lines().find(|line| words.iter().any(|word| line.contains(word))).map(plain);
        let first = level(&["[panic]", "[fatal]"])
            .or_else(|| level(&["[error]"]))
            .or_else(|| self.lines().next().map(plain))?;
        let last = self.lines().last().map(plain).filter(|last| *last != first && last.starts_with("input: "));
        Some(match last {
            Some(last) => format!("{first} ({})", last.trim_start_matches("input: ")),
            None => first.trim_start_matches("input: ").to_owned(),
        })
    }
}

/// `[mov,mp4 @ 0x55c0e9c371c0] [error] moov atom not found` → `moov atom not found`.
fn plain(line: &str) -> String {
    let mut rest = line;
    while let Some((_, after)) = rest.strip_prefix('[').and_then(|inner| inner.split_once("] ")) {
        rest = after;
    }
    rest.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(code: Option<i32>, signal: Option<i32>, stderr: &str) -> Exit {
        Exit { code, signal, stdout: Vec::new(), stderr_tail: stderr.to_owned(), stderr_whole: true }
    }

    /// What `judged` makes of a file at `path`.
    fn judge<T>(path: &Path, judged: impl FnOnce(Judge<'_>) -> T) -> T {
        #[derive(clap::Parser)]
        struct Given {
            #[command(flatten)]
            bounds: Bounds,
        }
        let Given { bounds } = clap::Parser::parse_from(["test"]);
        judged(Judge { tool: "ffmpeg", input: path, name: "\"a.mp4\"", bounds: &bounds })
    }

    fn failed(code: Option<i32>, signal: Option<i32>, stderr: &str) -> String {
        judge(Path::new("/v/a.mp4"), |judge| format!("{:?}", judge.failed(&ended(code, signal, stderr))))
    }

    fn verdict(stderr: &str) -> String {
        failed(Some(1), None, stderr)
    }

    #[test]
    fn a_bad_video_is_told_by_the_first_complaint_and_the_last_word() {
        let said = "[mov,mp4 @ 0x55c0] [error] moov atom not found\n[error] file:/v/a.mp4: Invalid data found\n";
        let error = judge(Path::new("/v/a.mp4"), |judge| judge.failed(&ended(Some(1), None, said)));
        assert_eq!(error.to_string(), "\"a.mp4\" is damaged or not a video: moov atom not found (Invalid data found)");
        let said = "[h264 @ 0x1] [error] no frame!\n[fatal] file:/v/a.mp4: corrupt input packet in stream 0\n";
        assert!(verdict(said).contains("corrupt input packet in stream 0"), "{}", verdict(said));
        assert!(verdict("").contains("does not say why"));
    }

    #[test]
    fn the_machine_is_not_the_videos_fault() {
        assert!(verdict("[error] av_interleaved_write_frame(): No space left on device\n").contains("code: 74"));
        assert!(verdict("[error] file:/v/a.mp4: No such file or directory\n").contains("code: 66"));
        assert!(verdict("Unrecognized option 'fps_mode'.\n").contains("code: 78"));
        let loader = "ffmpeg: error while loading shared libraries: libx264.so.164: cannot open shared object file: No such file or directory\n";
        let missing = failed(Some(127), None, loader);
        assert!(missing.contains("code: 127") && missing.contains("libx264.so.164"), "{missing}");
    }

    #[test]
    fn a_files_name_is_not_taken_for_a_message() {
        let path = Path::new("/v/Unknown encoder\nNo space left on device");
        let said = format!("[error] file:{}: Invalid data found\n", path.display());
        let error = judge(path, |judge| format!("{:?}", judge.failed(&ended(Some(1), None, &said))));
        assert!(error.contains("code: 65"), "{error}");
    }

    #[test]
    fn crashes_are_the_videos_and_kills_are_not() {
        let on = |signal, said: &str| failed(None, Some(signal), said);
        let crash = on(6, "[panic] Assertion frame->buf[0] failed at src/libavcodec/decode.c:502\n");
        assert!(crash.contains("code: 65") && crash.contains("SIGABRT") && crash.contains("Assertion"), "{crash}");
        assert!(on(9, "").contains("code: 137"));
        assert!(on(15, "").contains("code: 143"));
    }

    #[test]
    fn a_demuxer_that_goes_on_is_not_believed() {
        let of = |exit: Exit| {
            let error = judge(Path::new("/v"), |judge| judge.damaged(&exit));
            error.map(|error| error.to_string())
        };
        let damaged = |said: &str| of(ended(Some(0), None, said));
        let why = damaged("[matroska,webm @ 0x5] [error] File ended prematurely\n").expect("is damaged");
        assert_eq!(why, "\"a.mp4\" is damaged or was never finished: File ended prematurely");
        assert!(
            damaged("[mov,mp4,m4a,3gp,3g2,mj2 @ 0x5] [error] st: 0 edit list 1 Cannot find an index entry\n").is_none()
        );
        assert!(damaged("").is_none());
        let flood = Exit { stderr_whole: false, ..ended(Some(0), None, "[mov,mp4 @ 0x5] [error] st: 0 edit list\n") };
        assert!(of(flood).expect("cannot be believed").contains("without end"));
    }

    #[test]
    fn what_an_encoder_does_not_take_is_no_damage() {
        let said = "[libx265 @ 0x5] [error] Image size is too small (2x2).\n\
            [error] Error initializing output stream 0:0 -- Error while opening encoder for output stream #0:0\n";
        let error = verdict(said);
        assert!(error.contains("CannotEncode") && error.contains("too small (2x2)"), "{error}");
    }

    #[test]
    fn what_meets_a_bound_is_the_files_doing() {
        for (signal, said, flag) in [
            (None, "[error] Error while decoding: Cannot allocate memory\n", "--max-memory"),
            (Some(25), "", "--max-output"),
            (None, "[error] av_interleaved_write_frame(): File too large\n", "--max-output"),
            (
                None,
                "[h264 @ 0x1] [IMGUTILS @ 0x2] [error] Picture size 9x9 exceeds specified max pixel count 4, see\n",
                "--max-pixels",
            ),
        ] {
            let error = failed(signal.is_none().then_some(1), signal, said);
            assert!(error.contains("code: 65") && error.contains(flag), "{flag}: {error}");
        }
    }

    #[test]
    fn playlists_are_named() {
        let error =
            verdict("[hls @ 0x55d4] [error] Format not on whitelist 'mov'\n[error] file:/v/a.mp4: Invalid argument\n");
        assert!(error.contains("code: 65") && error.contains("hls"), "{error}");
    }
}
