//! Whose fault it is when ffmpeg or ffprobe ends badly: the video's, the machine's, or the configuration's.

use std::path::Path;

use contract::exit;
use rustix::process::Signal;
use worker_kit::{Exit, JobError};

use crate::tools::file_url;

/// Ends of lines on standard error that are the machine's doing (`strerror` in the C locale), each with the exit code, the
/// reason and the advice that belong to it.
const MACHINE: [(&str, u8, &str, &str); 7] = [
    ("No space left on device", exit::IO, "DiskFull", "the disk of the output is full"),
    ("Disk quota exceeded", exit::IO, "DiskFull", "the quota of the output is used up"),
    ("Read-only file system", exit::IO, "OutputNotWritable", "the output cannot be written"),
    ("Input/output error", exit::IO, "IoError", "reading the video or writing the images failed"),
    ("Cannot allocate memory", exit::TEMPORARY, "OutOfMemory", "there was not enough memory"),
    ("No such file or directory", exit::NO_INPUT, "InputMissing", "the video is not there any more"),
    ("Permission denied", exit::FORBIDDEN, "InputForbidden", "the video may not be read"),
];

/// Words that mean that this ffmpeg cannot do what it is asked, whatever the video.
const UNSUITABLE: [&str; 5] = [
    "Unrecognized option",
    "Unknown encoder",
    "No such filter",
    "Error splitting the argument list",
    "Unknown decoder",
];

/// Demuxers that go on, and end as if all were well, where a file is damaged or cut off; they do complain of it. (The one
/// of MP4 does not go on; its complaints are about edit lists, and mean nothing.)
const GOES_ON: [&str; 5] = ["[matroska,webm @", "[flv @", "[avi @", "[asf @", "[ogg @"];

/// What ffmpeg says, as a failure, of a video without a frame.
const NO_FRAME: &str = "Cannot determine format of input stream";

/// What `tool` ending badly on `input`, which people know as `name`, means for the item.
pub(crate) fn on(tool: &str, exit: &Exit, input: &Path, name: &str) -> JobError {
    let said = Said::new(&exit.stderr_tail, input);
    if let Some(signal) = exit.signal {
        return match crash(signal) {
            Some(signal) => {
                let why = said.best().map(|line| format!(": {line}")).unwrap_or_default();
                JobError::new(exit::BAD_ITEM, "CorruptVideo", format!("{name} makes {tool} crash ({signal}){why}"))
            }
            None => killed(tool, exit.clone(), name),
        };
    }
    if let Some(line) = said.lines().find(|line| UNSUITABLE.iter().any(|words| line.contains(words))) {
        let advice = "ffmpeg 5.1 or newer with the image's encoder is needed; see --ffmpeg and --ffprobe";
        return JobError::new(
            exit::CONFIG,
            "UnsuitableFfmpeg",
            format!("this {tool} cannot be used: {line}: {advice}"),
        );
    }
    for (end, code, reason, meaning) in MACHINE {
        if said.lines().any(|line| line.trim_end_matches('.').ends_with(end)) {
            return JobError::new(code, reason, format!("{tool} failed on {name}: {meaning}: {end}"));
        }
    }
    if let Some(format) = said.lines().find(|line| line.contains("Format not on whitelist")) {
        let format = format.split_once('@').map_or("unknown", |(format, _)| format.trim_matches(['[', ' ']));
        let message =
            format!("{name} is not a video but {format:?}, which can name other files: only whole videos are read");
        return JobError::new(exit::BAD_ITEM, "NotAVideo", message);
    }
    if said.lines().any(|line| line.contains(NO_FRAME)) {
        return no_image(name);
    }
    let why = said.best().unwrap_or_else(|| format!("{tool} does not say why"));
    JobError::new(exit::BAD_ITEM, "CorruptVideo", format!("{name} is damaged or not a video: {why}"))
}

/// Why a video is not whole although ffmpeg ended well.
pub(crate) fn damaged(exit: &Exit, input: &Path, name: &str) -> Option<JobError> {
    let said = Said::new(&exit.stderr_tail, input);
    let line = said.lines().find(|line| GOES_ON.iter().any(|demuxer| line.starts_with(demuxer)))?;
    let message = format!("{name} is damaged or was never finished: {}", plain(line));
    Some(JobError::new(exit::BAD_ITEM, "CorruptVideo", message))
}

/// The output that was asked for is not there, and could not be.
pub(crate) fn no_image(name: &str) -> JobError {
    JobError::new(exit::CANT_CREATE, "NoImages", format!("{name} gave no image: there is not one frame in it"))
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

fn killed(tool: &str, exit: Exit, name: &str) -> JobError {
    let signal = exit.signal.unwrap_or_default();
    let code = u8::try_from(signal).unwrap_or_default().saturating_add(exit::SIGNAL_BASE);
    let advice = if signal == Signal::KILL.as_raw() { ": was there too little memory?" } else { "" };
    JobError::new(code, "CommandKilled", format!("{tool} on {name} was killed by signal {signal}{advice}"))
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

    fn verdict(stderr: &str) -> String {
        format!("{:?}", on("ffmpeg", &ended(Some(1), None, stderr), Path::new("/v/a.mp4"), "\"a.mp4\""))
    }

    #[test]
    fn a_bad_video_is_told_by_the_first_complaint_and_the_last_word() {
        let said = "[mov,mp4 @ 0x55c0] [error] moov atom not found\n[error] file:/v/a.mp4: Invalid data found\n";
        let error = on("ffprobe", &ended(Some(1), None, said), Path::new("/v/a.mp4"), "\"a.mp4\"");
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
    }

    #[test]
    fn a_files_name_is_not_taken_for_a_message() {
        let path = Path::new("/v/Unknown encoder\nNo space left on device");
        let said = format!("[error] file:{}: Invalid data found\n", path.display());
        let error = format!("{:?}", on("ffmpeg", &ended(Some(1), None, &said), path, "it"));
        assert!(error.contains("code: 65"), "{error}");
    }

    #[test]
    fn crashes_are_the_videos_and_kills_are_not() {
        let on =
            |signal, said: &str| format!("{:?}", on("ffmpeg", &ended(None, Some(signal), said), Path::new("/v"), "it"));
        let crash = on(6, "[panic] Assertion frame->buf[0] failed at src/libavcodec/decode.c:502\n");
        assert!(crash.contains("code: 65") && crash.contains("SIGABRT") && crash.contains("Assertion"), "{crash}");
        assert!(on(9, "").contains("code: 137"));
        assert!(on(15, "").contains("code: 143"));
    }

    #[test]
    fn a_demuxer_that_goes_on_is_not_believed() {
        let damaged =
            |said: &str| damaged(&ended(Some(0), None, said), Path::new("/v"), "it").map(|error| error.to_string());
        let why = damaged("[matroska,webm @ 0x5] [error] File ended prematurely\n").expect("is damaged");
        assert_eq!(why, "it is damaged or was never finished: File ended prematurely");
        assert!(
            damaged("[mov,mp4,m4a,3gp,3g2,mj2 @ 0x5] [error] st: 0 edit list 1 Cannot find an index entry\n").is_none()
        );
        assert!(damaged("").is_none());
    }

    #[test]
    fn playlists_are_named() {
        let error =
            verdict("[hls @ 0x55d4] [error] Format not on whitelist 'mov'\n[error] file:/v/a.mp4: Invalid argument\n");
        assert!(error.contains("code: 65") && error.contains("hls"), "{error}");
    }
}
