//! The flags, and what they mean once they are parsed.

use std::time::Duration;

use ambassador_kit::queue::{MessageArgs, WindowArgs};
use clap::{ArgGroup, Args, ValueEnum};
use sidecar::cli::value;

use crate::server::{Server, ServerArgs, ServerError};

/// Which list or stream is served, and how.
#[derive(Clone, Debug, Args)]
#[command(group = ArgGroup::new("queue").required(true).args(["list", "stream"]))]
pub struct QueueArgs {
    /// The list to serve, by its key.
    #[arg(long, value_name = "KEY", value_parser = key)]
    list: Option<String>,
    /// The stream to serve, by its key, as --group is given it.
    #[arg(long, value_name = "KEY", value_parser = key, requires = "group")]
    stream: Option<String>,
    /// The consumer group that takes entries of the stream; made if there is none.
    #[arg(long, value_name = "NAME", value_parser = key, requires = "stream")]
    group: Option<String>,
    /// What names are derived with, beside the key and a message's id.
    #[arg(long, value_name = "TEXT", default_value = "")]
    source_id: String,
    /// Who we are among those that take of the same key. One that stays over restarts has at once what it held before; no two may run
    /// under one name [default: `longshore-`, the host's name, and something that nobody else has].
    #[arg(long, value_name = "NAME", value_parser = key)]
    consumer: Option<String>,
    /// How often to ask what has come, and how much waits.
    #[arg(long, value_parser = value::positive_duration, value_name = "DURATION", default_value = "500ms")]
    poll: Duration,
    #[command(flatten)]
    message: MessageArgs,

    #[command(flatten)]
    window: WindowArgs,
    #[command(flatten)]
    taking: TakingArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// How messages are taken, and where they go.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "How messages are taken")]
struct TakingArgs {
    /// How long somebody who says nothing keeps what they took, before others have it. We say something every third of it, or every 5
    /// seconds.
    #[arg(long, value_parser = lease, value_name = "DURATION", default_value = "1m")]
    lease: Duration,
    /// Where messages go that failed for good, or that are no items: to the end of a list, or to a stream with fields that say why.
    /// Without it such a message is held and withheld.
    #[arg(long, value_name = "KEY", value_parser = key)]
    dead_letter_key: Option<String>,
    /// From which end of a list to take: `left` where others RPUSH, `right` where they LPUSH.
    #[arg(long, value_enum, value_name = "END", default_value_t = End::Left, conflicts_with = "stream")]
    take: End,
    /// With what the keys begin that hold what was taken of a list [default: {KEY}:longshore].
    #[arg(long, value_name = "KEY", value_parser = key, conflicts_with = "stream")]
    processing_key: Option<String>,
    /// Where a group begins that is made: `0` (with the oldest entry), `$` (with the first that comes after), or behind the entry of an id.
    #[arg(long, value_name = "ID", default_value = "0", value_parser = start, conflicts_with = "list")]
    start: String,
    /// Remove from the stream what is settled, for every group that it has.
    #[arg(long, conflicts_with = "list")]
    delete_settled: bool,
    /// Take entries of a stream for no items once they were delivered more often: what kills whoever holds it would come for ever.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "list")]
    max_deliveries: Option<u64>,
}

/// `--take`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum End {
    /// The head.
    Left,
    /// The tail.
    Right,
}

/// What the flags come to.
#[derive(Clone, Debug)]
pub struct Settings {
    pub(crate) server: Server,
    pub(crate) kind: Kind,
    /// The list or stream.
    pub(crate) key: String,
    pub(crate) source_id: String,
    pub(crate) consumer: String,
    pub(crate) lease: Duration,
    pub(crate) dead_letter_key: Option<String>,
    pub(crate) poll: Duration,
    pub(crate) message: MessageArgs,
    pub(crate) window: WindowArgs,
}

/// What is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `--list`.
    List {
        /// Where to take.
        take: End,
        /// With what our own keys begin.
        prefix: String,
    },
    /// `--stream`.
    Stream {
        /// Whose pending entries ours are.
        group: String,
        /// Where it begins, if it is made.
        start: String,
        /// Whether what is settled goes.
        delete_settled: bool,
        /// How often an entry may be delivered.
        max_deliveries: Option<u64>,
    },
}

/// Why the flags make no sense together.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The server cannot be asked in this way.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// What failed would come again.
    #[error("--dead-letter-key {0:?} is the key that is served: what failed would come again")]
    DeadLetterToItself(String),
    /// Neither a list nor a stream.
    #[error("neither --list nor --stream with --group says what to serve")]
    Nothing,
}

impl QueueArgs {
    /// Checks everything that can be checked without asking the server.
    ///
    /// # Errors
    /// [`SettingsError`], naming the flag.
    pub fn settings(self) -> Result<Settings, SettingsError> {
        let Self { list, stream, group, source_id, consumer, poll, message, window, taking, server } = self;
        let (key, kind) = match (list, stream, group) {
            (Some(list), None, None) => {
                let prefix = taking.processing_key.unwrap_or_else(|| beside(&list));
                (list, Kind::List { take: taking.take, prefix })
            }
            (None, Some(stream), Some(group)) => {
                let TakingArgs { start, delete_settled, max_deliveries, .. } = taking;
                (stream, Kind::Stream { group, start, delete_settled, max_deliveries })
            }
            _ => return Err(SettingsError::Nothing),
        };
        if let Some(dead) = taking.dead_letter_key.as_ref().filter(|dead| **dead == key) {
            return Err(SettingsError::DeadLetterToItself(dead.clone()));
        }
        Ok(Settings {
            server: server.server(&key)?,
            kind,
            key,
            source_id,
            consumer: consumer.unwrap_or_else(somebody),
            lease: taking.lease,
            dead_letter_key: taking.dead_letter_key,
            poll,
            message,
            window,
        })
    }
}

impl Settings {
    /// For people: `list videos`.
    pub(crate) fn what(&self) -> String {
        match &self.kind {
            Kind::List { .. } => format!("list {}", self.key),
            Kind::Stream { group, .. } => format!("stream {}, group {group}", self.key),
        }
    }
}

/// What our keys beside a list begin with: in the slot of a cluster where the list is.
fn beside(list: &str) -> String {
    let tagged =
        list.split_once('{').and_then(|(_, rest)| rest.split_once('}')).is_some_and(|(tag, _)| !tag.is_empty());
    if tagged { format!("{list}:longshore") } else { format!("{{{list}}}:longshore") }
}

/// With what names of consumers begin that we make. They end with `-` and 16 digits of base 16, by which `stream/prune.lua` knows them.
pub(crate) const OURS: &str = "longshore-";

/// A consumer that nobody else is.
fn somebody() -> String {
    let host = rustix::system::uname();
    format!("{OURS}{}-{:016x}", host.nodename().to_string_lossy(), fastrand::u64(..))
}

fn key(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("it is empty".to_owned()) } else { Ok(text.to_owned()) }
}

/// Long enough for something to be said in it.
fn lease(text: &str) -> Result<Duration, String> {
    match value::positive_duration(text)? {
        short if short < Duration::from_secs(1) => Err("it is at least 1s".to_owned()),
        lease => Ok(lease),
    }
}

/// As `XGROUP CREATE` takes it.
fn start(text: &str) -> Result<String, String> {
    let number = |text: &str| text.parse::<u64>().is_ok();
    let id = text.split_once('-').map_or_else(|| number(text), |(time, nth)| number(time) && number(nth));
    if text == "$" || id { Ok(text.to_owned()) } else { Err("0, $, or an id such as 1732320000000-0".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_keys_lie_in_the_slot_of_the_list() {
        for (list, ours) in [
            ("videos", "{videos}:longshore"),
            ("a:{videos}:b", "a:{videos}:b:longshore"),
            ("a{}b", "{a{}b}:longshore"),
            ("{open", "{{open}:longshore"),
        ] {
            assert_eq!(beside(list), ours);
        }
    }

    #[test]
    fn a_group_begins_where_xgroup_create_can() {
        for good in ["0", "$", "1732320000000", "1732320000000-0"] {
            assert_eq!(start(good).as_deref(), Ok(good));
        }
        for bad in ["", "-", "1-", "-1", "now", "+", "1-2-3"] {
            assert!(start(bad).is_err(), "{bad}");
        }
    }
}
