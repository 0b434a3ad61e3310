//! What the server answers of entries.

use redis::{FromRedisValue, Value, from_redis_value};

use crate::message::{Body, Fields, Id, Message};
use crate::queue::Found;

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

/// Of a script: how many were cut off, and those that are there.
pub(super) fn counted(answer: Value) -> Option<Found> {
    let mut all = array(answer)?.into_iter();
    let trimmed = parsed(all.next()?)?;
    Some(Found { messages: all.map(one_counted).collect::<Option<_>>()?, trimmed })
}

/// Of `XREADGROUP`, of one stream: nothing at all where there is none.
pub(super) fn new(answer: Value) -> Option<Vec<Message>> {
    if answer == Value::Nil {
        return Some(Vec::new());
    }
    let stream = array(answer)?.pop()?;
    range(array(stream)?.pop()?)
}

/// Of `XRANGE`.
pub(super) fn range(answer: Value) -> Option<Vec<Message>> {
    array(answer)?.into_iter().map(one_new).collect()
}

/// Where an entry lies, by its id: `1732320000000-0`.
pub(super) fn place(id: &str) -> Option<(u64, u64)> {
    let (time, nth) = id.split_once('-')?;
    Some((time.parse().ok()?, nth.parse().ok()?))
}

fn one_counted(entry: Value) -> Option<Message> {
    let mut parts = array(entry)?.into_iter();
    let (id, deliveries, fields) = (parts.next()?, parts.next()?, parts.next()?);
    message(id, parsed(deliveries)?, fields, true)
}

fn one_new(entry: Value) -> Option<Message> {
    let mut parts = array(entry)?.into_iter();
    let (id, fields) = (parts.next()?, parts.next()?);
    message(id, 1, fields, false)
}

fn message(id: Value, deliveries: u64, fields: Value, again: bool) -> Option<Message> {
    let id = Id::from(parsed::<String>(id)?);
    let mut words = array(fields)?.into_iter();
    let mut fields = Vec::with_capacity(words.len() / 2);
    while let Some(name) = words.next() {
        fields.push((parsed(name)?, parsed(words.next()?)?));
    }
    Some(Message { id, again, deliveries: Some(deliveries), body: Body::Fields(Fields(fields)) })
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
