//! The program, for a topic: reading its log, or as a member of a group.

use std::process::Command;

use longshore_tests::Ambassador;

use crate::topic::{QUICK, Topic};

const PROGRAM: &str = env!("CARGO_BIN_EXE_kafka-ambassador");

/// The program, for a topic.
pub(crate) fn command(topic: &Topic<'_>, flags: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["--brokers", &topic.brokers(), "--topic", &topic.name]).args(flags);
    command
}

/// An ambassador of the topic's log.
pub(crate) async fn serving(topic: &Topic<'_>, flags: &[&str]) -> Ambassador {
    Ambassador::start(command(topic, flags)).await
}

/// A group that nobody else is in.
pub(crate) fn group() -> String {
    format!("group-{:016x}", fastrand::u64(..))
}

/// The program, as a member of a group.
pub(crate) fn in_group(topic: &Topic<'_>, group: &str, flags: &[&str]) -> Command {
    let mut command = command(topic, &QUICK);
    command.args(["--mode", "group", "--group", group]).args(flags);
    command
}

/// An ambassador that is a member of a group; whether it is in it yet, nobody says.
pub(crate) async fn serving_in(topic: &Topic<'_>, group: &str, flags: &[&str]) -> Ambassador {
    Ambassador::start(in_group(topic, group, flags)).await
}
