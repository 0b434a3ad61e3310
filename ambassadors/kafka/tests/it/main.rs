//! Topics of a real Kafka, filled by clients that others wrote, served in this process and by the real program.

#![expect(clippy::indexing_slicing, reason = "a test that panics has said what it has to say")]

mod check;
mod conformance;
mod faults;
mod group;
mod kills;
mod load;
mod outages;
mod program;
mod records;
mod relay;
mod rights;
mod scale;
mod shared;
mod topic;
mod vanishing;
