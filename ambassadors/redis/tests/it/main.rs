//! Lists and streams of a real Redis, filled by clients that others wrote, served in this process and by the real program.

#![expect(clippy::indexing_slicing, reason = "a test that panics has said what it has to say")]

mod conformance;
mod keys;
mod list;
mod orphans;
mod program;
mod stream;
mod workers;
