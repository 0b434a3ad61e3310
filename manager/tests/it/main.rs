//! The manager over real ledgers, a simulated remote, real commands and real little servers.

mod cli;
mod flaky;
mod load;
mod loops;
mod memory;
mod model;
mod scaling;
mod server;
mod teller;
mod watching;
