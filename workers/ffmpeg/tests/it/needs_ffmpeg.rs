//! What only the real ffmpeg and ffprobe can show.

mod args;
mod bad;
mod bounds;
mod foreign;
mod hostile;
mod images;
mod needs_s3_servers;
mod numbering;
mod scene;
mod sheet;
mod times;
mod transcode;
