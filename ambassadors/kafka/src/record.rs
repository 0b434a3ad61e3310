//! A record, and the item that is made of it.

mod native;

use ambassador_kit::queue::{Said, Unreadable};
use contract::wire::Item;
use contract::{Timestamp, TraceContext};
use rdkafka::Message;
use rdkafka::message::BorrowedMessage;
use serde_json::{Map, Value};

pub(crate) use self::native::giver;
use crate::args::Settings;
use crate::naming::{Naming, Position};

/// A header.
pub(crate) type NamedValue = (Box<str>, Option<Box<[u8]>>);

/// Bytes that somebody wrote into it: value, key and headers, all of which become part of the item.
pub(crate) fn weight(message: &BorrowedMessage<'_>) -> usize {
    let headers = native::headers(message).map(|(name, value)| name.len() + value.map_or(0, <[u8]>::len));
    message.payload_len() + message.key_len() + headers.sum::<usize>()
}

/// A record, copied out of the client's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) at: Position,
    /// When it was made, or appended: the topic's settings say which. Of a time that nobody can write down, the last that one can.
    pub(crate) time: Option<Timestamp>,
    pub(crate) key: Option<Box<[u8]>>,
    /// `None` of a tombstone.
    pub(crate) value: Option<Box<[u8]>>,
    /// In their order; a name may come more than once.
    pub(crate) headers: Vec<NamedValue>,
}

impl Record {
    /// Copies what the client holds.
    pub(crate) fn of(message: &BorrowedMessage<'_>) -> Self {
        let time = message.timestamp().to_millis().filter(|millis| *millis >= 0);
        Self {
            at: Position { partition: message.partition(), offset: message.offset() },
            time: time.map(|millis| Timestamp::from_unix_nanos(i128::from(millis) * 1_000_000)),
            key: message.key().map(Into::into),
            value: message.payload().map(Into::into),
            headers: native::headers(message).map(|(name, value)| (name.into(), value.map(Into::into))).collect(),
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
        let said = Said {
            value: self.value.as_deref(),
            key: self.key.as_deref(),
            headers: headers(&self.headers),
            trace: self.trace(),
        };
        let place = [
            ("topic", Some(settings.topic.as_str().into())),
            ("partition", Some(self.at.partition.into())),
            ("offset", Some(self.at.offset.into())),
            ("timestamp", self.time.map(|time| time.to_string().into())),
        ];
        let place = place.into_iter().filter_map(|(field, value)| Some((field, value?)));
        Ok(Item::new(naming.name(self.at), said.data(settings.message.payload, place)?))
    }
}

/// Name to value; of a name that comes more than once, the last, as Kafka's own `lastHeader` has it.
fn headers(all: &[NamedValue]) -> Map<String, Value> {
    let mut object = Map::new();
    for (name, value) in all {
        match value {
            Some(value) => Said::text(&mut object, name, value),
            None => drop(object.insert(name.to_string(), Value::Null)),
        }
    }
    object
}
