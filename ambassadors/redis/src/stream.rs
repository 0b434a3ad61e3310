//! A stream: what a consumer group hands to us is pending, by its id, until it is acknowledged; and nobody's death takes it along.

mod entry;
mod scripts;

use std::collections::HashMap;

use redis::{Value, cmd};
use tracing::{info, warn};

use self::scripts::Scripts;
use crate::args::OURS;
use crate::message::{Id, Message};
use crate::others::{Holder, Others};
use crate::queue::{BYTES, Batch, Consumer, Found, Survey, millis, patience};
use crate::server::{Call, Connection};
use crate::trouble::Trouble;

/// Entries asked for at once: the server does nothing else while it writes them down.
const TAKEN: usize = 100;
/// Ids told at once: a script's stack has room for 8000 words.
const TOLD: usize = 1_000;
/// How far ids are counted; and entries where Redis has no count of them, which the server reads for that.
const COUNTED: (usize, usize) = (100, 10);

/// After how many leases without a word somebody is gone who holds nothing.
const GONE: u32 = 2;

/// By how many milliseconds the server's clock may differ from itself.
const SLACK: u64 = 100;

/// A stream, and who we are in its group.
#[derive(Debug)]
pub(crate) struct Stream {
    key: String,
    group: String,
    start: String,
    delete_settled: bool,
    by: Consumer,
    others: Others,
    scripts: Scripts,
}

impl Stream {
    pub(crate) fn new(key: String, group: String, start: String, delete_settled: bool, by: Consumer) -> Self {
        Self { key, group, start, delete_settled, by, others: Others::default(), scripts: Scripts::default() }
    }

    /// Makes the group, and the stream, where there is none.
    pub(crate) async fn begin(&self, connection: &Connection) -> Result<(), Trouble> {
        let doing = format!("join group {} of stream {}", self.group, self.key);
        if self.look(connection).await?.is_some() {
            return Ok(());
        }
        let create =
            cmd("XGROUP").arg("CREATE").arg(&self.key).arg(&self.group).arg(&self.start).arg("MKSTREAM").take();
        match connection.ask::<Value>(&create, &doing).await {
            Ok(_) => {
                warn!(stream = self.key, group = self.group, start = self.start, "made the group, which was not there")
            }
            // Somebody was faster.
            Err(trouble) if trouble.says("BUSYGROUP") => {}
            Err(trouble) => return Err(trouble),
        }
        Ok(())
    }

    /// The ids of what is pending for us.
    pub(crate) async fn ours(&self, connection: &Connection) -> Result<Vec<Id>, Trouble> {
        let (mut ours, mut from) = (Vec::<Id>::new(), "-".to_owned());
        loop {
            let ask =
                cmd("XPENDING").arg(&self.key).arg(&self.group).arg(&from).arg("+").arg(TOLD).arg(&self.by.name).take();
            let page: Vec<(String, String, u64, u64)> = connection.ask(&ask, &self.doing()).await?;
            let last = page.len() < TOLD;
            ours.extend(page.into_iter().map(|(id, ..)| Id::from(id)));
            match ours.last() {
                Some(id) if !last => from = format!("({id}"),
                _ => return Ok(ours),
            }
        }
    }

    /// Those of these that are still there and ours; and how many were cut off.
    pub(crate) async fn fetch(&self, connection: &Connection, ids: &[Id]) -> Result<Found, Trouble> {
        let (mut found, mut rest) = (Found::default(), ids);
        while !rest.is_empty() {
            let (asked, _) = rest.split_at(rest.len().min(TAKEN));
            let call = Call::of(&self.scripts.fetch).key(&self.key).arg(&self.group).arg(&self.by.name);
            let call = asked.iter().fold(call.arg(BYTES).arg(self.by.most), |call, id| call.arg(&**id));
            let answer: Value = connection.run(&call, &self.doing()).await?;
            let (looked, trimmed, messages) = entry::fetched(answer).ok_or_else(|| Trouble::nonsense(&self.doing()))?;
            found.messages.extend(messages);
            found.trimmed += trimmed;
            rest = rest.get(looked.max(1)..).unwrap_or_default();
        }
        Ok(found)
    }

    /// How much nobody has read, and of how much nothing was heard.
    ///
    /// # Errors
    /// [`Trouble`], of the kind [`NoGroup`](crate::trouble::Kind::NoGroup) too.
    pub(crate) async fn survey(&self, connection: &Connection) -> Result<Survey, Trouble> {
        let found = self.look(connection).await?;
        let found = found.ok_or_else(|| Trouble::no_group(&self.doing(), &self.group))?;
        let entry::Look { waiting, orphaned, consumers } = found;
        let others = consumers.into_iter().filter(|(name, ..)| *name != self.by.name);
        let holders = others.map(|(name, held, sign)| Holder { name, held, sign });
        let doubtful = self.others.doubtful(&holders.collect::<Vec<_>>(), SLACK, patience(self.by.lease));
        Ok(Survey { waiting, orphaned, doubtful: doubtful.saturating_sub(orphaned), ..Survey::default() })
    }

    /// Takes over at most so many of which nothing was heard; and how many of them were cut off.
    pub(crate) async fn adopt(&self, connection: &Connection, room: usize) -> Result<Found, Trouble> {
        let call = Call::of(&self.scripts.adopt).key(&self.key).arg(&self.group).arg(&self.by.name);
        let call = call.arg(millis(self.by.lease)).arg(room.min(TAKEN));
        let (trimmed, ids): (u64, Vec<Id>) = entry::adopted(connection.run(&call, &self.doing()).await?)
            .ok_or_else(|| Trouble::nonsense(&self.doing()))?;
        let found = self.fetch(connection, &ids).await?;
        Ok(Found { trimmed: found.trimmed + trimmed, ..found })
    }

    /// Takes at most so many that nobody has read.
    pub(crate) async fn take(&self, connection: &Connection, room: usize) -> Result<Batch, Trouble> {
        // That this is no server to take from any more shows in each survey.
        if room == 0 {
            return Ok(Batch::default());
        }
        let call = Call::of(&self.scripts.take).key(&self.key).arg(&self.group).arg(&self.by.name);
        let call = call.arg(room.min(TAKEN)).arg(BYTES).arg(self.by.most);
        let answer: Value = connection.run(&call, &self.doing()).await?;
        let (over, messages) = entry::taken(answer).ok_or_else(|| Trouble::nonsense(&self.doing()))?;
        Ok(Batch { messages, left: over.then_some(0) })
    }

    /// Says that we hold these, those of them that are ours still. Those that were cut off.
    pub(crate) async fn renew(&self, connection: &Connection, held: &[Id]) -> Result<Vec<Id>, Trouble> {
        let (mut held, mut trimmed) = (held.to_vec(), Vec::new());
        held.sort_by_key(|id| entry::place(id));
        for ids in held.chunks(TOLD) {
            let call = Call::of(&self.scripts.renew).key(&self.key).arg(&self.group).arg(&self.by.name);
            let call = ids.iter().fold(call, |call, id| call.arg(&**id));
            let told: Vec<String> = connection.run(&call, &self.doing()).await?;
            trimmed.extend(told.into_iter().map(Id::from));
        }
        Ok(trimmed)
    }

    /// Acknowledges an entry, whoever holds it by now. Whether anybody did.
    ///
    /// # Errors
    /// [`Trouble`], of the kind [`NoGroup`](crate::trouble::Kind::NoGroup) too.
    pub(crate) async fn settle(&self, connection: &Connection, id: &Id) -> Result<bool, Trouble> {
        let doing = self.settling();
        let found: u64 = if self.delete_settled {
            let call = Call::of(&self.scripts.remove).key(&self.key).arg(&self.group).arg(&**id);
            connection.run(&call, &doing).await?
        } else {
            connection.ask(cmd("XACK").arg(&self.key).arg(&self.group).arg(&**id), &doing).await?
        };
        // So it says too where there is no such group, and one that is made again has all of it again.
        if found == 0 && self.look(connection).await?.is_none() {
            return Err(Trouble::no_group(&doing, &self.group));
        }
        Ok(found == 1)
    }

    /// Writes an entry to where dead letters go, whoever holds it by now, and why. Whether anybody did.
    pub(crate) async fn bury(&self, connection: &Connection, id: &Id, why: &str, to: &str) -> Result<bool, Trouble> {
        let call = Call::of(&self.scripts.bury).key(&self.key).key(to);
        let call = call.arg(&self.group).arg(&**id).arg(why).arg(u8::from(self.delete_settled));
        connection.run::<i64>(&call, &self.settling()).await.map(|found| found == 1)
    }

    /// Has others take over at once what we hold; or leaves the group where that is nothing.
    pub(crate) async fn leave(&self, connection: &Connection) -> Result<(), Trouble> {
        let call = Call::of(&self.scripts.leave).key(&self.key).arg(&self.group).arg(&self.by.name);
        connection.run::<Value>(&call.arg(millis(self.by.lease)), &self.doing()).await.map(drop)
    }

    /// Strikes those of ours off the group who are gone, and hold nothing.
    pub(crate) async fn prune(&self, connection: &Connection) -> Result<(), Trouble> {
        let call = Call::of(&self.scripts.prune).key(&self.key).arg(&self.group).arg(&self.by.name);
        let struck: u64 = connection.run(&call.arg(millis(self.by.lease * GONE)), &self.doing()).await?;
        if struck > 0 {
            info!(
                stream = self.key,
                group = self.group,
                consumers = struck,
                "struck off the group who is gone and holds nothing"
            );
        }
        Ok(())
    }

    /// Whether we may do all that taking takes, and write to where dead letters go; and the first of what would be taken, without taking
    /// it. Also whether there is a group.
    pub(crate) async fn peek(
        &self,
        connection: &Connection,
        count: usize,
        dead_letters: Option<&str>,
    ) -> Result<(Vec<Message>, bool), Trouble> {
        let nobody = format!("{OURS}check-{:016x}", fastrand::u64(..));
        let call = Call::of(&self.scripts.check).key(&self.key);
        let call = dead_letters.into_iter().fold(call, |call, key| call.key(key));
        let call = call.arg(nobody).arg(&self.group).arg(u8::from(self.delete_settled));
        connection.run::<Value>(&call, &self.doing()).await?;
        let there = self.look(connection).await?.is_some();
        let after = if there { self.stands(connection).await? } else { self.start.clone() };
        if after == "$" {
            return Ok((Vec::new(), there));
        }
        let call = Call::of(&self.scripts.peek).key(&self.key).arg(after).arg(count).arg(BYTES).arg(self.by.most);
        let answer: Value = connection.run(&call, &self.doing()).await?;
        Ok((entry::read(answer).ok_or_else(|| Trouble::nonsense(&self.doing()))?, there))
    }

    /// The last entry that was given to anybody.
    async fn stands(&self, connection: &Connection) -> Result<String, Trouble> {
        let ask = cmd("XINFO").arg("GROUPS").arg(&self.key).take();
        let groups: Vec<HashMap<String, Value>> = connection.ask(&ask, &self.doing()).await?;
        let is_ours = |group: &HashMap<String, Value>| matches!(group.get("name"), Some(Value::BulkString(name)) if *name == self.group.as_bytes());
        let group = groups.into_iter().find(is_ours);
        let last = group.and_then(|mut group| redis::from_redis_value(group.remove("last-delivered-id")?).ok());
        last.ok_or_else(|| Trouble::no_group(&self.doing(), &self.group))
    }

    /// `None` where there is no such group.
    async fn look(&self, connection: &Connection) -> Result<Option<entry::Look>, Trouble> {
        let call = Call::of(&self.scripts.survey).key(&self.key);
        let call = call.arg(&self.group).arg(millis(self.by.lease)).arg(COUNTED.0).arg(COUNTED.1);
        match connection.run(&call, &self.doing()).await? {
            Value::Nil => Ok(None),
            found => entry::look(found).map(Some).ok_or_else(|| Trouble::nonsense(&self.doing())),
        }
    }

    fn doing(&self) -> String {
        format!("take from stream {}", self.key)
    }

    fn settling(&self) -> String {
        format!("settle an entry of stream {}", self.key)
    }
}
