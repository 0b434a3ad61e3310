//! Lists and streams of a real Redis, filled by clients that others wrote, served in this process and by the real program.

#![expect(clippy::indexing_slicing, reason = "a test that panics has said what it has to say")]

mod cluster;
mod conformance;
mod consumers;
mod drain;
mod healing;
mod keys;
mod list;
mod load;
mod orphans;
mod outages;
mod poison;
mod program;
mod rights;
mod scale;
mod sentinel;
mod stream;
mod values;
mod workers;
