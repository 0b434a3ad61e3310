//! A list: what is taken lies in a list of ours until it is settled, by an id, and nobody's death takes it along.
//!
//! Beside the list `KEY` there are, for all who take from it, `PREFIX:consumers` (a set of their names), `PREFIX:values` (a hash: id to
//! element), and for each `PREFIX:held:<consumer>` (a list of ids) and `PREFIX:alive:<consumer>`, which is there while its lease lasts.
//! An element is in exactly one place, always: every step is one script.

mod scripts;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use redis::{Value, cmd, pipe};

use self::scripts::Scripts;
use crate::args::End;
use crate::message::{Body, Id, Message};
use crate::others::{Holder, Others};
use crate::queue::{BYTES, Batch, Consumer, Found, Survey, millis, patience};
use crate::server::{Call, Connection};
use crate::trouble::Trouble;

/// Elements asked for at once: the server does nothing else while it moves them.
const TAKEN: usize = 1_000;

/// A list, and who we are among those who take from it.
#[derive(Debug)]
pub(crate) struct List {
    key: String,
    prefix: String,
    take: End,
    by: Consumer,
    /// By which we know our lease from that of another of our name.
    token: String,
    /// Ids that were given.
    given: AtomicU64,
    /// How often we said that we are here, and whether it was ever heard.
    renewals: AtomicU64,
    is_known: AtomicBool,
    others: Others,
    scripts: Scripts,
}

impl List {
    pub(crate) fn new(key: String, prefix: String, take: End, by: Consumer) -> Self {
        Self {
            key,
            prefix,
            take,
            by,
            token: format!("{:016x}", fastrand::u64(..)),
            given: AtomicU64::default(),
            renewals: AtomicU64::default(),
            is_known: AtomicBool::default(),
            others: Others::default(),
            scripts: Scripts::default(),
        }
    }

    /// Says that we are here, to whoever was of our name too if this is the first time. Whether our lease had not lapsed.
    pub(crate) async fn renew(&self, connection: &Connection) -> Result<bool, Trouble> {
        let doing = format!("hold what is taken of list {}", self.key);
        let nth = self.renewals.fetch_add(1, Ordering::Relaxed);
        let is_first = u8::from(!self.is_known.load(Ordering::Relaxed));
        let call = Call::of(&self.scripts.renew).key(self.alive(&self.by.name)).key(self.consumers());
        let call = call.arg(&self.token).arg(&self.by.name).arg(millis(self.by.lease)).arg(nth).arg(is_first);
        let ours = connection.run::<i64>(&call, &doing).await?;
        if ours < 0 {
            return Err(Trouble::config(
                &doing,
                format!("another that came later is --consumer {} too; give each a name of its own", self.by.name),
            ));
        }
        self.is_known.store(true, Ordering::Relaxed);
        Ok(ours == 1)
    }

    /// The ids of what we hold.
    pub(crate) async fn ours(&self, connection: &Connection) -> Result<Vec<Id>, Trouble> {
        let ids: Vec<String> =
            connection.ask(cmd("LRANGE").arg(self.held(&self.by.name)).arg(0).arg(-1), &self.doing()).await?;
        Ok(ids.into_iter().map(Id::from).collect())
    }

    /// Those of them that are there; and how many are not, though we hold them.
    pub(crate) async fn fetch(&self, connection: &Connection, ids: &[Id]) -> Result<Found, Trouble> {
        let (mut found, mut rest) = (Found::default(), ids);
        while !rest.is_empty() {
            let (asked, _) = rest.split_at(rest.len().min(TAKEN));
            let call = Call::of(&self.scripts.fetch).key(self.held(&self.by.name)).key(self.values());
            let call = asked.iter().fold(call.arg(BYTES).arg(self.by.most), |call, id| call.arg(&**id));
            let answer: Vec<Value> = connection.run(&call, &self.doing()).await?;
            let mut answer = answer.into_iter();
            let Some(Value::Int(looked)) = answer.next() else { return Err(Trouble::nonsense(&self.doing())) };
            let more = self.found(answer, true)?;
            found.messages.extend(more.messages);
            found.trimmed += more.trimmed;
            rest = rest.get(usize::try_from(looked).unwrap_or(0).max(1)..).unwrap_or_default();
        }
        Ok(found)
    }

    /// How much waits, and whose leases are over.
    pub(crate) async fn survey(&self, connection: &Connection) -> Result<Survey, Trouble> {
        let mut first = pipe();
        first.cmd("LLEN").arg(&self.key).cmd("SMEMBERS").arg(self.consumers());
        let (waiting, consumers): (u64, Vec<String>) = connection.ask_all(&first, &self.doing()).await?;
        let others: Vec<String> = consumers.into_iter().filter(|name| *name != self.by.name).collect();
        let mut survey = Survey { waiting, ..Survey::default() };
        if others.is_empty() {
            return Ok(survey);
        }
        let mut second = pipe();
        for other in &others {
            second.cmd("LLEN").arg(self.held(other)).cmd("GET").arg(self.alive(other));
        }
        let answers: Vec<Value> = connection.ask_all(&second, &self.doing()).await?;
        let mut answers = answers.into_iter();
        let mut living = Vec::new();
        for name in others {
            let (Some(held), Some(lease)) = (answers.next(), answers.next()) else { break };
            let parsed = redis::from_redis_value(held).ok().zip(redis::from_redis_value::<Option<String>>(lease).ok());
            let (held, lease) = parsed.ok_or_else(|| Trouble::nonsense(&self.doing()))?;
            match lease {
                None if held == 0 => survey.gone.push(name),
                None => {
                    survey.orphaned += held;
                    survey.dead.push(name);
                }
                // It ends with how often they said that they are here.
                Some(lease) => {
                    let sign = lease.rsplit(' ').next().and_then(|nth| nth.parse().ok()).unwrap_or(0);
                    living.push(Holder { name, held, sign });
                }
            }
        }
        survey.doubtful = self.others.doubtful(&living, 0, patience(self.by.lease));
        Ok(survey)
    }

    /// Takes over what a consumer holds whose lease is over.
    pub(crate) async fn adopt(&self, connection: &Connection, from: &str, room: usize) -> Result<Found, Trouble> {
        let call = Call::of(&self.scripts.adopt).key(self.held(&self.by.name)).key(self.values());
        let call = call.key(self.alive(&self.by.name)).key(self.consumers()).key(self.held(from)).key(self.alive(from));
        let call = call.arg(&self.token).arg(from).arg(room.min(TAKEN)).arg(BYTES).arg(self.by.most);
        let answer: Value = connection.run(&call, &self.doing()).await?;
        match answer {
            Value::Array(all) => self.found(all.into_iter(), true),
            _ => Err(Trouble::lapsed(&self.doing())),
        }
    }

    /// Forgets these, if they still hold nothing and do not live: nobody else would, and each stood there for ever.
    pub(crate) async fn forget(&self, connection: &Connection, gone: &[String]) -> Result<(), Trouble> {
        for name in gone {
            self.adopt(connection, name, 0).await?;
        }
        Ok(())
    }

    /// Takes at most so many.
    pub(crate) async fn take(&self, connection: &Connection, room: usize) -> Result<Batch, Trouble> {
        let room = room.min(TAKEN);
        let first = self.given.fetch_add(room as u64, Ordering::Relaxed);
        let call = Call::of(&self.scripts.take).key(&self.key).key(self.held(&self.by.name)).key(self.values());
        let call = call.key(self.alive(&self.by.name)).arg(&self.token).arg(self.end());
        let call = call.arg(format!("{}-", self.token)).arg(first).arg(room).arg(BYTES).arg(self.by.most);
        let answer: Value = connection.run(&call, &self.doing()).await?;
        let Value::Array(all) = answer else { return Err(Trouble::lapsed(&self.doing())) };
        let mut all = all.into_iter();
        let Some(Value::Int(left)) = all.next() else { return Err(Trouble::nonsense(&self.doing())) };
        Ok(Batch { messages: self.found(all, false)?.messages, left: u64::try_from(left).ok() })
    }

    /// Settles what may be another's by now. Whether anybody held it.
    pub(crate) async fn settle(&self, connection: &Connection, id: &Id) -> Result<bool, Trouble> {
        let step = || Call::of(&self.scripts.settle).key(self.values()).key(self.consumers());
        self.of_whoever(connection, id, step).await
    }

    /// Writes what may be another's by now to where dead letters go. Whether anybody held it.
    pub(crate) async fn bury(&self, connection: &Connection, id: &Id, to: &str) -> Result<bool, Trouble> {
        let step = || Call::of(&self.scripts.bury).key(self.values()).key(self.consumers()).key(to);
        self.of_whoever(connection, id, step).await
    }

    /// Has a step be taken on an element, with us for its holder; and with all who may be, where that is somebody else. Whether anybody was.
    async fn of_whoever<'a>(
        &'a self,
        connection: &Connection,
        id: &Id,
        step: impl Fn() -> Call<'a>,
    ) -> Result<bool, Trouble> {
        let mut consumers = vec![self.by.name.clone()];
        loop {
            let call = consumers.iter().fold(step(), |call, consumer| call.key(self.held(consumer)));
            let call = consumers.iter().fold(call.arg(&**id), |call, consumer| call.arg(consumer));
            match connection.run::<i64>(&call, &self.settling()).await? {
                -1 => consumers = self.all(connection).await?,
                found => return Ok(found == 1),
            }
        }
    }

    /// Those who may hold anything, by their names.
    async fn all(&self, connection: &Connection) -> Result<Vec<String>, Trouble> {
        let all = cmd("SMEMBERS").arg(self.consumers()).take();
        let mut consumers: Vec<String> = connection.ask(&all, &self.settling()).await?;
        if !consumers.contains(&self.by.name) {
            consumers.push(self.by.name.clone());
        }
        Ok(consumers)
    }

    /// Has others take over at once what we hold.
    pub(crate) async fn leave(&self, connection: &Connection) -> Result<(), Trouble> {
        let call = Call::of(&self.scripts.leave).key(self.alive(&self.by.name)).key(self.held(&self.by.name));
        let call = call.key(self.consumers()).arg(&self.token).arg(&self.by.name);
        connection.run::<Value>(&call, &self.doing()).await.map(drop)
    }

    /// Whether we may do all that taking takes, and write to where dead letters go, if that could be tried; and the first of what would be
    /// taken, without taking it.
    pub(crate) async fn peek(
        &self,
        connection: &Connection,
        count: usize,
        dead_letters: Option<&str>,
    ) -> Result<(Vec<Message>, bool), Trouble> {
        let nobody = format!("check-{}", self.token);
        let call = Call::of(&self.scripts.check).key(&self.key).key(self.held(&nobody)).key(self.values());
        let call = call.key(self.consumers()).key(self.alive(&nobody));
        let call = dead_letters.into_iter().fold(call, |call, key| call.key(key));
        let call = call.arg(&nobody).arg(self.end()).arg(count).arg(BYTES).arg(self.by.most);
        let answer: Vec<Value> = connection.run(&call, &self.doing()).await?;
        let mut answer = answer.into_iter();
        let tried = answer.next() == Some(Value::Int(1));
        let mut messages = self.found(answer, false)?.messages;
        for message in &mut messages {
            message.id = format!("{nobody}-{}", message.id).into();
        }
        Ok((messages, tried))
    }

    /// Of each its id, its length and its value.
    fn found(&self, mut all: impl Iterator<Item = Value>, again: bool) -> Result<Found, Trouble> {
        let mut found = Found::default();
        while let Some(id) = all.next() {
            let (Value::BulkString(id), Some(Value::Int(length)), Some(Value::BulkString(value))) =
                (id, all.next(), all.next())
            else {
                return Err(Trouble::nonsense(&self.doing()));
            };
            let id = Id::from(String::from_utf8_lossy(&id));
            let body = match u64::try_from(length) {
                Err(_) => {
                    found.trimmed += 1;
                    continue;
                }
                Ok(length) if length == value.len() as u64 => Body::Value(value),
                Ok(length) => Body::TooLarge(length),
            };
            found.messages.push(Message { id, again, deliveries: None, body });
        }
        Ok(found)
    }

    fn end(&self) -> &'static str {
        match self.take {
            End::Left => "LEFT",
            End::Right => "RIGHT",
        }
    }

    fn doing(&self) -> String {
        format!("take from list {}", self.key)
    }

    fn settling(&self) -> String {
        format!("settle an element of list {}", self.key)
    }

    fn consumers(&self) -> String {
        format!("{}:consumers", self.prefix)
    }

    fn values(&self) -> String {
        format!("{}:values", self.prefix)
    }

    fn held(&self, consumer: &str) -> String {
        format!("{}:held:{consumer}", self.prefix)
    }

    fn alive(&self, consumer: &str) -> String {
        format!("{}:alive:{consumer}", self.prefix)
    }
}
