//! The program, for a queue.

use std::process::Command;

use longshore_tests::Ambassador;

use crate::queue::Queue;

/// The program.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_rabbitmq-ambassador");

/// The program, for a queue; patient, unless a flag says otherwise: whatever stands still here, the broker is not lost.
pub(crate) fn command(queue: &Queue<'_>, flags: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.env("LONGSHORE_URL", queue.rabbit.url()).env("LONGSHORE_HEARTBEAT", "2m");
    command.args(["--queue", &queue.name, "--poll", "100ms"]).args(flags);
    command
}

/// An ambassador of this queue.
pub(crate) async fn serving(queue: &Queue<'_>, flags: &[&str]) -> Ambassador {
    Ambassador::start(command(queue, flags)).await
}
