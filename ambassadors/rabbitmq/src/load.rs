//! `--load`: publishes messages, which are there once the broker has confirmed them.

mod courier;
mod group;
mod letter;
mod pace;
mod session;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use ambassador_kit::load::{Entry, Publisher, Stuck};
use clap::Args;
use sidecar::Failure;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Sender, channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use self::courier::Courier;
use self::letter::Letter;
use crate::args::{Settings, short, short_or_empty};
use crate::client::PARTING;
use crate::trouble::Trouble;

/// How many messages wait to be sent before the next is refused.
const MOST: usize = 1_000;

/// The largest message that RabbitMQ takes, unless it is told another `max_message_size`; less since its version 4.
const LARGEST: usize = 128 << 20;

/// Where messages are published.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Loading instead of serving")]
pub(crate) struct ToArgs {
    /// Publish to this exchange instead of to the queue itself; what it routes nowhere is an error.
    #[arg(long, value_name = "NAME", requires = "load", value_parser = short_or_empty)]
    load_exchange: Option<String>,
    /// With this routing key [default: the queue's name].
    #[arg(long, value_name = "KEY", requires = "load", value_parser = short)]
    load_routing_key: Option<String>,
}

/// Where messages go.
#[derive(Clone, Debug)]
struct Destination {
    exchange: String,
    routing_key: String,
}

impl Destination {
    /// What is done, for [`Trouble`].
    fn publishing(&self) -> String {
        if self.exchange.is_empty() {
            format!("publish to queue {:?}", self.routing_key)
        } else {
            format!("publish to exchange {:?} with routing key {:?}", self.exchange, self.routing_key)
        }
    }

    fn unroutable(&self) -> String {
        format!("cannot {}: no queue takes it; see --load-exchange, --load-routing-key", self.publishing())
    }
}

/// Publishes to a queue. A [`Courier`] keeps what is not confirmed, and sends it again.
pub(crate) struct QueuePublisher {
    settings: Arc<Settings>,
    to: Destination,
    runtime: Handle,
    letters: Option<Sender<Letter>>,
    news: Receiver<Result<u64, Stuck>>,
    courier: JoinHandle<()>,
}

impl QueuePublisher {
    /// Looks at the queue, or at the exchange, for so long; then waits for so long while nothing is confirmed.
    ///
    /// # Errors
    /// Exit 69 when the broker does not answer, 77 when it may not, 78 when there is no such queue or exchange or the settings are wrong.
    ///
    /// # Panics
    /// Outside a runtime, or where waiting is not allowed.
    pub(crate) fn open(
        settings: Settings,
        to: ToArgs,
        deadline: Duration,
        patience: Duration,
    ) -> Result<Self, Failure> {
        let to = Destination {
            exchange: to.load_exchange.unwrap_or_default(),
            routing_key: to.load_routing_key.unwrap_or_else(|| settings.queue.name.clone()),
        };
        let (settings, runtime) = (Arc::new(settings), Handle::current());
        let (letters, sent) = channel(MOST);
        let (told, news) = std::sync::mpsc::channel();
        let courier = Courier::new(Arc::clone(&settings), to.clone(), patience, sent, told);
        let courier = runtime.block_on(courier.ready(deadline)).map_err(Trouble::failure)?;
        let courier = runtime.spawn(courier);
        Ok(Self { settings, to, runtime, letters: Some(letters), news, courier })
    }
}

impl Publisher for QueuePublisher {
    fn destination(&self) -> String {
        if self.to.exchange.is_empty() {
            format!("queue {}", self.to.routing_key)
        } else {
            format!("exchange {} (routing key {})", self.to.exchange, self.to.routing_key)
        }
    }

    fn identity(&self) -> String {
        // Brokers have no name that nobody else has; and one queue is made again as another without any trace.
        format!("{}, --source-id {}", self.settings.broker.place(), self.settings.source_id)
    }

    fn longest(&self) -> (usize, &'static str) {
        // Base64 makes four of three, and there is room for a key, headers and names.
        (LARGEST * 2, "max_message_size, of the broker")
    }

    fn send(&mut self, number: u64, entry: &Entry) -> Result<bool, Failure> {
        let Some(Ok(place)) = self.letters.as_ref().map(Sender::try_reserve) else { return Ok(false) };
        place.send(Letter::of(number, entry)?);
        Ok(true)
    }

    fn confirmed(&mut self, wait: Duration, lines: &mut Vec<u64>) -> Result<(), Stuck> {
        let mut wait = wait;
        loop {
            match self.news.recv_timeout(wait) {
                Ok(Ok(number)) => lines.push(number),
                Ok(Err(stuck)) => return Err(stuck),
                Err(RecvTimeoutError::Timeout) => return Ok(()),
                Err(RecvTimeoutError::Disconnected) => {
                    // Whoever gave up has said so.
                    std::thread::sleep(wait);
                    return Ok(());
                }
            }
            wait = Duration::ZERO;
        }
    }
}

impl Drop for QueuePublisher {
    fn drop(&mut self) {
        self.letters = None;
        let courier = &mut self.courier;
        // It takes leave of the broker, unless there is none any more.
        if self.runtime.block_on(async { timeout(PARTING, &mut *courier).await }).is_err() {
            courier.abort();
        }
    }
}
