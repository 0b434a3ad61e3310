//! Queues of a real RabbitMQ, filled by clients that others wrote, served in this process and by the real program.

#![expect(clippy::indexing_slicing, reason = "a test that panics has said what it has to say")]

mod conformance;
mod identity;
mod kinds;
mod load;
mod outages;
mod poison;
mod program;
mod queue;
mod relay;
mod rights;
mod scale;
mod served;
mod shapes;
mod standstill;
mod timeouts;
mod trace;
mod unsettled;
mod workers;
