//! A record, and the item that is made of it.

use std::time::{Duration, SystemTime};

use contract::wire::Item;
use contract::{Timestamp, TraceContext};
use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, Headers};
use serde_json::{Map, Value};

use crate::args::{Payload, Settings};
use crate::naming::{Naming, Position};

/// A header.
pub(crate) type NamedValue = (Box<str>, Option<Box<[u8]>>);

/// Bytes that somebody wrote into it: value, key and headers, all of which become part of the item.
pub(crate) fn weight(message: &BorrowedMessage<'_>) -> usize {
    let headers = message.headers().into_iter().flat_map(Headers::iter);
    let headers = headers.map(|header| header.key.len() + header.value.map_or(0, <[u8]>::len));
    message.payload_len() + message.key_len() + headers.sum::<usize>()
}

/// A record, copied out of the client's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) at: Position,
    /// When it was made, or appended: the topic's settings say which.
    pub(crate) time: Option<SystemTime>,
    pub(crate) key: Option<Box<[u8]>>,
    /// `None` of a tombstone.
    pub(crate) value: Option<Box<[u8]>>,
    /// In their order; a name may come more than once.
    pub(crate) headers: Vec<NamedValue>,
}

impl Record {
    /// Copies what the client holds.
    pub(crate) fn of(message: &BorrowedMessage<'_>) -> Self {
        let headers = message
            .headers()
            .map(|headers| headers.iter().map(|header| (header.key.into(), header.value.map(Into::into))).collect());
        Self {
            at: Position { partition: message.partition(), offset: message.offset() },
            time: message.timestamp().to_millis().and_then(|millis| {
                SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(u64::try_from(millis).ok()?))
            }),
            key: message.key().map(Into::into),
            value: message.payload().map(Into::into),
            headers: headers.unwrap_or_default(),
        }
    }

    /// The same as [`weight`].
    pub(crate) fn weight(&self) -> usize {
        let headers =
            self.headers.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, |value| value.len()));
        let parts = [&self.key, &self.value].into_iter().flatten().map(|part| part.len());
        headers.chain(parts).sum()
    }

    /// How much memory it takes, about.
    pub(crate) fn size(&self) -> usize {
        128 + 48 * self.headers.len() + self.weight()
    }

    /// The trace that its headers say it is part of.
    pub(crate) fn trace(&self) -> Option<TraceContext> {
        let headers = self.headers.iter().filter_map(|(name, value)| Some((&**name, value.as_deref()?)));
        TraceContext::of_headers(headers)
    }

    /// The item: where it lies, then what it says.
    ///
    /// # Errors
    /// [`Unreadable`], where the value is not what `--payload` says; such a record is withheld.
    pub(crate) fn item(&self, naming: &Naming, settings: &Settings) -> Result<Item, Unreadable> {
        let mut data = match settings.payload {
            Payload::Json => object(self.value.as_deref().unwrap_or_default())?,
            Payload::Text | Payload::Uri => Map::new(),
        };
        data.insert("topic".to_owned(), settings.topic.as_str().into());
        data.insert("partition".to_owned(), self.at.partition.into());
        data.insert("offset".to_owned(), self.at.offset.into());
        if let Some(time) = self.time {
            data.insert("timestamp".to_owned(), Timestamp(time).to_string().into());
        }
        if settings.payload != Payload::Json {
            insert(&mut data, "value", self.value.as_deref());
            insert(&mut data, "key", self.key.as_deref());
        }
        if settings.payload == Payload::Uri {
            let text = self.value.as_deref().and_then(|value| std::str::from_utf8(value).ok()).map(str::trim);
            let uri = text
                .filter(|text| text.contains(':') && !text.contains(char::is_whitespace))
                .ok_or(Unreadable::NoUri)?;
            data.insert("uri".to_owned(), uri.into());
        }
        if !self.headers.is_empty() {
            data.insert("headers".to_owned(), headers(&self.headers));
        }
        if let Some(trace) = self.trace() {
            trace.insert_into(&mut data);
        }
        Ok(Item::new(naming.name(self.at), data))
    }
}

/// Why a value is not what `--payload` says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    /// `--payload uri`.
    #[error("its value is no URI")]
    NoUri,
    /// `--payload json`.
    #[error("its value is no JSON object: {0}")]
    NoObject(String),
}

fn object(value: &[u8]) -> Result<Map<String, Value>, Unreadable> {
    serde_json::from_slice(value).map_err(|error| Unreadable::NoObject(error.to_string()))
}

/// As text where it is some, else in base64, so that nothing is lost.
fn insert(data: &mut Map<String, Value>, field: &str, bytes: Option<&[u8]>) {
    let Some(bytes) = bytes else { return };
    match std::str::from_utf8(bytes) {
        Ok(text) => data.insert(field.to_owned(), text.into()),
        Err(_) => data.insert(format!("{field}Base64"), data_encoding::BASE64.encode(bytes).into()),
    };
}

/// An object of name to value; of a name that comes more than once, the last, as Kafka's own `lastHeader` has it.
fn headers(all: &[NamedValue]) -> Value {
    let mut object = Map::new();
    for (name, value) in all {
        match value {
            Some(value) => insert(&mut object, name, Some(value)),
            None => drop(object.insert(name.to_string(), Value::Null)),
        }
    }
    Value::Object(object)
}
