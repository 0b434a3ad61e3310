//! A topic between our programs: from a record to a worker, several of us on one topic, and all of them killed at random.

mod needs_kafka;
mod site;
