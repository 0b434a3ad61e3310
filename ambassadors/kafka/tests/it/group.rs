//! The topic as a queue, `--mode group`.

mod conformance;
mod kills;
mod outages;
mod poison;
mod rebalances;
mod rights;
mod scale;
mod strangers;
mod window;
pub(crate) mod workers;
