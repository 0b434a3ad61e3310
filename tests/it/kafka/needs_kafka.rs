//! On the Kafka that the tests of this process share.

mod drain;
mod kills;
mod metrics;
mod settle;
mod trace;
