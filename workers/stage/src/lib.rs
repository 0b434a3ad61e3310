#![doc = include_str!("../README.md")]

pub mod bell;
pub mod files;
pub mod life;
pub mod name;
pub mod peer;
pub mod protocol;
pub mod root;
pub mod run;

pub use bell::{Bell, ring};
pub use life::Life;
pub use name::{Boot, StageName};
pub use peer::{Peer, Sign, heartbeat, hello};
pub use root::{AdapterDir, Root, StageDir};
