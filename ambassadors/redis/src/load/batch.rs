//! Entries that go to the server at once.

use std::time::Instant;

use ambassador_kit::load::Entry;
use redis::{Pipeline, Value, cmd, pipe};

use super::LARGEST;
use crate::args::{End, Kind, Settings};
use crate::server::Connection;
use crate::trouble::Trouble;

/// How many entries, and how many bytes of them.
const MOST: (usize, usize) = (1_000, 1 << 20);

/// Entries that were not confirmed, in their order.
#[derive(Debug)]
pub(super) struct Batch {
    key: String,
    to: To,
    /// Lines, by their numbers, each with the fields of an entry, or the value alone.
    lines: Vec<(u64, Vec<Vec<u8>>)>,
    bytes: usize,
    since: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    /// The end of a list from which it is taken last.
    List(&'static str),
    Stream,
}

impl Batch {
    pub(super) fn of(settings: &Settings) -> Self {
        let to = match &settings.kind {
            Kind::List { take: End::Left, .. } => To::List("RPUSH"),
            Kind::List { take: End::Right, .. } => To::List("LPUSH"),
            Kind::Stream { .. } => To::Stream,
        };
        Self { key: settings.key.clone(), to, lines: Vec::new(), bytes: 0, since: Instant::now() }
    }

    /// What the key is to be.
    pub(super) fn kind(&self) -> &'static str {
        match self.to {
            To::List(_) => "list",
            To::Stream => "stream",
        }
    }

    /// For people.
    pub(super) fn doing(&self) -> String {
        format!("publish to {} {}", self.kind(), self.key)
    }

    pub(super) fn is_full(&self) -> bool {
        self.lines.len() >= MOST.0 || self.bytes >= MOST.1
    }

    /// The first line, and since when it waits.
    pub(super) fn first(&self) -> Option<(u64, Instant)> {
        self.lines.first().map(|(number, _)| (*number, self.since))
    }

    /// One more.
    ///
    /// # Errors
    /// What the line says that the key cannot hold.
    pub(super) fn add(&mut self, number: u64, entry: &Entry) -> anyhow::Result<()> {
        let parts = match self.to {
            To::List(_) => vec![element(entry)?],
            To::Stream => fields(entry)?,
        };
        if let Some(part) = parts.iter().find(|part| part.len() > LARGEST) {
            anyhow::bail!("it has {} bytes, and Redis takes {LARGEST}", part.len());
        }
        if self.lines.is_empty() {
            self.since = Instant::now();
        }
        self.bytes += parts.iter().map(Vec::len).sum::<usize>();
        self.lines.push((number, parts));
        Ok(())
    }

    /// Sends all of them: the server takes all or none.
    pub(super) async fn send(&self, connection: &Connection) -> Result<(), Trouble> {
        match self.to {
            To::List(push) => {
                let mut command = cmd(push);
                command.arg(&self.key);
                for part in self.lines.iter().flat_map(|(_, parts)| parts) {
                    command.arg(part);
                }
                connection.ask::<Value>(&command, &self.doing()).await.map(drop)
            }
            To::Stream => {
                let mut all: Pipeline = pipe();
                all.atomic();
                for (_, fields) in &self.lines {
                    let add = all.cmd("XADD").arg(&self.key).arg("*");
                    fields.iter().fold(add, Pipeline::arg);
                }
                connection.ask_all::<Value>(&all, &self.doing()).await.map(drop)
            }
        }
    }

    /// They are there. Their numbers.
    pub(super) fn sent(&mut self) -> Vec<u64> {
        self.bytes = 0;
        self.lines.drain(..).map(|(number, _)| number).collect()
    }
}

/// An element is a value and nothing else.
fn element(entry: &Entry) -> anyhow::Result<Vec<u8>> {
    let beside = [
        ("key", entry.key.is_some()),
        ("headers", !entry.headers.is_empty()),
        ("partition", entry.partition.is_some()),
    ];
    if let Some((what, _)) = beside.into_iter().find(|(_, given)| *given) {
        anyhow::bail!("it has {what}, and an element of a list has a value and nothing else");
    }
    entry.value.clone().ok_or_else(|| anyhow::anyhow!("it has no value, and an element of a list is one"))
}

/// The fields of an entry: `value`, `key`, and each header.
fn fields(entry: &Entry) -> anyhow::Result<Vec<Vec<u8>>> {
    if entry.partition.is_some() {
        anyhow::bail!("it has partition, and a stream has none");
    }
    let mut fields = Vec::new();
    let said = [("value", &entry.value), ("key", &entry.key)];
    for (name, value) in said.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
        fields.extend([name.as_bytes().to_vec(), value.clone()]);
    }
    for (name, value) in &entry.headers {
        if matches!(name.as_str(), "value" | "key") {
            anyhow::bail!("it has a header {name:?}, which is what the field of its {name} is called");
        }
        let value =
            value.clone().ok_or_else(|| anyhow::anyhow!("its header {name:?} has no value, and a field has one"))?;
        fields.extend([name.as_bytes().to_vec(), value]);
    }
    if fields.is_empty() {
        anyhow::bail!("it says nothing, and an entry of a stream has a field at least");
    }
    Ok(fields)
}
