//! What whoever takes messages shares with those who answer: the window, the channel by which the broker is told, and what is known of names.

mod owed;
mod state;
mod told;
mod twins;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ambassador_kit::queue::{Taken, Window};
use ambassador_kit::source::{Outcome, SourceError};
use contract::ItemName;
use lapin::Channel;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicRejectOptions};
use prometheus_client::registry::Registry;
use tokio::sync::{Notify, watch};
use tracing::{debug, info};

use self::state::State;
use crate::args::Settings;
use crate::message::{place, said};
use crate::metrics::Metrics;
use crate::names::{Names, Print};
use crate::trouble::{RETRY, Trouble, taking};

/// What is said of a message that failed and has nowhere to go.
const NOWHERE: &str = "give the queue a dead letter exchange, and say so with --dead-letter, to have it go there";

/// After so many times `--heartbeat` the broker has noticed that a connection is over.
const NOTICED: u32 = 3;

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    names: Names,
    pub(crate) window: Window<Tag>,
    pub(crate) metrics: Metrics,
    /// Whether messages are taken one at a time, since one that came with others could not be read.
    pub(crate) one_by_one: AtomicBool,
    /// Heard by whoever looks at the queue.
    pub(crate) look: Notify,
    /// Whether nothing is taken any more: asked for, and done.
    pub(crate) ending: watch::Sender<Ending>,
    state: Mutex<State>,
}

/// A channel on which messages come.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    number: u64,
    channel: Channel,
}

/// By which the broker knows a message that it has handed to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// On which link; on any other the number is another's.
    link: u64,
    number: u64,
    /// What it says, if nothing else is known of it.
    print: Option<Print>,
}

/// What the broker is told of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is done with.
    Ack,
    /// It goes to the dead letter exchange.
    Reject,
}

/// How far the end is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ending {
    #[default]
    No,
    /// What is held is to be given back.
    Asked,
    /// It is.
    Done,
}

impl Shared {
    pub(crate) fn new(settings: Settings, registry: &mut Registry) -> Self {
        let names = Names::new(&settings.source_id, &settings.queue.name, settings.identity.clone());
        Self {
            window: Window::new(&settings.window, settings.message.clone(), registry),
            metrics: Metrics::new(registry),
            one_by_one: AtomicBool::new(false),
            look: Notify::new(),
            ending: watch::Sender::default(),
            state: Mutex::default(),
            names,
            settings,
        }
    }

    /// Messages come on this channel from now on.
    pub(crate) fn linked(&self, channel: Channel) -> Link {
        self.metrics.connected();
        self.state().linked(channel)
    }

    /// The channel is over: whatever came on it is the broker's again, as soon as it has noticed.
    pub(crate) fn unlinked(&self, is_noticed: bool) {
        let mut state = self.state();
        // Within the lock: of what is settled meanwhile it is taken back again.
        let held = self.window.held();
        state.unlinked();
        if !is_noticed {
            let patience = self.settings.broker.patience() * NOTICED;
            state.owed.add(held.iter().map(|(name, _)| name.clone()), patience);
        }
        drop(state);
        for (name, _) in held {
            if let Some(Tag { print: Some(print), .. }) = self.window.lose(&name) {
                self.state().lost.add(print, name);
            }
        }
    }

    /// Whether the broker may say of messages that they are in our hands, which they are not.
    pub(crate) fn is_owed(&self) -> bool {
        self.state().owed.is_any()
    }

    /// A message came.
    pub(crate) fn deliver(self: &Arc<Self>, link: &Link, delivery: &Delivery) {
        let known = self.names.known(delivery);
        let (name, print, unheard) = self.state().identify(&self.names, known, link.number, delivery.redelivered);
        let tag = Tag { link: link.number, number: delivery.delivery_tag, print };
        self.metrics.delivered(delivery.redelivered);
        loop {
            let place = place(delivery, &self.settings.queue.name);
            let key = delivery.properties.message_id().as_ref().map_or("", |id| id.as_str());
            match self.window.take(&name, key.as_bytes(), said(delivery), place, tag, unheard.is_some()) {
                Taken::Listed => {}
                Taken::Withheld(why) if self.settings.dead_letter => self.reject(name, why.reason, why.message),
                Taken::Withheld(why) => self.metrics.buried(why.reason),
                Taken::Settled => {
                    debug!(%name, "a message that is done came again");
                    self.tell_later(tag, unheard.unwrap_or(Verdict::Ack));
                }
                Taken::Double => {
                    self.state().twins.add(&name, tag);
                    // The other may have been settled since, by somebody who did not see this one.
                    if !self.window.holds(&name) && self.state().twins.take_back(&name, tag) {
                        continue;
                    }
                    info!(%name, "a message came twice, of one identity and body: they are settled as one");
                }
            }
            return;
        }
    }

    /// Has a message that is no item go to the dead letter exchange.
    fn reject(self: &Arc<Self>, name: ItemName, reason: &'static str, message: String) {
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            let outcome = Outcome::Failed { reason: Some(message) };
            // Where it fails, its channel is over, and it comes again.
            if let Err(error) = shared.settle_for(&name, &outcome, reason).await {
                debug!(%name, %error, "a message that is no item was not rejected");
            }
        });
    }

    /// This item is done, or dead.
    pub(crate) async fn settle(&self, name: &ItemName, outcome: &Outcome) -> Result<(), SourceError> {
        self.settle_for(name, outcome, "failed").await
    }

    /// As [`settle`](Self::settle); `kind` is why, of a dead one, in a word.
    async fn settle_for(&self, name: &ItemName, outcome: &Outcome, kind: &'static str) -> Result<(), SourceError> {
        let Some(settling) = self.window.settle(name, outcome)? else { return Ok(()) };
        let verdict = match outcome {
            Outcome::Done => Verdict::Ack,
            Outcome::Failed { .. } if self.settings.dead_letter => Verdict::Reject,
            Outcome::Failed { reason } => {
                self.metrics.buried(kind);
                settling.keep(reason.as_deref().unwrap_or("it failed for good"), NOWHERE);
                return Ok(());
            }
        };
        let (tag, trace_id) = (settling.token, settling.trace_id.clone());
        self.tell(tag, verdict).await?;
        self.state().told(name, tag, verdict);
        settling.done();
        self.state().owed.came(name);
        if let Outcome::Failed { reason } = outcome {
            info!(%name, delivery_tag = tag.number, reason, trace_id, "rejected, to go to the dead letter exchange");
            self.metrics.buried(kind);
        }
        let twins = self.state().twins.take(name);
        for twin in twins {
            // Whatever becomes of it, the item is done: if it comes again, it is told again.
            let _ = self.tell(twin, verdict).await;
        }
        if self.window.is_empty() {
            // Whether there is more is to be known before anybody is told that there is none.
            self.look.notify_one();
        }
        Ok(())
    }

    /// Tells the broker, which never says that it has heard: what is written is there unless the connection ends before it arrives, and then
    /// the message comes again.
    async fn tell(&self, tag: Tag, verdict: Verdict) -> Result<(), SourceError> {
        let link = self.state().link.clone().filter(|link| link.number == tag.link);
        let link = link.ok_or_else(|| SourceError::Unavailable {
            why: "the channel on which this message came is over: it comes again".to_owned(),
            retry: RETRY,
        })?;
        let told = match verdict {
            Verdict::Ack => link.channel.basic_ack(tag.number, BasicAckOptions { multiple: false }).await,
            Verdict::Reject => link.channel.basic_reject(tag.number, BasicRejectOptions { requeue: false }).await,
        };
        told.map_err(|error| Trouble::of(&error, &taking(&self.settings.queue.name)).unavailable())?;
        self.metrics.settled(verdict.word());
        Ok(())
    }

    fn tell_later(self: &Arc<Self>, tag: Tag, verdict: Verdict) {
        let shared = Arc::clone(self);
        // Where it fails, the message comes again.
        tokio::spawn(async move { shared.tell(tag, verdict).await });
    }

    /// Nothing is taken from now on.
    pub(crate) fn end(&self) {
        self.ending.send_if_modified(|ending| {
            let first = *ending == Ending::No;
            *ending = (*ending).max(Ending::Asked);
            first
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Ack => "ack",
            Self::Reject => "reject",
        }
    }
}
