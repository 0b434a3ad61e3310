//! On the Kafka that the tests of this process share.

mod drain;
mod kills;
mod settle;
mod trace;
