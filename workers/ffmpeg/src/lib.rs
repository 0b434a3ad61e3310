#![doc = include_str!("../README.md")]

mod args;
mod image;
mod probe;
mod progress;
mod thumbnails;
mod tools;
mod verdict;

pub use args::{Args, main};
