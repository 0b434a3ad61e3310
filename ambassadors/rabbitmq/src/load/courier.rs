//! Carries messages to the broker, and carries them again until it has confirmed them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use ambassador_kit::load::Stuck;
use anyhow::anyhow;
use lapin::ErrorKind;
use sidecar::Failure;
use tokio::sync::mpsc::Receiver;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::warn;

use super::group::{Answer, Group, Outcome};
use super::pace::Pace;
use super::session::Session;
use super::{Destination, Letter};
use crate::args::Settings;
use crate::trouble::{Kind, Trouble};

/// Between attempts to connect.
const PAUSE: Duration = Duration::from_millis(500);

pub(super) struct Courier {
    settings: Arc<Settings>,
    to: Destination,
    letters: Receiver<Letter>,
    news: Sender<Result<u64, Stuck>>,
    /// How long to go on while nothing is confirmed.
    patience: Duration,
    /// By the numbers of their lines.
    unconfirmed: BTreeMap<u64, Arc<Letter>>,
    /// Those of them that are to be published, now or again.
    due: BTreeSet<u64>,
    /// Since when some wait, nothing was confirmed, and no alarm said why not.
    waiting_since: Instant,
    pace: Pace,
}

impl Courier {
    pub(super) fn new(
        settings: Arc<Settings>,
        to: Destination,
        patience: Duration,
        letters: Receiver<Letter>,
        news: Sender<Result<u64, Stuck>>,
    ) -> Self {
        let (unconfirmed, due, waiting_since) = (BTreeMap::new(), BTreeSet::new(), Instant::now());
        Self { settings, to, letters, news, patience, unconfirmed, due, waiting_since, pace: Pace::new() }
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
                    Ok(()) => return session.part().await,
                    Err(trouble) => {
                        if session.is_blocked {
                            self.waiting_since = Instant::now();
                        }
                        trouble
                    }
                },
                Err(trouble) => trouble,
            };
            // What came meanwhile waits as well.
            loop {
                match self.letters.try_recv() {
                    Ok(letter) => self.accept(letter),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
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
        let mut group = Group::default();
        self.due.extend(self.unconfirmed.keys());
        loop {
            self.post(session, &mut group);
            let left = self.patience.saturating_sub(self.waiting_since.elapsed());
            tokio::select! {
                // What is there is looked at before it counts as missing.
                biased;
                Some(answer) = group.next() => {
                    self.answered(&mut group, answer)?;
                    if group.is_answered() {
                        self.sort(group.outcome());
                    }
                }
                () = session.hear() => self.waiting_since = Instant::now(),
                letter = self.letters.recv() => match letter {
                    Some(letter) => self.accept(letter),
                    // Whoever sent them has what there was to know of them, or wants to know no more.
                    None => return Ok(()),
                },
                () = sleep_until(self.pace.again()), if group.is_answered() && !self.due.is_empty() => {}
                () = sleep(left), if !self.unconfirmed.is_empty() && !session.is_blocked => {
                    return Err(self.unheard());
                }
            }
        }
    }

    /// Takes it in.
    fn accept(&mut self, letter: Letter) {
        if self.unconfirmed.is_empty() {
            self.waiting_since = Instant::now();
        }
        self.due.insert(letter.number);
        self.unconfirmed.insert(letter.number, Arc::new(letter));
    }

    /// Publishes as many of those that are due as may be on their way, in their order.
    fn post(&mut self, session: &Session, group: &mut Group) {
        for _ in 0..self.pace.room(group.sent()) {
            let Some(number) = self.due.pop_first() else { return };
            let Some(letter) = self.unconfirmed.get(&number) else { continue };
            if letter.head() > session.largest_head() {
                let why = anyhow!(
                    "its headers and key have {} bytes, and the broker takes {} (its frame_max, less what it adds itself)",
                    letter.head(),
                    session.largest_head()
                );
                self.drop_it(number, Failure::new(65, why));
                continue;
            }
            group.post(&session.channel, &self.to, letter);
        }
    }

    /// What became of a message.
    fn answered(&mut self, group: &mut Group, (letter, answer): Answer) -> Result<(), Trouble> {
        match answer {
            Ok(confirmation) => {
                if confirmation.is_ack() {
                    self.waiting_since = Instant::now();
                }
                group.note(letter, confirmation);
                Ok(())
            }
            Err(error) => {
                if let Some(size) = too_large(&error) {
                    self.drop_larger(size);
                }
                Err(Trouble::of(&error, &self.to.publishing()))
            }
        }
    }

    /// What became of all that were on their way.
    fn sort(&mut self, outcome: Outcome) {
        self.pace.answered(outcome.taken.len(), outcome.refused.len());
        for number in outcome.taken {
            self.unconfirmed.remove(&number);
            self.tell(Ok(number));
        }
        for number in outcome.unroutable {
            self.drop_it(number, Failure::config(anyhow!("{}", self.to.unroutable())));
        }
        if let Some((first, last)) = outcome.doubtful {
            let why = anyhow!("{} (one of the lines up to {last})", self.to.unroutable());
            self.drop_it(first, Failure::config(why));
        }
        // By a queue that is full, or that is not there again yet.
        self.due.extend(outcome.refused);
    }

    /// The broker has said how large a message was that it does not take.
    fn drop_larger(&mut self, size: usize) {
        let found = self.unconfirmed.values().find(|letter| letter.body.len() >= size).map(|letter| letter.number);
        let Some(number) = found else { return };
        let why = anyhow!("a message of {size} bytes is too large for the broker (its max_message_size)");
        self.drop_it(number, Failure::new(65, why));
    }

    /// This line will never be loaded.
    fn drop_it(&mut self, number: u64, why: Failure) {
        self.unconfirmed.remove(&number);
        self.tell(Err(Stuck { number, why }));
    }

    /// Nothing was confirmed for too long.
    fn unheard(&self) -> Trouble {
        let doing = self.to.publishing();
        if self.pace.is_held_up() { Trouble::refusing(&doing) } else { Trouble::unconfirmed(&doing, self.patience) }
    }

    /// The first line that is not loaded, if the trouble is such that it will not be.
    fn gives_up(&self, trouble: &Trouble) -> Option<u64> {
        let first = *self.unconfirmed.first_key_value()?.0;
        let in_vain = matches!(trouble.kind, Kind::Refused | Kind::Forbidden | Kind::Config);
        (in_vain || self.waiting_since.elapsed() >= self.patience).then_some(first)
    }

    fn tell(&self, news: Result<u64, Stuck>) {
        // Fails only where nobody wants to know any more.
        let _ = self.news.send(news);
    }
}

/// Of how many bytes a message was that the broker does not take.
fn too_large(error: &lapin::Error) -> Option<usize> {
    let ErrorKind::ProtocolError(error) = error.kind() else { return None };
    let (_, size) = error.get_message().as_str().split_once("message size ")?;
    size.split(' ').next()?.parse().ok()
}
