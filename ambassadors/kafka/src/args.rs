//! The flags, and what they mean once they are parsed.

use std::time::{Duration, SystemTime};

use ambassador_kit::queue::MessageArgs;
use bytesize::ByteSize;
use clap::Args;
use sidecar::cli::value;

use crate::client::{ClientArgs, Cluster, ClusterError};
use crate::group::{GroupArgs, Membership};

/// Which topic is served, and how.
#[derive(Clone, Debug, Args)]
pub struct TopicArgs {
    /// The topic to serve.
    #[arg(long, value_name = "NAME")]
    topic: String,
    /// What names are derived with, beside the topic's id and the position.
    #[arg(long, value_name = "TEXT", default_value = "")]
    source_id: String,
    /// Where the list begins: `earliest`, `latest`, `committed` (where --group stands), or a time (RFC 3339).
    #[arg(long, value_name = "WHERE", default_value = "earliest", value_parser = start)]
    start: Start,
    /// The consumer group that --mode group is a member of. In log mode that of --start committed; nothing is committed for it then.
    #[arg(long, value_name = "ID")]
    group: Option<String>,
    /// List tombstones too (records without a value, which delete a key in a compacted topic).
    #[arg(long)]
    tombstones: bool,

    #[command(flatten)]
    message: MessageArgs,
    #[command(flatten)]
    taking: GroupArgs,
    #[command(flatten)]
    when: WhenArgs,
    #[command(flatten)]
    client: ClientArgs,
}

/// How the brokers are read, and what is said once they cannot be.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "When the topic is read")]
pub(crate) struct WhenArgs {
    /// How often to ask how far the topic reaches and whether it is still the same.
    #[arg(long, value_parser = value::positive_duration, value_name = "DURATION", default_value = "10s")]
    pub(crate) poll: Duration,
    /// How long the last list still stands once the brokers are lost; an item of it cannot be read meanwhile.
    #[arg(long, value_parser = value::duration, value_name = "DURATION", default_value = "0s")]
    pub(crate) max_stale: Duration,
    /// After how long without progress, with records left to read, the connection is made anew.
    #[arg(long, value_parser = value::positive_duration, value_name = "DURATION", default_value = "1m")]
    pub(crate) stall_after: Duration,
    /// How much memory records that were read ahead of their askers may take.
    #[arg(long, value_name = "SIZE", default_value = "16MiB")]
    pub(crate) read_ahead: ByteSize,
}

/// `--start`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// With the oldest record there is.
    Earliest,
    /// With the first that comes after the start.
    Latest,
    /// Where the group stands.
    Committed,
    /// With the first that is not older.
    Time(SystemTime),
}

/// What the flags come to.
#[derive(Clone, Debug)]
pub struct Settings {
    pub(crate) cluster: Cluster,
    pub(crate) topic: String,
    pub(crate) source_id: String,
    pub(crate) start: Start,
    pub(crate) group: Option<String>,
    /// How to take part in the group; `None` in log mode.
    pub(crate) membership: Option<Membership>,
    pub(crate) tombstones: bool,
    pub(crate) message: MessageArgs,
    pub(crate) when: WhenArgs,
}

/// Why the flags make no sense together.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The brokers cannot be asked in this way.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// What Kafka does not take for a topic's name.
    #[error(
        "--topic {0:?} is no topic's name: 1 to 249 letters, digits, dots, dashes and underscores, and neither . nor .."
    )]
    Topic(String),
    /// A group is needed where there is none.
    #[error("{0} needs --group")]
    NoGroup(&'static str),
    /// A flag that means nothing in log mode.
    #[error("{0} does nothing without --mode group")]
    OnlyInAGroup(&'static str),
    /// Where dead letters cannot go.
    #[error("--dead-letter-topic {0:?} {1}")]
    DeadLetterTopic(String, &'static str),
}

impl TopicArgs {
    /// Checks everything that can be checked without asking the brokers.
    ///
    /// # Errors
    /// [`SettingsError`], naming the flag.
    pub fn settings(self) -> Result<Settings, SettingsError> {
        if !is_topic(&self.topic) {
            return Err(SettingsError::Topic(self.topic));
        }
        if self.group.is_none() && self.start == Start::Committed {
            return Err(SettingsError::NoGroup("--start committed"));
        }
        let membership = self.taking.membership(&self.topic, self.group.as_deref())?;
        Ok(Settings {
            cluster: self.client.cluster()?,
            topic: self.topic,
            source_id: self.source_id,
            start: self.start,
            membership,
            group: self.group,
            tombstones: self.tombstones,
            message: self.message,
            when: self.when,
        })
    }
}

fn start(text: &str) -> Result<Start, String> {
    match text {
        "earliest" => Ok(Start::Earliest),
        "latest" => Ok(Start::Latest),
        "committed" => Ok(Start::Committed),
        time => humantime::parse_rfc3339_weak(time)
            .map(Start::Time)
            .map_err(|_| "earliest, latest, committed, or a time such as 2026-11-22T08:00:00Z".to_owned()),
    }
}

/// Kafka's own rule (`org.apache.kafka.common.internals.Topic`).
pub(crate) fn is_topic(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=249).contains(&name.len()) && !matches!(name, "." | "..") && name.bytes().all(legal)
}
