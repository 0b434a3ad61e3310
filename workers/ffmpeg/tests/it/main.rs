//! The program, on the real ffmpeg and ffprobe, against videos made here.

#![expect(clippy::indexing_slicing, reason = "a wrong index fails the test")]

mod bad;
mod hostile;
mod images;
mod numbering;
mod support;
