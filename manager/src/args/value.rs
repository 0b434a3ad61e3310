//! What the flags hold, read at the edge.

use std::str::FromStr;
use std::time::Duration;

use contract::ItemName;
use contract::client::{Endpoint, InvalidEndpoint};
use sidecar::cli::value;

/// The name of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueName(String);

impl QueueName {
    /// As it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for QueueName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match ItemName::parse(text) {
            Ok(name) if name.is_label() => Ok(Self(text.to_owned())),
            _ => {
                Err("a queue's name has 1 to 63 lower-case letters, digits and dashes, none of them at its ends".into())
            }
        }
    }
}

/// The longest first wait and the longest of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffRange {
    pub(super) first: Duration,
    pub(super) most: Duration,
}

impl FromStr for BackoffRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, most) = text.split_once("..").ok_or("two durations are needed, as in 1s..5m")?;
        let duration = |text: &str| value::duration(text.trim()).map_err(|error| format!("{text:?}: {error}"));
        let (first, most) = (duration(first)?, duration(most)?);
        if first > most {
            return Err("the first wait is longer than the longest".into());
        }
        Ok(Self { first, most })
    }
}

/// The address of a source.
pub(super) fn endpoint(text: &str) -> Result<Endpoint, String> {
    if text.starts_with("https:") {
        return Err("https is not spoken here: put the ambassador beside the manager, or a TLS proxy before it".into());
    }
    text.parse().map_err(|error: InvalidEndpoint| error.to_string())
}

/// How long is waited: a span of time, or for ever. `true` is what the variable of a flag without a value says.
pub(super) fn patience(text: &str) -> Result<Duration, String> {
    match text {
        "forever" | "true" => Ok(Duration::MAX),
        text => value::positive_duration(text),
    }
}
