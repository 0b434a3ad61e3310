//! Buckets of real servers, served in this process and by the real program.

#![expect(clippy::indexing_slicing, reason = "a test that panics has said what it has to say")]

mod beliefs;
mod cli;
mod conformance;
mod costs;
mod gone;
mod keys;
mod outages;
mod polls;
mod program;
mod scale;
mod served;
mod settle;
mod walks;
