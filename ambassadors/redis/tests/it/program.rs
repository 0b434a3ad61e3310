//! The program, at a server.

use std::process::Command;

use longshore_tests::Ambassador;

use crate::keys::Keys;

/// The program.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_redis-ambassador");

/// The program, at a server.
pub(crate) fn command(keys: &Keys<'_>, flags: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.env("LONGSHORE_URL", keys.redis.url()).args(["--poll", "50ms"]).args(flags);
    command
}

/// An ambassador of the list.
pub(crate) async fn serving_list(keys: &Keys<'_>, flags: &[&str]) -> Ambassador {
    Ambassador::start(command(keys, &[&["--list", &keys.name], flags].concat())).await
}

/// An ambassador of the stream, in the group `media`.
pub(crate) async fn serving_stream(keys: &Keys<'_>, flags: &[&str]) -> Ambassador {
    Ambassador::start(command(keys, &[&["--stream", &keys.name, "--group", "media"], flags].concat())).await
}
