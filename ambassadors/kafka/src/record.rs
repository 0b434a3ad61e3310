//! A record, and the item that is made of it.

mod native;

use std::borrow::Cow;
use std::fmt::Write;

use ambassador_kit::queue::{Said, Unreadable};
use contract::wire::Item;
use contract::{Timestamp, TraceContext};
use rdkafka::Message;
use rdkafka::message::BorrowedMessage;
use serde_json::{Map, Value};

pub(crate) use self::native::{giver, with_header};
use crate::args::Settings;
use crate::naming::{Naming, Position};

/// A header. Names are text by Kafka's protocol, and bytes by what brokers take.
pub(crate) type NamedValue = (Box<[u8]>, Option<Box<[u8]>>);

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
        let headers =
            self.headers.iter().filter_map(|(name, value)| Some((str::from_utf8(name).ok()?, value.as_deref()?)));
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
        let name = told(name);
        match value {
            Some(value) => Said::text(&mut object, &name, value),
            None => drop(object.insert(name.into_owned(), Value::Null)),
        }
    }
    object
}

/// A name as text. A byte that is none is a replacement character and its number, and so are the bytes of a replacement character that the
/// name has itself: two names are two here too.
fn told(name: &[u8]) -> Cow<'_, str> {
    let plain = |text: &&str| !text.contains(char::REPLACEMENT_CHARACTER);
    if let Some(text) = str::from_utf8(name).ok().filter(plain) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(name.len() + 8);
    let escape = |text: &mut String, bytes: &[u8]| {
        for byte in bytes {
            // Writing to a string never fails.
            let _ = write!(text, "{}{byte:02x}", char::REPLACEMENT_CHARACTER);
        }
    };
    for chunk in name.utf8_chunks() {
        for (n, part) in chunk.valid().split(char::REPLACEMENT_CHARACTER).enumerate() {
            if n > 0 {
                escape(&mut text, "\u{fffd}".as_bytes());
            }
            text.push_str(part);
        }
        escape(&mut text, chunk.invalid());
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_names_of_headers_stay_two_whatever_bytes_they_are() {
        let names: [&[u8]; 8] = [
            b"",
            b"plain",
            b"\xff",
            b"\xfe",
            b"a\xc3",
            "a\u{fffd}".as_bytes(),
            "\u{fffd}ff".as_bytes(),
            "\u{fffd}\u{fffd}".as_bytes(),
        ];
        let mut texts: Vec<_> = names.iter().map(|name| told(name)).collect();
        assert_eq!(texts[..5], ["", "plain", "\u{fffd}ff", "\u{fffd}fe", "a\u{fffd}c3"]);
        texts.sort();
        texts.dedup();
        assert_eq!(texts.len(), names.len(), "{texts:?}");
    }
}
