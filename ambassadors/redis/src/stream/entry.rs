//! What the server answers of entries.

use redis::{FromRedisValue, Value, from_redis_value};

use crate::message::{Body, Fields, Id, Message};

/// What a look at a group found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// Entries that it has not read.
    pub(super) waiting: u64,
    /// Those of which nothing was heard for a lease.
    pub(super) orphaned: u64,
    /// Who holds any: names, how many, and how many milliseconds ago they were heard of.
    pub(super) consumers: Vec<(String, u64, u64)>,
}

/// Of the script that looks.
pub(super) fn look(answer: Value) -> Option<Look> {
    let mut all = array(answer)?.into_iter();
    let (waiting, orphaned) = (parsed(all.next()?)?, parsed(all.next()?)?);
    Some(Look { waiting, orphaned, consumers: all.map(parsed).collect::<Option<_>>()? })
}

/// Of the script that takes: whether nothing is left, and what it took.
pub(super) fn taken(answer: Value) -> Option<(bool, Vec<Message>)> {
    let mut all = array(answer)?.into_iter();
    Some((parsed::<u64>(all.next()?)? == 1, messages(all, false)?))
}

/// Of the script that reads what we hold: at how many ids it has looked, how many of those were cut off, and those that are there.
pub(super) fn fetched(answer: Value) -> Option<(usize, u64, Vec<Message>)> {
    let mut all = array(answer)?.into_iter();
    Some((parsed(all.next()?)?, parsed(all.next()?)?, messages(all, true)?))
}

/// Of the script that takes over: how many were cut off, and which are ours.
pub(super) fn adopted(answer: Value) -> Option<(u64, Vec<Id>)> {
    let mut all = array(answer)?.into_iter();
    Some((parsed(all.next()?)?, all.map(|id| parsed::<String>(id).map(Id::from)).collect::<Option<_>>()?))
}

/// Of the script that reads what others are to take.
pub(super) fn read(answer: Value) -> Option<Vec<Message>> {
    messages(array(answer)?.into_iter(), false)
}

/// Where an entry lies, by its id: `1732320000000-0`.
pub(super) fn place(id: &str) -> Option<(u64, u64)> {
    let (time, nth) = id.split_once('-')?;
    Some((time.parse().ok()?, nth.parse().ok()?))
}

/// Each as its id, how often it was delivered, and its fields, or how many bytes they have.
fn messages(entries: impl Iterator<Item = Value>, again: bool) -> Option<Vec<Message>> {
    entries.map(|entry| message(entry, again)).collect()
}

fn message(entry: Value, again: bool) -> Option<Message> {
    let mut parts = array(entry)?.into_iter();
    let (id, deliveries) = (Id::from(parsed::<String>(parts.next()?)?), Some(parsed(parts.next()?)?));
    let body = match parts.next()? {
        Value::Int(bytes) => Body::TooLarge(u64::try_from(bytes).ok()?),
        fields => Body::Fields(self::fields(fields)?),
    };
    Some(Message { id, again, deliveries, body })
}

fn fields(words: Value) -> Option<Fields> {
    let mut words = array(words)?.into_iter();
    let mut fields = Vec::with_capacity(words.len() / 2);
    while let Some(name) = words.next() {
        fields.push((parsed(name)?, parsed(words.next()?)?));
    }
    Some(Fields(fields))
}

fn array(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(all) => Some(all),
        _ => None,
    }
}

fn parsed<T: FromRedisValue>(value: Value) -> Option<T> {
    from_redis_value(value).ok()
}
