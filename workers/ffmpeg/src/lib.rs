#![doc = include_str!("../README.md")]

mod args;
mod free;
mod image;
mod media;
mod pick;
mod scene;
mod sheet;
mod thumbnails;
mod transcode;

pub use args::{Args, main};
