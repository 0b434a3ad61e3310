#![doc = include_str!("../README.md")]

pub mod name;
pub mod protocol;
pub mod root;

pub use name::{Boot, StageName};
pub use root::{AdapterDir, Root, StageDir};
