//! What a message says, as an item's data.

use bytesize::ByteSize;
use clap::{Args, ValueEnum};
use contract::TraceContext;
use serde_json::{Map, Value};

/// Flags of ambassadors whose items are messages.
#[derive(Clone, Debug, Args)]
pub struct MessageArgs {
    /// What becomes of a message's value: `text` (`value`, or `valueBase64` where it is none), `uri` (it is the address of the input), or
    /// `json` (an object whose members are the item's data).
    #[arg(long, value_enum, default_value_t = Payload::Text)]
    pub payload: Payload,
    /// Withhold messages whose value, key and headers are larger together: a worker's item has at most 1 MiB as JSON.
    #[arg(long, value_name = "SIZE", default_value = "700KiB")]
    pub max_value: ByteSize,
}

impl MessageArgs {
    /// `--max-value`, in bytes.
    pub fn most(&self) -> usize {
        usize::try_from(self.max_value.as_u64()).unwrap_or(usize::MAX)
    }
}

/// `--payload`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Payload {
    /// As it is.
    Text,
    /// The address of the input.
    Uri,
    /// An object, whose members are the data.
    Json,
}

/// What whoever sent a message said.
#[derive(Clone, Debug, Default)]
pub struct Said<'a> {
    /// `None` where there is none at all, as of a tombstone.
    pub value: Option<&'a [u8]>,
    /// What it is about, where the queue has such a thing.
    pub key: Option<&'a [u8]>,
    /// By name; [`Said::text`] puts bytes into it.
    pub headers: Map<String, Value>,
    /// The trace that its headers say it is part of.
    pub trace: Option<TraceContext>,
}

impl Said<'_> {
    /// Puts `field` into `data`: text where it is some, else `<field>Base64`, so that nothing is lost.
    pub fn text(data: &mut Map<String, Value>, field: &str, bytes: &[u8]) {
        match std::str::from_utf8(bytes) {
            Ok(text) => data.insert(field.to_owned(), text.into()),
            Err(_) => data.insert(format!("{field}Base64"), data_encoding::BASE64.encode(bytes).into()),
        };
    }

    /// The item's data: the message's own as `payload` says, and `place`, where it lies, which nothing of it overrides.
    ///
    /// # Errors
    /// [`Unreadable`], where the value is not what `payload` says; such a message is withheld.
    pub fn data<N: Into<String>>(
        self,
        payload: Payload,
        place: impl IntoIterator<Item = (N, Value)>,
    ) -> Result<Map<String, Value>, Unreadable> {
        let mut data = match payload {
            Payload::Json => serde_json::from_slice(self.value.unwrap_or_default())
                .map_err(|error| Unreadable::NoObject(error.to_string()))?,
            Payload::Text | Payload::Uri => Map::new(),
        };
        data.extend(place.into_iter().map(|(field, value)| (field.into(), value)));
        if payload != Payload::Json {
            for (field, bytes) in [("value", self.value), ("key", self.key)] {
                if let Some(bytes) = bytes {
                    Self::text(&mut data, field, bytes);
                }
            }
        }
        if payload == Payload::Uri {
            let text = self.value.and_then(|value| std::str::from_utf8(value).ok()).map(str::trim);
            let uri = text
                .filter(|text| text.contains(':') && !text.contains(char::is_whitespace))
                .ok_or(Unreadable::NoUri)?;
            data.insert("uri".to_owned(), uri.into());
        }
        if !self.headers.is_empty() {
            data.insert("headers".to_owned(), Value::Object(self.headers));
        }
        if let Some(trace) = self.trace {
            trace.insert_into(&mut data);
        }
        Ok(data)
    }
}

/// Why a value is not what `--payload` says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// `--payload uri`.
    #[error("its value is no URI")]
    NoUri,
    /// `--payload json`.
    #[error("its value is no JSON object: {0}")]
    NoObject(String),
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(value: &[u8]) -> Said<'_> {
        Said { value: Some(value), key: Some(b"k"), ..Said::default() }
    }

    #[test]
    fn a_value_is_what_the_payload_says_or_an_error() {
        let place = || [("queue", json!("q")), ("id", json!(7))];
        let text = said(b"a").data(Payload::Text, place()).expect("is text");
        assert_eq!(Value::from(text), json!({"queue": "q", "id": 7, "value": "a", "key": "k"}));
        let binary = said(b"\xff").data(Payload::Text, place()).expect("is bytes");
        assert_eq!(Value::from(binary), json!({"queue": "q", "id": 7, "valueBase64": "/w==", "key": "k"}));
        let own = said(br#"{"id": 1, "a": [2]}"#).data(Payload::Json, place()).expect("is an object");
        assert_eq!(
            Value::from(own),
            json!({"queue": "q", "id": 7, "a": [2]}),
            "where it lies is not the sender's to say"
        );
        let uri = said(b" s3://b/k\n").data(Payload::Uri, place()).expect("is a URI");
        assert_eq!(uri.get("uri"), Some(&json!("s3://b/k")));
        assert_eq!(said(b"a b:c").data(Payload::Uri, place()), Err(Unreadable::NoUri));
        assert!(matches!(said(b"[1]").data(Payload::Json, place()), Err(Unreadable::NoObject(_))));
        let nothing = Said::default().data(Payload::Text, place()).expect("is nothing");
        assert_eq!(Value::from(nothing), json!({"queue": "q", "id": 7}));
    }
}
