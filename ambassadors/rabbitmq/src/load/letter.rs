//! A line as the message that it makes.

use std::collections::BTreeMap;

use ambassador_kit::load::Entry;
use anyhow::anyhow;
use lapin::BasicProperties;
use lapin::message::BasicReturnMessage;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use sidecar::Failure;

/// Written to the disk before it is confirmed, where the queue is durable.
const PERSISTENT: u8 = 2;

/// What a frame of properties takes beside a key and headers.
const FRAME: usize = 40;
/// What a header takes beside its name and value: the length of either, and a type.
const BESIDE: usize = 6;

/// A message to be published.
#[derive(Clone, Debug)]
pub(super) struct Letter {
    /// Of its line.
    pub(super) number: u64,
    pub(super) properties: BasicProperties,
    pub(super) body: Vec<u8>,
}

impl Letter {
    /// Of a line's entry; its key is the message's id.
    ///
    /// # Errors
    /// Exit 65 for what a message cannot hold.
    pub(super) fn of(number: u64, entry: &Entry) -> Result<Self, Failure> {
        let body = entry.value.clone().ok_or_else(|| wrong("a message has a body: it cannot be null"))?;
        if entry.partition.is_some() {
            return Err(wrong("a queue has no partitions"));
        }
        let mut properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
        if let Some(key) = &entry.key {
            let key = std::str::from_utf8(key).ok().and_then(|key| ShortString::try_new(key).ok());
            let key =
                key.ok_or_else(|| wrong("its key is to be the message's id, which is text of at most 255 bytes"))?;
            properties = properties.with_message_id(key);
        }
        if !entry.headers.is_empty() {
            properties = properties.with_headers(headers(entry)?);
        }
        Ok(Self { number, properties, body })
    }

    /// Bytes of all but the body, which go in one frame.
    pub(super) fn head(&self) -> usize {
        let headers = self.properties.headers().iter().flat_map(|headers| headers.inner());
        let value = |value: &AMQPValue| value.as_long_string().map_or(0, |text| text.len());
        let headers = headers.map(|(name, of)| BESIDE + name.as_str().len() + value(of));
        let id = self.properties.message_id().as_ref().map_or(0, |id| id.as_str().len());
        FRAME + id + headers.sum::<usize>()
    }

    /// Whether this is what came back.
    pub(super) fn is(&self, returned: &BasicReturnMessage) -> bool {
        self.properties == returned.properties && self.body == returned.data
    }
}

/// Of a name that comes more than once, the last.
fn headers(entry: &Entry) -> Result<FieldTable, Failure> {
    let all = entry.headers.iter().map(|(name, value)| {
        let name = ShortString::try_new(name.as_str());
        let name = name.map_err(|_| wrong("the name of a header has at most 255 bytes"))?;
        Ok((name, value.as_ref().map_or(AMQPValue::Void, |value| AMQPValue::LongString(value.as_slice().into()))))
    });
    Ok(all.collect::<Result<BTreeMap<_, _>, Failure>>()?.into())
}

fn wrong(why: &'static str) -> Failure {
    Failure::new(65, anyhow!(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_message_or_what_it_asks_for_is_named() {
        let entry = Entry {
            key: Some(b"k".to_vec()),
            value: Some(vec![0xff]),
            headers: vec![("a".into(), Some(b"1".to_vec())), ("a".into(), Some(b"2".to_vec())), ("n".into(), None)],
            partition: None,
        };
        let letter = Letter::of(7, &entry).expect("a message");
        let headers = letter.properties.headers().clone().expect("headers");
        assert_eq!(letter.properties.message_id().as_ref().map(ShortString::as_str), Some("k"));
        assert_eq!(headers.inner().get("a"), Some(&AMQPValue::LongString(b"2".as_slice().into())));
        assert_eq!(headers.inner().get("n"), Some(&AMQPValue::Void));
        assert_eq!((letter.number, letter.body, letter.properties.delivery_mode()), (7, vec![0xff], &Some(PERSISTENT)));
        for (entry, says) in [
            (Entry { value: None, ..entry.clone() }, "null"),
            (Entry { partition: Some(1), ..entry.clone() }, "no partitions"),
            (Entry { key: Some(vec![0xff]), ..entry.clone() }, "id"),
            (Entry { key: Some(vec![b'k'; 256]), ..entry.clone() }, "255"),
        ] {
            let error = Letter::of(1, &entry).expect_err(says);
            assert!(error.code() == 65 && error.to_string().contains(says), "{error}");
        }
    }
}
