//! What only the real ffmpeg and ffprobe can show.

mod bad;
mod hostile;
mod images;
mod numbering;
