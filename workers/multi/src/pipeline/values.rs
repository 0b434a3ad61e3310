//! The scalars of a pipeline: names, durations, exit codes, reasons. What is wrong with one is said where it stands.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use stage::StageName;
use stage::protocol::Reason;

use super::RetryOn;
use super::error::suggest;

/// A stage's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Name(pub(crate) StageName);

/// A text that need not be quoted where it looks like a number or like `true`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Text(pub(crate) String);

/// A span of time longer than nothing, written with its unit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span(pub(crate) Duration);

/// An exit code that says that something failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Code(pub(crate) u8);

/// An exit code or a reason.
#[derive(Clone, Debug)]
pub(crate) struct Retryable(pub(crate) RetryOn);

/// Reasons for which it makes sense to try again; what is done or was cancelled is none.
const REASONS: [Reason; 10] = [
    Reason::Error,
    Reason::Killed,
    Reason::OomKilled,
    Reason::Timeout,
    Reason::CommandNotFound,
    Reason::CommandNotExecutable,
    Reason::OutputUnusable,
    Reason::Lost,
    Reason::StartTimeout,
    Reason::MachineError,
];

/// A reason as it is spelled everywhere.
pub(crate) fn spelled(reason: Reason) -> String {
    serde_json::to_value(reason).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn code(number: i128) -> Result<u8, String> {
    u8::try_from(number)
        .ok()
        .filter(|code| *code > 0)
        .ok_or_else(|| format!("{number} is no exit code of a failure; those are 1 to 255"))
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            return Err(D::Error::custom(format!("{text} of what? Write the unit, as {text}s, {text}m or {text}h")));
        }
        match humantime::parse_duration(&text) {
            Ok(Duration::ZERO) => {
                Err(D::Error::custom(format!("{text:?} is no time at all; leave the field out, or write 30s")))
            }
            Ok(span) => Ok(Self(span)),
            Err(_) => Err(D::Error::custom(format!("{text:?} is no span of time; write it as 30s, 5m or 1h 30m"))),
        }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&humantime::format_duration(self.0))
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        i64::deserialize(from).and_then(|number| code(number.into()).map_err(D::Error::custom)).map(Self)
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u8(self.0)
    }
}

struct OfRetryable;

impl Visitor<'_> for OfRetryable {
    type Value = Retryable;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an exit code (1 to 255) or a reason, as OOMKilled")
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Retryable, E> {
        code(number.into()).map(|code| Retryable(RetryOn::Code(code))).map_err(E::custom)
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Retryable, E> {
        code(number.into()).map(|code| Retryable(RetryOn::Code(code))).map_err(E::custom)
    }

    fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Retryable, E> {
        let all = REASONS.map(|reason| (reason, spelled(reason)));
        match all.iter().find(|(_, spelling)| spelling == word) {
            Some((reason, _)) => Ok(Retryable(RetryOn::Reason(*reason))),
            None => {
                let known = all.iter().map(|(_, spelling)| spelling.as_str());
                Err(E::custom(format!(
                    "{word:?} is neither an exit code nor a reason to try again{}",
                    suggest(word, known)
                )))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Retryable {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(OfRetryable)
    }
}

impl Serialize for Retryable {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            RetryOn::Code(code) => to.serialize_u8(code),
            RetryOn::Reason(reason) => reason.serialize(to),
        }
    }
}

impl JsonSchema for Name {
    fn schema_name() -> Cow<'static, str> {
        "Name".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Lower-case letters, digits and dashes, a letter first and no dash last.",
            "type": "string", "maxLength": 40, "pattern": "^[a-z]([a-z0-9-]*[a-z0-9])?$"
        })
    }
}

impl JsonSchema for Text {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Text".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "number", "boolean"]})
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A span of time with its unit.",
            "type": "string", "pattern": "^([0-9]+ *[a-zA-Zµ]+ *)+$", "examples": ["30s", "5m", "1h 30m"]
        })
    }
}

impl JsonSchema for Code {
    fn schema_name() -> Cow<'static, str> {
        "Code".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"description": "An exit code of a failure.", "type": "integer", "minimum": 1, "maximum": 255})
    }
}

impl JsonSchema for Retryable {
    fn schema_name() -> Cow<'static, str> {
        "Retryable".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let code = generator.subschema_for::<Code>();
        json_schema!({"anyOf": [
            code,
            {"description": "Why an attempt ended.", "type": "string", "enum": REASONS.map(spelled)}
        ]})
    }
}
