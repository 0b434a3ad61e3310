//! A connection on which messages are confirmed.

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use lapin::options::{ConfirmSelectOptions, ExchangeDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Event, ExchangeKind};
use tokio::time::timeout;
use tracing::{info, warn};

use super::Destination;
use crate::args::Settings;
use crate::client::Wire;
use crate::trouble::Trouble;

pub(super) struct Session {
    wire: Wire,
    pub(super) channel: Channel,
    events: BoxStream<'static, Event>,
    /// Whether the broker has said that it takes no messages now, from anybody.
    pub(super) is_blocked: bool,
}

impl Session {
    /// Connects, and looks at the queue or the exchange.
    ///
    /// # Errors
    /// [`Trouble`] where the broker cannot be reached, or there is nothing to publish to.
    pub(super) async fn open(settings: &Settings, to: &Destination) -> Result<Self, Trouble> {
        let wire = Wire::connect(&settings.broker).await?;
        let events = wire.events();
        let opening = async {
            let channel = wire.channel().await?;
            if to.exchange.is_empty() {
                settings.queue.declare(&channel).await?;
                settings.queue.look(&channel).await?;
            } else {
                let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
                let (name, kind) = (to.exchange.as_str().into(), ExchangeKind::default());
                channel.exchange_declare(name, kind, passive, FieldTable::default()).await?;
            }
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            Ok(channel)
        };
        let patience = settings.broker.patience();
        let opened = timeout(patience, opening).await;
        let opened =
            opened.map_err(|_elapsed| Trouble::silent(&settings.broker.reaching(), patience, "--heartbeat"))?;
        let channel = opened.map_err(|error: lapin::Error| Trouble::of(&error, &to.publishing()))?;
        Ok(Self { wire, channel, events, is_blocked: false })
    }

    /// The largest head of a message that goes in one frame, with room for what brokers write into it on its way (`x-death`).
    pub(super) fn largest_head(&self) -> usize {
        usize::try_from(self.wire.frame_max()).map_or(usize::MAX, |bytes| bytes - bytes / 4)
    }

    /// Waits for what the broker says of the connection, and notes it. It waits for ever where there will be no more.
    pub(super) async fn hear(&mut self) {
        match self.events.next().await {
            Some(Event::ConnectionBlocked(reason)) => {
                warn!(reason, "the broker takes no messages now, and is waited for");
                self.is_blocked = true;
            }
            Some(Event::ConnectionUnblocked) => {
                info!("the broker takes messages again");
                self.is_blocked = false;
            }
            Some(_) => {}
            None => std::future::pending().await,
        }
    }

    /// Takes leave.
    pub(super) async fn part(self) {
        self.wire.part().await;
    }
}
