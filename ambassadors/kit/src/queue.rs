//! What ambassadors of queues share: what a message says, and the window of those that are taken and not settled.

mod leases;
mod message;
mod window;

pub use message::{MessageArgs, Payload, Said, Unreadable};
pub use window::{Look, Settling, Taken, Why, Window, WindowArgs};
