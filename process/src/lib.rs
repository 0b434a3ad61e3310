#![doc = include_str!("../README.md")]

mod child;
mod claim;
mod hunt;
mod leader;
mod life;
mod limits;
mod mark;
mod nursery;
mod orphans;
mod output;
mod program;
mod spec;
mod table;

pub use child::{Child, Ended, Exit};
pub use hunt::{Purged, end, terminate};
pub use limits::Limits;
pub use mark::Mark;
pub use orphans::reap_orphans;
pub use output::{Kept, Output};
pub use program::{SpawnError, find};
pub use spec::Spec;
