//! A message that was taken, and what it says.

use std::sync::Arc;

use ambassador_kit::queue::{Said, Why};
use contract::TraceContext;
use serde_json::{Map, Value};

/// By which the server knows a message that was taken: nobody else's, for as long as it is there.
pub(crate) type Id = Arc<str>;

/// A message, as the server gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) id: Id,
    /// Whether it may have been handed to us before.
    pub(crate) again: bool,
    /// How often it was handed to somebody, where that is known.
    pub(crate) deliveries: Option<u64>,
    pub(crate) body: Body,
}

/// What it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// Of a list.
    Value(Vec<u8>),
    /// It has so many bytes that it was not read.
    TooLarge(u64),
    /// Of a stream.
    Fields(Fields),
}

/// Names and values of an entry, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields(pub(crate) Vec<(Vec<u8>, Vec<u8>)>);

/// The field that is the value, and that which is the key.
const VALUE: &[u8] = b"value";
const KEY: &[u8] = b"key";

impl Fields {
    /// What they say, and the fields that are neither value nor key: an object, to be told beside it.
    pub(crate) fn said(&self) -> (Said<'_>, Map<String, Value>) {
        let alone = match self.0.as_slice() {
            [(name, value)] if name != KEY => Some(value.as_slice()),
            _ => None,
        };
        let last =
            |wanted: &[u8]| self.0.iter().rev().find(|(name, _)| name == wanted).map(|(_, value)| value.as_slice());
        let mut others = Map::new();
        if alone.is_none() {
            for (name, value) in self.0.iter().filter(|(name, _)| name != VALUE && name != KEY) {
                Said::text(&mut others, &String::from_utf8_lossy(name), value);
            }
        }
        let headers =
            self.0.iter().filter_map(|(name, value)| Some((std::str::from_utf8(name).ok()?, value.as_slice())));
        let said = Said {
            value: alone.or_else(|| last(VALUE)),
            key: last(KEY),
            headers: Map::new(),
            trace: TraceContext::of_headers(headers),
        };
        (said, others)
    }

    /// Bytes that somebody wrote into it.
    pub(crate) fn size(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

/// It is larger than `most` bytes.
pub(crate) fn too_large(size: u64, most: usize) -> Why {
    Why { reason: "too-large", message: format!("it has {size} bytes, and --max-value is {most}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(all: &[(&str, &[u8])]) -> Fields {
        Fields(all.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec())).collect())
    }

    #[test]
    fn a_field_is_the_value_another_the_key_and_all_others_stand_beside() {
        let all = fields(&[("key", b"k"), ("value", b"old"), ("a", b"1"), ("bin", b"\xff"), ("value", b"new")]);
        let (said, others) = all.said();
        assert_eq!((said.value, said.key), (Some(&b"new"[..]), Some(&b"k"[..])));
        assert_eq!(Value::from(others), json!({"a": "1", "binBase64": "/w=="}));
        let alone = fields(&[("url", b"s3://b/k")]);
        let (said, others) = alone.said();
        assert_eq!((said.value, others.len()), (Some(&b"s3://b/k"[..]), 0), "whatever it is called");
        let none = fields(&[("a", b"1"), ("b", b"2")]);
        let (said, others) = none.said();
        assert_eq!((said.value, Value::from(others)), (None, json!({"a": "1", "b": "2"})));
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let traced = fields(&[("value", b"v"), ("traceparent", parent.as_bytes())]);
        assert_eq!(traced.said().0.trace.expect("a trace").trace_id(), "0af7651916cd43dd8448eb211c80319c");
    }
}
