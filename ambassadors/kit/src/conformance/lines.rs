//! A watch, read line by line.

use std::cmp::Ordering;

use axum::body::BodyDataStream;
use contract::wire::WatchEvent;
use futures_util::StreamExt;
use http::{Method, StatusCode, header};
use tokio::time::{Instant, timeout_at};

use super::Miss;
use super::ask::{Ask, Question, encode};

/// Longest line of a watch, in bytes: a name of 2,048, escaped, and the rest.
const LINE: usize = 64 << 10;

/// A watch that was begun.
pub(super) struct Watch {
    asked: String,
    chunks: BodyDataStream,
    buffer: Vec<u8>,
    /// Whether the source has ended it.
    pub(super) ended: bool,
}

/// A line of it, as JSON and as what it means.
pub(super) struct Line {
    pub(super) json: serde_json::Value,
    pub(super) event: WatchEvent,
}

impl Line {
    /// Incarnation and number of its `resourceVersion`.
    pub(super) fn version(&self) -> Option<(&str, u64)> {
        numbered(self.json.get("resourceVersion")?.as_str()?)
    }
}

impl Watch {
    /// Begins a watch, from a version of the list or from nothing.
    pub(super) async fn begin(ask: &Ask, from: Option<&str>) -> Result<Self, Miss> {
        Self::put(ask, question(ask, from)).await
    }

    pub(super) async fn put(ask: &Ask, question: Question) -> Result<Self, Miss> {
        let (response, _until) = ask.open(&question).await?;
        let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if response.status() != StatusCode::OK {
            return Err(Miss::broken(format!("{question} was answered by {}", response.status())));
        }
        if kind.split(';').next() != Some("application/x-ndjson") {
            return Err(Miss::broken(format!("{question} is of the type {kind:?}, not application/x-ndjson")));
        }
        let chunks = response.into_body().into_data_stream();
        Ok(Self { asked: question.to_string(), chunks, buffer: Vec::new(), ended: false })
    }

    /// The next line, of a type that means something; `None` when nothing comes within the time, or the end.
    pub(super) async fn next(&mut self, until: Instant) -> Result<Option<Line>, Miss> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let json: serde_json::Value = serde_json::from_slice(&line).map_err(|error| {
                    Miss::broken(format!("{}: {error} in {:?}", self.asked, String::from_utf8_lossy(&line)))
                })?;
                let event = serde_json::from_value(json.clone())
                    .map_err(|error| Miss::broken(format!("{}: {error} in {json}", self.asked)))?;
                return Ok(Some(Line { json, event }));
            }
            if self.buffer.len() > LINE {
                return Err(Miss::broken(format!("{} has a line of more than {LINE} bytes", self.asked)));
            }
            match timeout_at(until, self.chunks.next()).await {
                Ok(Some(Ok(chunk))) => self.buffer.extend_from_slice(&chunk),
                Ok(Some(Err(error))) => return Err(Miss::broken(format!("{} was cut off: {error}", self.asked))),
                Ok(None) => {
                    self.ended = true;
                    return Ok(None);
                }
                Err(_elapsed) => return Ok(None),
            }
        }
    }

    /// The lines up to the first bookmark, and that too; of a long list not all of them.
    pub(super) async fn up_to_bookmark(&mut self, ask: &Ask) -> Result<(Vec<Line>, bool), Miss> {
        let until = Instant::now() + ask.plan.deadline;
        let mut lines = Vec::new();
        while lines.len() < ask.plan.most {
            let Some(line) = self.next(until).await? else {
                return Err(Miss::broken(format!("{} shows {} lines and no BOOKMARK", self.asked, lines.len())));
            };
            let marks = matches!(line.event, WatchEvent::Bookmark { .. });
            lines.push(line);
            if marks {
                return Ok((lines, true));
            }
        }
        Ok((lines, false))
    }

    /// Reads on to what is told of a version of the list.
    pub(super) async fn up_to(&mut self, ask: &Ask, version: &str, lines: &mut Vec<Line>) -> Result<Reached, Miss> {
        let until = Instant::now() + ask.plan.deadline;
        let Some((incarnation, wanted)) = numbered(version) else {
            return Err(Miss::broken(format!("the list has the version {version:?}, not <incarnation>.<n>")));
        };
        if ask.ours()?.incarnation != incarnation {
            return Ok(Reached::Otherwise);
        }
        loop {
            let last = lines.last().and_then(Line::version).filter(|(of, _)| *of == incarnation);
            match last.map(|(_, n)| n.cmp(&wanted)) {
                Some(Ordering::Equal) => return Ok(Reached::Exactly),
                Some(Ordering::Greater) => return Ok(Reached::Otherwise),
                Some(Ordering::Less) | None => {}
            }
            match self.next(until).await? {
                Some(line) if matches!(line.event, WatchEvent::Error { .. }) => {
                    return Err(Miss::broken(format!("the watch ends with {}", line.json)));
                }
                Some(line) => lines.push(line),
                None if self.ended => {
                    return Err(Miss::broken(format!("{} ends before it tells of version {version}", self.asked)));
                }
                None => {
                    let (asked, waited) = (&self.asked, ask.plan.deadline);
                    return Err(Miss::broken(format!(
                        "the list is that of {version} by now, and {asked} has not told so within {waited:?}"
                    )));
                }
            }
        }
    }
}

/// How far a watch told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// Everything up to the version, and nothing after it.
    Exactly,
    /// Further, or of another incarnation.
    Otherwise,
}

/// Incarnation and number of a version.
fn numbered(version: &str) -> Option<(&str, u64)> {
    let (incarnation, n) = version.rsplit_once('.')?;
    Some((incarnation, n.parse().ok()?))
}

/// What is asked for a watch, from a version of the list or from nothing.
pub(super) fn question(ask: &Ask, from: Option<&str>) -> Question {
    let version = from.map(|version| format!("&resourceVersion={}", encode(version))).unwrap_or_default();
    ask.question(Method::GET, format!("{}?watch=true{version}", ask.items))
}
