//! Queues of a real RabbitMQ, filled by clients that others wrote, served in this process and by the real program.

#![expect(clippy::indexing_slicing, reason = "a test that panics has said what it has to say")]

mod conformance;
mod identity;
mod load;
mod poison;
mod program;
mod queue;
mod relay;
mod rights;
mod served;
mod shapes;
mod timeouts;
