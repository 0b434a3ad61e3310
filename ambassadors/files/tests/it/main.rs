//! The real program, over HTTP, on real folders.

#![expect(clippy::indexing_slicing, reason = "a test that panics has said what it has to say")]

mod ambassador;
mod bound;
mod cli;
mod conformance;
mod faults;
mod listing;
mod naming;
mod remote;
mod root;
mod scale;
mod server;
mod settling;
mod storm;
mod whole;
