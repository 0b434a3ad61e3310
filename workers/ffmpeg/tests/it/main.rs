//! The program, on the real ffmpeg and ffprobe, against videos made here.

#![expect(clippy::indexing_slicing, reason = "a wrong index fails the test")]

mod cli;
mod needs_ffmpeg;
mod support;
