//! The operator's own arguments: ffmpeg as they write it, on the item's file, within our bounds.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use contract::exit;
use serde::Serialize;
use worker_kit::{Context, JobError};

use crate::media::{Media, Run, Tools};

/// Stands for the item's file, as the value of `-i` and nowhere else.
const INPUT: &str = "{input}";
/// Stands for the output directory, wherever it is.
const OUTPUT: &str = "{output}";
/// Options that are the worker's to say.
const OURS: [&str; 15] = [
    "-y",
    "-n",
    "-stdin",
    "-report",
    "-v",
    "-loglevel",
    "-stats",
    "-progress",
    "-stats_period",
    "-protocol_whitelist",
    "-protocol_blacklist",
    "-format_whitelist",
    "-max_pixels",
    "-xerror",
    "-noxerror",
];

/// Runs ffmpeg with arguments of the operator's.
#[derive(Debug, Args)]
pub(crate) struct Free {
    /// ffmpeg's arguments, with `-i {input}` among them and the files to make: relative names, or {output}/NAME, are in the
    /// output directory. No shell reads them, and nothing of the item becomes part of one.
    #[arg(last = true, required = true, value_name = "ARGS", value_parser = OsStringValueParser::new().try_map(word))]
    words: Vec<OsString>,
    #[command(flatten)]
    pub(crate) tools: Tools,
}

fn word(word: OsString) -> Result<OsString, String> {
    if OURS.iter().any(|option| word == *option) {
        return Err(format!("{} is the worker's to say (see --help)", word.display()));
    }
    if word != INPUT && contains(&word, INPUT) {
        let why = "the name of a file must not become part of a filter, an option or another name";
        return Err(format!("{INPUT} must be a word by itself, behind -i: {why}"));
    }
    Ok(word)
}

/// What the marker and the report say of the output.
#[derive(Serialize)]
struct Summary {
    files: usize,
    /// Seconds of the longest output, as ffmpeg counts them.
    duration: Option<f64>,
    /// Of the first output that is a video.
    frames: u64,
}

impl Free {
    pub(crate) async fn run(&self, context: &mut Context) -> Result<(), JobError> {
        check(&self.words)?;
        let mut media = Media::open(&self.tools, context).await?;
        // Who says how damage is to be detected has said that it is theirs to judge.
        let strict = !self.words.iter().any(|word| word == "-err_detect");
        let run = Run { strict, words: fill(&self.words, &media.input(strict)), ..Run::default() };
        let told = media.ffmpeg(run).await?;
        let files = media.files_made()?;
        if !files.iter().any(|file| file.metadata().is_ok_and(|meta| meta.len() > 0)) {
            let message = format!("ffmpeg made no file of {}, or empty ones", media.name);
            return Err(JobError::new(exit::CANT_CREATE, "NothingMade", message));
        }
        media.tell(&Summary { files: files.len(), duration: told.seconds, frames: told.frames })
    }
}

/// Whether the item's file is the value of `-i`, and at least once.
fn check(words: &[OsString]) -> Result<(), JobError> {
    let usage = |message: String| Err(JobError::new(exit::USAGE, "Usage", message));
    let mut before = None;
    let mut opened = false;
    for word in words {
        if word == INPUT {
            if before.is_none_or(|before: &OsString| before != "-i") {
                return usage(format!("{INPUT} must stand behind -i, and nowhere else"));
            }
            opened = true;
        }
        before = Some(word);
    }
    if opened { Ok(()) } else { usage(format!("the arguments open no item: -i {INPUT} must be among them")) }
}

/// The words with `open` in place of each `-i {input}`, and the output directory, where ffmpeg runs, in place of {output}.
fn fill(words: &[OsString], open: &[OsString]) -> Vec<OsString> {
    let mut filled = Vec::new();
    for word in words {
        if word == INPUT {
            filled.pop();
            filled.extend_from_slice(open);
        } else {
            filled.push(replace(word, OUTPUT, "."));
        }
    }
    filled
}

fn contains(word: &OsStr, part: &str) -> bool {
    word.as_bytes().windows(part.len()).any(|bytes| bytes == part.as_bytes())
}

fn replace(word: &OsStr, part: &str, by: &str) -> OsString {
    let mut rest = word.as_bytes();
    let mut bytes = Vec::with_capacity(rest.len());
    while let Some((first, after)) = rest.split_first() {
        match rest.strip_prefix(part.as_bytes()) {
            Some(behind) => {
                bytes.extend_from_slice(by.as_bytes());
                rest = behind;
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn what_is_ours_to_say_and_names_in_filters_are_refused() {
        for wrong in ["-y", "-protocol_whitelist", "-max_pixels", "subtitles={input}", "{input}.srt"] {
            assert!(word(wrong.into()).is_err(), "{wrong}");
        }
        for right in ["-i", "{input}", "{output}/a.mp4", "-vf", "drawtext=text='{x}'", ""] {
            assert_eq!(word(right.into()), Ok(right.into()));
        }
    }

    #[test]
    fn the_input_is_opened_and_nothing_else() {
        assert!(check(&split("-ss 1 -i {input} a.mp4")).is_ok());
        assert!(check(&split("-i logo.png -i {input} a.mp4")).is_ok());
        for wrong in ["", "-i logo.png a.mp4", "{input} a.mp4", "-i {input} {input}", "-f {input} -i {input} a"] {
            assert!(check(&split(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn our_options_stand_before_each_opening_so_that_they_are_the_last() {
        let filled = fill(&split("-f hls -i {input} -i {input} {output}/{output}.mp4"), &split("-safe yes -i file:/a"));
        assert_eq!(filled, split("-f hls -safe yes -i file:/a -safe yes -i file:/a ./..mp4"));
    }
}
