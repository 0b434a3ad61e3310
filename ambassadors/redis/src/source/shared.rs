//! What the one who takes shares with those who answer.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use ambassador_kit::queue::{Said, Taken, Why, Window};
use ambassador_kit::source::{Outcome, SourceError, new_incarnation};
use contract::{ItemName, Timestamp};
use prometheus_client::registry::Registry;
use serde_json::Value;
use tokio::sync::RwLock;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::buried::Buried;
use crate::args::{Kind, Settings};
use crate::message::{Body, Id, Message, too_large};
use crate::metrics::Metrics;
use crate::queue::{Found, Queue};
use crate::server::Connection;
use crate::trouble::{Kind as Reason, RETRY, Trouble};

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) queue: Queue,
    pub(super) window: Window<Id>,
    pub(super) metrics: Metrics,
    pub(super) incarnation: String,
    /// Nothing is taken any more.
    pub(super) end: CancellationToken,
    /// While somebody compares what we hold with what the server says, nothing is settled.
    pub(super) comparing: RwLock<()>,
    /// `None` while there is none, or nothing is to be believed that it says.
    connection: Mutex<Option<Connection>>,
    /// What is no item, and is to be written to the dead letter key.
    doomed: Mutex<VecDeque<(ItemName, Why)>>,
    /// What was written there.
    buried: Mutex<Buried>,
}

impl Shared {
    pub(super) fn new(settings: Settings, registry: &mut Registry) -> Self {
        Self {
            queue: Queue::new(&settings),
            window: Window::new(&settings.window, settings.message.clone(), registry),
            metrics: Metrics::new(registry),
            incarnation: new_incarnation(),
            end: CancellationToken::new(),
            comparing: RwLock::default(),
            connection: Mutex::default(),
            doomed: Mutex::default(),
            buried: Mutex::default(),
            settings,
        }
    }

    /// By this one what is settled is told.
    pub(super) fn connected(&self, connection: Option<Connection>) {
        *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = connection;
    }

    /// There is no connection, or it shows nothing.
    pub(super) fn lost(&self, trouble: &Trouble) {
        self.connected(None);
        self.metrics.failed(trouble.word());
        if self.window.lost(trouble.to_string()) {
            warn!(queue = self.settings.what(), why = %trouble, "the queue cannot be seen");
        }
    }

    /// Those of what is held are ours no more.
    pub(super) fn lose(&self, gone: impl Fn(&Id) -> bool) {
        for (name, id) in self.window.held() {
            if gone(&id) {
                warn!(%name, %id, "what was held is others' now, or gone");
                self.window.lose(&name);
                self.metrics.lost();
            }
        }
    }

    /// These came: they are listed, or withheld, and then written off where there is a place for such.
    pub(super) async fn found(&self, connection: &Connection, found: Found, how: &'static str) -> Result<(), Trouble> {
        self.metrics.took(how, found.messages.len());
        self.trimmed(found.trimmed);
        for message in found.messages {
            let name = self.name(&message.id);
            match self.take(&name, &message) {
                Taken::Listed | Taken::Double => {}
                Taken::Withheld(why) => {
                    self.metrics.buried(why.reason);
                    if self.settings.dead_letter_key.is_some() {
                        self.doomed().push_back((name, why));
                    }
                }
                Taken::Settled => self.settle_again(connection, &name, &message.id).await?,
            }
        }
        self.bury(connection).await
    }

    /// Entries that we held are nowhere any more.
    pub(super) fn trimmed(&self, entries: u64) {
        if entries > 0 {
            warn!(queue = self.settings.what(), entries, "what was held was cut off the stream, or removed by others");
            self.metrics.trimmed(entries);
        }
    }

    /// Settles what was settled, of which the server knows no more, in the way it was.
    async fn settle_again(&self, connection: &Connection, name: &ItemName, id: &Id) -> Result<(), Trouble> {
        let why = self.buried().why(name);
        let settled = match why.as_ref().zip(self.settings.dead_letter_key.as_ref()) {
            Some((why, to)) => self.queue.bury(connection, id, why, to).await.map(drop),
            None => self.queue.settle(connection, id).await.map(drop),
        };
        match settled {
            Err(trouble) if trouble.kind() != Reason::Away => {
                warn!(%name, why = %trouble, "what was settled before cannot be settled again");
                Ok(())
            }
            settled => settled,
        }
    }

    /// Writes what is no item to the dead letter key. What cannot be written there waits for another turn, and keeps nothing else waiting.
    ///
    /// # Errors
    /// [`Trouble`], where the server is away.
    pub(super) async fn bury(&self, connection: &Connection) -> Result<(), Trouble> {
        let Some(to) = &self.settings.dead_letter_key else { return Ok(()) };
        let waiting = self.doomed().len();
        for _ in 0..waiting {
            let Some((name, why)) = self.doomed().pop_front() else { break };
            let settling = match self.window.settle(&name, &Outcome::Failed { reason: None }) {
                Ok(Some(settling)) => settling,
                // Whoever has settled it, or has it, had it to do.
                Ok(None) => continue,
                // Somebody does so now, and may fail.
                Err(_) => {
                    self.doomed().push_back((name, why));
                    continue;
                }
            };
            let said = format!("{}: {}", why.reason, why.message);
            match self.queue.bury(connection, &settling.token, &said, to).await {
                Ok(_) => {
                    self.buried().add(&name, &said);
                    settling.done();
                    info!(%name, why.reason, "written to the dead letter key");
                }
                Err(trouble) => {
                    drop(settling);
                    self.doomed().push_back((name, why));
                    if trouble.kind() == Reason::Away {
                        return Err(trouble);
                    }
                    warn!(why = %trouble, "what is no item cannot be written to the dead letter key");
                }
            }
        }
        Ok(())
    }

    /// Tells the server that this one is settled.
    ///
    /// # Errors
    /// [`SourceError::Unavailable`].
    pub(super) async fn settle(&self, name: &ItemName, outcome: &Outcome) -> Result<(), SourceError> {
        let _settling = self.comparing.read().await;
        let Some(settling) = self.window.settle(name, outcome)? else { return Ok(()) };
        let here = match outcome {
            Outcome::Done => {
                let settled = self.queue.settle(&self.connection()?, &settling.token).await;
                settled.map_err(|trouble| trouble.unavailable())?
            }
            Outcome::Failed { reason } => {
                let reason = reason.as_deref().unwrap_or("it failed for good");
                let Some(to) = &self.settings.dead_letter_key else {
                    self.metrics.buried("failed");
                    settling.keep(reason, "give --dead-letter-key to have such written elsewhere");
                    return Ok(());
                };
                let buried = self.queue.bury(&self.connection()?, &settling.token, reason, to).await;
                let here = buried.map_err(|trouble| trouble.unavailable())?;
                self.buried().add(name, reason);
                if here {
                    self.metrics.buried("failed");
                    info!(%name, reason, trace_id = settling.trace_id, "written to the dead letter key");
                }
                here
            }
        };
        self.metrics.settled(here);
        settling.done();
        Ok(())
    }

    /// By which what is settled is told now.
    fn connection(&self) -> Result<Connection, SourceError> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let why = || "there is no connection to the server".to_owned();
        connection.ok_or_else(|| SourceError::Unavailable { why: why(), retry: RETRY })
    }

    /// What it is called, here and wherever the same key is served.
    fn name(&self, id: &Id) -> ItemName {
        ItemName::derive(self.settings.source_id.as_bytes(), self.settings.key.as_bytes(), id.as_bytes())
    }

    /// Lists these, which were not taken.
    pub(super) fn show(&self, messages: &[Message]) {
        for message in messages {
            self.take(&self.name(&message.id), message);
        }
    }

    fn take(&self, name: &ItemName, message: &Message) -> Taken {
        let Message { id, again, deliveries, body } = message;
        let withhold = |why| self.window.withhold(name, id.as_bytes(), why, Arc::clone(id), *again);
        let most = self.settings.message.most();
        if let Some(why) = self.delivered_too_often(*deliveries) {
            return withhold(why);
        }
        let mut place = self.place(id, *deliveries);
        let said = match body {
            Body::TooLarge(size) => return withhold(too_large(*size, most)),
            Body::Value(value) => Said { value: Some(value), ..Said::default() },
            Body::Fields(fields) if fields.size() > most => return withhold(too_large(fields.size() as u64, most)),
            Body::Fields(fields) => {
                let (said, others) = fields.said();
                place.push(("fields", Value::Object(others)));
                said
            }
        };
        self.window.take(name, id.as_bytes(), said, place, Arc::clone(id), *again)
    }

    /// Where it lies, as fields of the item's data.
    fn place(&self, id: &Id, deliveries: Option<u64>) -> Vec<(&'static str, Value)> {
        let key = Value::from(self.settings.key.as_str());
        let mut place = vec![("id", Value::from(&**id))];
        match &self.settings.kind {
            Kind::List { .. } => place.push(("list", key)),
            Kind::Stream { group, .. } => place.extend([("stream", key), ("group", Value::from(group.as_str()))]),
        }
        if let Some(deliveries) = deliveries {
            place.push(("deliveryCount", deliveries.into()));
            let millis = id.split('-').next().and_then(|millis| millis.parse().ok()).map(Duration::from_millis);
            let time = millis.and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since));
            place.extend(time.map(|time| ("timestamp", Timestamp(time).to_string().into())));
        }
        place
    }

    fn delivered_too_often(&self, deliveries: Option<u64>) -> Option<Why> {
        let Kind::Stream { max_deliveries, .. } = &self.settings.kind else { return None };
        let (often, most) = (deliveries?, (*max_deliveries)?);
        let message = format!("it was delivered {often} times, and --max-deliveries is {most}");
        (often > most).then_some(Why { reason: "delivered-too-often", message })
    }

    fn buried(&self) -> MutexGuard<'_, Buried> {
        self.buried.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn doomed(&self) -> MutexGuard<'_, VecDeque<(ItemName, Why)>> {
        self.doomed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
