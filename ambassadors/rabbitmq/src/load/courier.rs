//! Carries messages to the broker, and carries them again until it has confirmed them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::task::Poll;
use std::time::Duration;

use ambassador_kit::load::{PATIENCE, Stuck};
use anyhow::anyhow;
use futures_util::future::{BoxFuture, ready};
use futures_util::stream::{BoxStream, FuturesUnordered};
use futures_util::{StreamExt, poll};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Confirmation, ErrorKind, Event, ExchangeKind};
use sidecar::Failure;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};

use super::refused::Refused;
use super::{Destination, Letter};
use crate::args::Settings;
use crate::client::Wire;
use crate::trouble::{Kind, Trouble};

/// Between attempts.
const PAUSE: Duration = Duration::from_millis(500);

/// What became of a message that was published.
type Answer = (u64, lapin::Result<Confirmation>);
type Answers = FuturesUnordered<BoxFuture<'static, Answer>>;

pub(super) struct Courier {
    settings: Arc<Settings>,
    to: Destination,
    letters: Receiver<Letter>,
    news: Sender<Result<u64, Stuck>>,
    /// By the numbers of their lines.
    unconfirmed: BTreeMap<u64, Arc<Letter>>,
    /// Since when nothing was confirmed, and no alarm said why not.
    waiting_since: Instant,
    refused: Refused,
}

/// A connection on which messages are confirmed.
struct Session {
    wire: Wire,
    channel: Channel,
    events: BoxStream<'static, Event>,
}

impl Courier {
    pub(super) fn new(
        settings: Arc<Settings>,
        to: Destination,
        letters: Receiver<Letter>,
        news: Sender<Result<u64, Stuck>>,
    ) -> Self {
        let (unconfirmed, waiting_since) = (BTreeMap::new(), Instant::now());
        Self { settings, to, letters, news, unconfirmed, waiting_since, refused: Refused::default() }
    }

    /// Connects. What then carries messages until there are no more.
    ///
    /// # Errors
    /// [`Trouble`] where the broker cannot be reached, or there is nothing to publish to.
    pub(super) async fn ready(self, deadline: Duration) -> Result<impl Future<Output = ()> + Send, Trouble> {
        let opened = timeout(deadline, Session::open(&self.settings, &self.to)).await;
        let session = opened
            .map_err(|_elapsed| Trouble::silent(&self.settings.broker.reaching(), deadline, "--request-timeout"))??;
        Ok(self.carry(session))
    }

    async fn carry(mut self, first: Session) {
        let mut opened = Ok(first);
        loop {
            let trouble = match opened {
                Ok(mut session) => match self.publish(&mut session).await {
                    Ok(()) => return session.wire.part().await,
                    Err(trouble) => trouble,
                },
                Err(trouble) => trouble,
            };
            // What came meanwhile waits as well.
            while let Ok(letter) = self.letters.try_recv() {
                if self.unconfirmed.is_empty() {
                    self.waiting_since = Instant::now();
                }
                self.unconfirmed.insert(letter.number, Arc::new(letter));
            }
            if let Some(number) = self.gives_up(&trouble) {
                self.tell(Err(Stuck { number, why: trouble.failure() }));
                return;
            }
            warn!(error = %trouble, unconfirmed = self.unconfirmed.len(), "what is not confirmed is published again");
            sleep(PAUSE.mul_f64(0.5 + fastrand::f64())).await;
            opened = Session::open(&self.settings, &self.to).await;
        }
    }

    /// Publishes what is not confirmed, and what comes, until there will be no more.
    async fn publish(&mut self, session: &mut Session) -> Result<(), Trouble> {
        let mut answers = Answers::new();
        let mut blocked = false;
        self.refused.forget();
        for letter in self.unconfirmed.values() {
            post(&session.channel, &self.to, letter, &mut answers).await;
        }
        loop {
            tokio::select! {
                Some((number, answer)) = answers.next() => {
                    if blocked {
                        self.waiting_since = Instant::now();
                    }
                    self.answered(number, answer)?;
                    self.refused.taken(answers.is_empty());
                }
                // Those that follow what was refused wait for it.
                letter = self.letters.recv(), if self.refused.is_empty() => {
                    // Whoever sent them has what there was to know of them, or wants to know no more.
                    let Some(letter) = letter.map(Arc::new) else { return Ok(()) };
                    if self.unconfirmed.is_empty() {
                        self.waiting_since = Instant::now();
                    }
                    post(&session.channel, &self.to, &letter, &mut answers).await;
                    self.unconfirmed.insert(letter.number, letter);
                }
                () = sleep_until(self.refused.again()), if answers.is_empty() && !self.refused.is_empty() => {
                    for number in self.refused.some() {
                        if let Some(letter) = self.unconfirmed.get(&number) {
                            post(&session.channel, &self.to, letter, &mut answers).await;
                        }
                    }
                }
                Some(event) = session.events.next() => match event {
                    Event::ConnectionBlocked(reason) => {
                        warn!(reason, "the broker takes no messages now, and is waited for");
                        blocked = true;
                    }
                    Event::ConnectionUnblocked => {
                        info!("the broker takes messages again");
                        (blocked, self.waiting_since) = (false, Instant::now());
                    }
                    _ => {}
                },
                () = sleep_until(self.waiting_since + PATIENCE), if !self.unconfirmed.is_empty() => {
                    if !blocked {
                        return Err(self.unheard());
                    }
                    self.waiting_since = Instant::now();
                }
            }
        }
    }

    /// Nothing was confirmed for too long.
    fn unheard(&self) -> Trouble {
        let doing = publishing_to(&self.to);
        if self.refused.is_empty() { Trouble::unconfirmed(&doing, PATIENCE) } else { Trouble::refusing(&doing) }
    }

    /// What became of a message.
    fn answered(&mut self, number: u64, answer: lapin::Result<Confirmation>) -> Result<(), Trouble> {
        match answer {
            Ok(Confirmation::Ack(None)) => {
                self.unconfirmed.remove(&number);
                self.waiting_since = Instant::now();
                self.tell(Ok(number));
            }
            Ok(Confirmation::Ack(Some(_))) => {
                self.unconfirmed.remove(&number);
                self.tell(Err(Stuck { number, why: Failure::config(anyhow!("{}", unroutable(&self.to))) }));
            }
            // By a queue that is full, or that is not there again yet.
            Ok(Confirmation::Nack(_) | Confirmation::NotRequested) => self.refused.add(number),
            Err(error) => {
                if let Some(size) = too_large(&error) {
                    self.drop_larger(size);
                }
                return Err(Trouble::of(&error, &publishing_to(&self.to)));
            }
        }
        Ok(())
    }

    /// The broker has said how large a message was that it does not take.
    fn drop_larger(&mut self, size: usize) {
        let found = self.unconfirmed.values().find(|letter| letter.body.len() >= size).map(|letter| letter.number);
        let Some(number) = found else { return };
        self.unconfirmed.remove(&number);
        let why = anyhow!("a message of {size} bytes is too large for the broker (its max_message_size)");
        self.tell(Err(Stuck { number, why: Failure::new(65, why) }));
    }

    /// The first line that is not loaded, if the trouble is such that it will not be.
    fn gives_up(&self, trouble: &Trouble) -> Option<u64> {
        let first = *self.unconfirmed.first_key_value()?.0;
        let passes = matches!(trouble.kind, Kind::Away | Kind::NotThere | Kind::HeldTooLong | Kind::TooLarge);
        (!passes || self.waiting_since.elapsed() > PATIENCE).then_some(first)
    }

    fn tell(&self, news: Result<u64, Stuck>) {
        // Fails only where nobody wants to know any more.
        let _ = self.news.send(news);
    }
}

impl Session {
    async fn open(settings: &Settings, to: &Destination) -> Result<Self, Trouble> {
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
        let channel = opened.map_err(|error: lapin::Error| Trouble::of(&error, &publishing_to(to)))?;
        Ok(Self { wire, channel, events })
    }
}

/// Publishes in the order of calls.
async fn post(channel: &Channel, to: &Destination, letter: &Arc<Letter>, answers: &mut Answers) {
    let mut publishing: BoxFuture<'static, Answer> =
        Box::pin(publishing(channel.clone(), to.clone(), Arc::clone(letter)));
    // What is asked once is on its way; the answer is for others to wait for.
    match poll!(&mut publishing) {
        Poll::Ready(answer) => answers.push(Box::pin(ready(answer))),
        Poll::Pending => answers.push(publishing),
    }
}

/// Publishes a message, and waits until the broker has it, or says why it has not. What no queue takes comes back.
async fn publishing(channel: Channel, to: Destination, letter: Arc<Letter>) -> Answer {
    let options = BasicPublishOptions { mandatory: true, immediate: false };
    let (exchange, key) = (to.exchange.as_str().into(), to.routing_key.as_str().into());
    let answer = match channel.basic_publish(exchange, key, options, &letter.body, letter.properties.clone()).await {
        Ok(confirm) => confirm.await,
        Err(error) => Err(error),
    };
    (letter.number, answer)
}

fn publishing_to(to: &Destination) -> String {
    if to.exchange.is_empty() {
        format!("publish to queue {:?}", to.routing_key)
    } else {
        format!("publish to exchange {:?} with routing key {:?}", to.exchange, to.routing_key)
    }
}

fn unroutable(to: &Destination) -> String {
    format!("cannot {}: no queue takes it; see --load-exchange, --load-routing-key", publishing_to(to))
}

/// Of how many bytes a message was that the broker does not take.
fn too_large(error: &lapin::Error) -> Option<usize> {
    let ErrorKind::ProtocolError(error) = error.kind() else { return None };
    let (_, size) = error.get_message().as_str().split_once("message size ")?;
    size.split(' ').next()?.parse().ok()
}
