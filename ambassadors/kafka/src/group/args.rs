//! The flags of group mode.

use std::time::Duration;

use ambassador_kit::{SettleArgs, SettleWhen};
use bytesize::ByteSize;
use clap::{Args, ValueEnum};

use super::window::Bounds;
use crate::args::{SettingsError, is_topic};

/// How records are taken from the topic.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "How records are taken")]
pub(crate) struct GroupArgs {
    /// `log`: every record is an item for as long as the topic keeps it, and nothing is ever settled. `group`: as a member of --group,
    /// which shares the records with its other members, and commits what is settled.
    #[arg(long, value_enum, default_value_t = Mode::Log)]
    mode: Mode,
    /// How many records are taken before some of them are settled.
    #[arg(long, value_name = "COUNT", default_value = "1000", value_parser = clap::value_parser!(u32).range(1..))]
    window: u32,
    /// How many bytes of them; one record more than fits is taken.
    #[arg(long, value_name = "SIZE", default_value = "64MiB")]
    window_bytes: ByteSize,
    /// A name that no other member of the group has, and that stays over restarts: whoever is back in time (`--property
    /// session.timeout.ms=…`) has the partitions of before, and nobody else has to give any away.
    #[arg(long, value_name = "NAME")]
    instance_id: Option<String>,
    /// Where records go that failed for good, or that are no items; with headers that say why. Without it such a record is withheld.
    #[arg(long, value_name = "NAME")]
    dead_letter_topic: Option<String>,
    #[command(flatten)]
    settling: SettleArgs,
}

/// `--mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// All records.
    Log,
    /// Those that the group hands out.
    Group,
}

/// What the flags of group mode come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Membership {
    pub(super) group: String,
    pub(super) bounds: Bounds,
    pub(super) instance_id: Option<String>,
    pub(crate) dead_letter_topic: Option<String>,
    pub(crate) settle: SettleWhen,
    pub(super) window_full_after: Duration,
}

impl GroupArgs {
    /// How to take part in `group`; `None` in log mode.
    ///
    /// # Errors
    /// [`SettingsError`], naming the flag.
    pub(crate) fn membership(self, topic: &str, group: Option<&str>) -> Result<Option<Membership>, SettingsError> {
        if self.mode == Mode::Log {
            let alone = [
                ("--instance-id", self.instance_id.is_some()),
                ("--dead-letter-topic", self.dead_letter_topic.is_some()),
                ("--settle", self.settling.settle != SettleWhen::Manager),
            ];
            return match alone.into_iter().find(|(_, given)| *given) {
                Some((flag, _)) => Err(SettingsError::OnlyInAGroup(flag)),
                None => Ok(None),
            };
        }
        let group = group.filter(|group| !group.is_empty()).ok_or(SettingsError::NoGroup("--mode group"))?;
        if let Some(dead) = &self.dead_letter_topic {
            if !is_topic(dead) {
                return Err(SettingsError::DeadLetterTopic(dead.clone(), "is no topic's name"));
            }
            if dead == topic {
                return Err(SettingsError::DeadLetterTopic(
                    dead.clone(),
                    "is --topic itself: what failed would come again",
                ));
            }
        }
        let bytes = usize::try_from(self.window_bytes.as_u64()).unwrap_or(usize::MAX).max(1);
        Ok(Some(Membership {
            group: group.to_owned(),
            bounds: Bounds { items: usize::try_from(self.window).unwrap_or(usize::MAX), bytes },
            instance_id: self.instance_id,
            dead_letter_topic: self.dead_letter_topic,
            settle: self.settling.settle,
            window_full_after: self.settling.window_full_after,
        }))
    }
}
