//! What a line says: the key, value and headers of a message.

use std::collections::BTreeMap;

use data_encoding::BASE64;
use serde_json::value::RawValue;

/// `--load-key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// Messages have none.
    None,
    /// The line.
    Line,
    /// What precedes its first tab.
    Tab,
    /// A member of the object that the line is.
    Field(String),
}

impl Key {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match (text, text.split_once(':')) {
            ("none", _) => Ok(Self::None),
            ("line", _) => Ok(Self::Line),
            ("tab", _) => Ok(Self::Tab),
            (_, Some(("field", name))) if !name.is_empty() => Ok(Self::Field(name.to_owned())),
            _ => Err("none, line, tab, or field:NAME".to_owned()),
        }
    }
}

/// How lines are read.
#[derive(Clone, Debug)]
pub(super) enum Layout {
    /// The line is the value.
    Text(Key),
    /// It is an object that says all of it.
    Json,
}

/// A message to be. What its destination cannot hold is for the [`Publisher`](super::Publisher) to refuse, with 65.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// What it is about.
    pub key: Option<Vec<u8>>,
    /// `None` where a line says that there is none at all, as of a tombstone.
    pub value: Option<Vec<u8>>,
    /// Those of every line, then its own.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Where it is to lie.
    pub partition: Option<i32>,
}

/// Why a line is no message.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadLine {
    #[error("it is no JSON object: {0}")]
    NoObject(String),
    #[error("it has no tab before which a key would be (--load-key tab)")]
    NoTab,
    #[error("it has no member {0:?} that could be a key (--load-key)")]
    NoField(String),
    #[error("it has neither value nor valueBase64; of a message that has none write \"value\": null")]
    NoValue,
    #[error("it has both {0} and {0}Base64")]
    Both(&'static str),
    #[error("its {0} is none")]
    Wrong(String),
    #[error("it has a member {0:?}; there are value, valueBase64, key, keyBase64, headers and partition")]
    Unknown(String),
}

/// The members of an object, as they are written: a number keeps its digits.
type Members = BTreeMap<String, Box<RawValue>>;

impl Layout {
    /// # Errors
    /// When a key is asked for in two ways.
    pub(super) fn new(json: bool, key: &Key) -> anyhow::Result<Self> {
        match (json, key) {
            (true, Key::None) => Ok(Self::Json),
            (true, _) => anyhow::bail!("--load-key is of --load-format text: a JSON line has its key as \"key\""),
            (false, key) => Ok(Self::Text(key.clone())),
        }
    }

    /// The message that a line makes; none of an empty line. Blanks are a text, and between objects nothing.
    pub(super) fn entry(&self, line: &[u8]) -> Result<Option<Entry>, BadLine> {
        let is_object = matches!(self, Self::Json | Self::Text(Key::Field(_)));
        if line.is_empty() || (is_object && line.iter().all(u8::is_ascii_whitespace)) {
            return Ok(None);
        }
        let entry = match self {
            Self::Json => of_object(members(line)?)?,
            Self::Text(key) => {
                let (key, value) = match key {
                    Key::None => (None, line),
                    Key::Line => (Some(line.to_vec()), line),
                    Key::Tab => {
                        let tab = line.iter().position(|byte| *byte == b'\t').ok_or(BadLine::NoTab)?;
                        let (key, rest) = line.split_at(tab);
                        (Some(key.to_vec()), rest.get(1..).unwrap_or_default())
                    }
                    Key::Field(name) => {
                        let key = members(line)?.remove(name).and_then(|raw| bytes(&raw));
                        (Some(key.ok_or_else(|| BadLine::NoField(name.clone()))?), line)
                    }
                };
                Entry { key, value: Some(value.to_vec()), ..Entry::default() }
            }
        };
        Ok(Some(entry))
    }
}

impl Entry {
    /// How many bytes its key and value have.
    pub fn size(&self) -> usize {
        [&self.key, &self.value].into_iter().flatten().map(Vec::len).sum()
    }
}

fn members(line: &[u8]) -> Result<Members, BadLine> {
    serde_json::from_slice(line).map_err(|error| BadLine::NoObject(error.to_string()))
}

fn of_object(mut members: Members) -> Result<Entry, BadLine> {
    let partition = match members.remove("partition") {
        Some(raw) => Some(serde_json::from_str(raw.get()).map_err(|_| BadLine::Wrong("partition".to_owned()))?),
        None => None,
    };
    let headers: BTreeMap<String, Box<RawValue>> = match members.remove("headers") {
        Some(raw) => serde_json::from_str(raw.get()).map_err(|_| BadLine::Wrong("headers".to_owned()))?,
        None => BTreeMap::new(),
    };
    let entry = Entry {
        key: either(&mut members, "key", "keyBase64")?.flatten(),
        value: either(&mut members, "value", "valueBase64")?.ok_or(BadLine::NoValue)?,
        headers: headers.into_iter().map(|(name, raw)| (name, bytes(&raw))).collect(),
        partition,
    };
    match members.into_keys().next() {
        Some(unknown) => Err(BadLine::Unknown(unknown)),
        None => Ok(entry),
    }
}

/// What one of the two members says: nothing, null, or bytes.
fn either(members: &mut Members, text: &'static str, base64: &str) -> Result<Option<Option<Vec<u8>>>, BadLine> {
    match (members.remove(text), members.remove(base64)) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(BadLine::Both(text)),
        (Some(raw), None) => Ok(Some(bytes(&raw))),
        (None, Some(raw)) => {
            let digits: Option<String> = serde_json::from_str(raw.get()).ok();
            let bytes = digits.and_then(|digits| BASE64.decode(digits.as_bytes()).ok());
            Ok(Some(Some(bytes.ok_or_else(|| BadLine::Wrong(base64.to_owned()))?)))
        }
    }
}

/// A string's text; of anything else but null what is written.
fn bytes(raw: &RawValue) -> Option<Vec<u8>> {
    match raw.get() {
        "null" => None,
        text if text.starts_with('"') => serde_json::from_str::<String>(text).ok().map(String::into_bytes),
        text => Some(text.as_bytes().to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(key: &str, line: &str) -> Result<Option<Entry>, BadLine> {
        Layout::Text(Key::parse(key).expect("a key")).entry(line.as_bytes())
    }

    fn both(key: &str, value: &str) -> Entry {
        Entry { key: Some(key.into()), value: Some(value.into()), ..Entry::default() }
    }

    #[test]
    fn a_line_of_text_is_the_value_and_may_have_its_key() {
        let plain = Entry { value: Some("a b".into()), ..Entry::default() };
        assert_eq!(text("none", "a b"), Ok(Some(plain)));
        assert_eq!(text("line", "a b"), Ok(Some(both("a b", "a b"))));
        assert_eq!(text("tab", "a\tb\tc"), Ok(Some(both("a", "b\tc"))));
        let object = r#"{"id": 10000000000000000001, "name": "a"}"#;
        assert_eq!(text("field:id", object), Ok(Some(both("10000000000000000001", object))));
        assert_eq!(text("field:name", object), Ok(Some(both("a", object))));
        assert_eq!(
            (text("none", ""), text("field:id", " \t"), Layout::Json.entry(b"\t ")),
            (Ok(None), Ok(None), Ok(None))
        );
        assert_eq!(text("line", " "), Ok(Some(both(" ", " "))), "a text of blanks is one");
        assert_eq!(text("tab", " \t"), Ok(Some(both(" ", ""))));
        assert_eq!(text("tab", "a b"), Err(BadLine::NoTab));
        assert_eq!(text("field:no", object), Err(BadLine::NoField("no".to_owned())));
        assert!(matches!(text("field:id", "[1]"), Err(BadLine::NoObject(_))));
        assert!(Key::parse("field:").is_err() && Key::parse("comma").is_err());
    }

    #[test]
    fn a_line_of_json_says_all_of_it() {
        let json = |line: &str| Layout::Json.entry(line.as_bytes()).map(|entry| entry.expect("is not empty"));
        assert_eq!(json(r#"{"key":"k","value":"v"}"#), Ok(both("k", "v")));
        let all = json(r#"{"keyBase64":"/w==","value":{"n": 1.10},"headers":{"a":"1","b":null},"partition":3}"#);
        assert_eq!(
            all,
            Ok(Entry {
                key: Some(vec![0xff]),
                value: Some(br#"{"n": 1.10}"#.to_vec()),
                headers: vec![("a".to_owned(), Some(b"1".to_vec())), ("b".to_owned(), None)],
                partition: Some(3),
            })
        );
        assert_eq!(json(r#"{"key":"k","value":null}"#).map(|entry| entry.value), Ok(None), "a tombstone");
        for (line, error) in [
            (r#"{"key":"k"}"#, BadLine::NoValue),
            (r#"{"value":"v","valueBase64":"dg=="}"#, BadLine::Both("value")),
            (r#"{"valueBase64":"!"}"#, BadLine::Wrong("valueBase64".to_owned())),
            (r#"{"value":"v","partition":"1"}"#, BadLine::Wrong("partition".to_owned())),
            (r#"{"value":"v","vaule":"v"}"#, BadLine::Unknown("vaule".to_owned())),
        ] {
            assert_eq!(json(line), Err(error), "{line}");
        }
        assert!(matches!(json("a"), Err(BadLine::NoObject(_))));
    }
}
