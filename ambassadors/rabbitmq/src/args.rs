//! The flags, and what they mean once they are parsed.

use std::time::Duration;

use ambassador_kit::queue::{MessageArgs, WindowArgs};
use clap::Args;
use sidecar::cli::value;

use crate::client::{Broker, BrokerArgs, BrokerError};
use crate::queue::{DeclareArgs, Queue};

/// Which queue is served, and how.
#[derive(Clone, Debug, Args)]
pub struct QueueArgs {
    /// The queue to serve.
    #[arg(long, value_name = "NAME", value_parser = short)]
    queue: String,
    /// What names are derived with, beside the queue's name and a message's identity [default: the virtual host].
    #[arg(long, value_name = "TEXT")]
    source_id: Option<String>,
    /// By what a message is known for the same after a restart: `message-id`, `header:NAME`, or `delivery`, which is not at all. A message
    /// that has no such thing is known per delivery.
    #[arg(long, value_name = "WHAT", default_value = "message-id", value_parser = identity)]
    identity: Identity,
    /// The queue has a dead letter exchange, of its own or by a policy: have what failed for good, or is no item, go there. Without it such
    /// a message is held and withheld, since a queue that has none throws away what is rejected. Said by --dead-letter-exchange too.
    #[arg(long)]
    dead_letter: bool,
    /// How often to ask how much waits in the queue.
    #[arg(long, value_parser = value::positive_duration, value_name = "DURATION", default_value = "1s")]
    poll: Duration,
    #[command(flatten)]
    message: MessageArgs,

    #[command(flatten)]
    window: WindowArgs,
    #[command(flatten)]
    declare: DeclareArgs,
    #[command(flatten)]
    broker: BrokerArgs,
}

/// `--identity`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// The property `message-id`.
    MessageId,
    /// A header.
    Header(String),
    /// Nothing that a message says.
    Delivery,
}

/// What the flags come to.
#[derive(Clone, Debug)]
pub struct Settings {
    pub(crate) broker: Broker,
    pub(crate) queue: Queue,
    pub(crate) source_id: String,
    pub(crate) identity: Identity,
    /// Whether what is rejected goes anywhere.
    pub(crate) dead_letter: bool,
    pub(crate) poll: Duration,
    pub(crate) message: MessageArgs,
    pub(crate) window: WindowArgs,
}

/// Why the flags make no sense together.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The broker cannot be asked in this way.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// A queue whose dead letters would go by their own routing keys, the first of which is its own name.
    #[error(
        "--dead-letter-exchange \"\" is the default exchange, which takes a queue's name: say it by --dead-letter-routing-key"
    )]
    DeadLetterNowhere,
    /// A queue whose dead letters come back to it.
    #[error("--dead-letter-routing-key {0:?} is --queue itself: what failed would come again")]
    DeadLetterToItself(String),
}

impl QueueArgs {
    /// Checks everything that can be checked without asking the broker.
    ///
    /// # Errors
    /// [`SettingsError`], naming the flag.
    pub fn settings(self) -> Result<Settings, SettingsError> {
        let queue = self.declare.queue(self.queue)?;
        let broker = self.broker.broker()?;
        Ok(Settings {
            source_id: self.source_id.unwrap_or_else(|| broker.vhost().to_owned()),
            dead_letter: self.dead_letter || queue.has_dead_letters(),
            broker,
            queue,
            identity: self.identity,
            poll: self.poll,
            message: self.message,
            window: self.window,
        })
    }
}

/// What the protocol has room for where it wants a name.
pub(crate) fn short(text: &str) -> Result<String, String> {
    match text.len() {
        1..=255 => Ok(text.to_owned()),
        0 => Err("it is empty".to_owned()),
        bytes => Err(format!("it has {bytes} bytes, and a name has at most 255")),
    }
}

/// As [`short`], or nothing: the default exchange has no name.
pub(crate) fn short_or_empty(text: &str) -> Result<String, String> {
    if text.is_empty() { Ok(String::new()) } else { short(text) }
}

fn identity(text: &str) -> Result<Identity, String> {
    match text.split_once(':') {
        None if text == "message-id" => Ok(Identity::MessageId),
        None if text == "delivery" => Ok(Identity::Delivery),
        Some(("header", name)) if !name.is_empty() => Ok(Identity::Header(name.to_owned())),
        _ => Err("message-id, header:NAME, or delivery".to_owned()),
    }
}
