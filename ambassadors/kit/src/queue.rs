//! What ambassadors of queues share: what a message says, and the window of those that are taken and not settled.

mod answers;
mod kept;
mod leases;
mod message;
mod past;
mod settling;
mod source;
#[cfg(test)]
mod tests;
mod window;

pub use message::{MessageArgs, Payload, Said, Unreadable};
pub use settling::Settling;
pub use source::Windowed;
pub use window::{Look, Taken, Why, Window, WindowArgs};
