//! How an attempt ended, in one word and one line.

use process::{Exit, Kept, SpawnError};
use sidecar::chain;

use super::Cause;
use super::handover::Refusal;
use crate::files::next_step;
use crate::protocol::{Ended, Reason};

const SIGKILL: i32 = 9;

/// A command that could not be started.
pub(super) fn unspawned(error: &SpawnError) -> Ended {
    let reason = match error {
        SpawnError::NotFound { .. } => Reason::CommandNotFound,
        SpawnError::NotExecutable { .. } | SpawnError::Directory { .. } | SpawnError::Arguments { .. } => {
            Reason::CommandNotExecutable
        }
        SpawnError::Exhausted { .. } | SpawnError::Other { .. } => Reason::MachineError,
    };
    Ended::without_command(reason, chain(error))
}

/// A command that ran: `cause` is why it was stopped, if it was; `kills` how often the kernel had killed for want of memory
/// before and after.
pub(super) fn of(ended: &process::Ended, cause: Option<Cause>, kills: [Option<u64>; 2]) -> Ended {
    let (exit_code, signal) = match ended.exit {
        Exit::Code(code) => (Some(code), None),
        Exit::Signal(signal) => (None, Some(signal)),
    };
    let killed = matches!(kills, [Some(before), Some(after)] if after > before);
    let (reason, message) = match cause {
        Some(cause) => stopped(cause),
        None => by_itself(ended.exit, killed),
    };
    let mut all = Ended::without_command(reason, message);
    (all.exit_code, all.signal, all.peak_memory) = (exit_code, signal, ended.peak_memory);
    (all.stdout_tail, all.stderr_tail) = (tail(&ended.stdout), tail(&ended.stderr));
    if !ended.survivors.is_empty() {
        let pids = &ended.survivors;
        let hang = format!("processes of the command hang in the kernel and may still write: {pids:?}");
        if all.reason == Reason::Completed {
            (all.reason, all.message) = (Reason::MachineError, hang);
        } else {
            all.message = format!("{}; {hang}", all.message);
        }
    }
    all
}

fn stopped(cause: Cause) -> (Reason, String) {
    match cause {
        Cause::Timeout(limit) => {
            (Reason::Timeout, format!("the command ran longer than its timeout of {limit:?} and was stopped"))
        }
        Cause::Cancelled => (Reason::Cancelled, "the command was told to stop".into()),
        Cause::Machine(message) => (Reason::MachineError, message),
    }
}

fn by_itself(exit: Exit, killed_for_memory: bool) -> (Reason, String) {
    let memory = "the kernel killed it for want of memory: raise resources.limits.memory of the stage's container";
    match exit {
        Exit::Code(0) => (Reason::Completed, "the command exited with 0".into()),
        Exit::Signal(SIGKILL) if killed_for_memory => (Reason::OomKilled, memory.into()),
        // A shell says so of a command of its own.
        Exit::Code(137) if killed_for_memory => {
            (Reason::OomKilled, format!("the command exited with 137 when a process of it was killed: {memory}"))
        }
        Exit::Code(code) if killed_for_memory => (
            Reason::Error,
            format!(
                "the command exited with {code}; meanwhile the kernel killed a process of this container for want of memory"
            ),
        ),
        Exit::Code(code) => (Reason::Error, format!("the command exited with {code}")),
        Exit::Signal(signal) => {
            (Reason::Killed, format!("the command was killed by signal {signal}, which nobody here sent"))
        }
    }
}

/// What a command wrote cannot be handed over, although it succeeded.
pub(super) fn refuse(ended: &mut Ended, refusal: &Refusal) {
    (ended.reason, ended.message) = match refusal {
        Refusal::Unusable { .. } => (Reason::OutputUnusable, refusal.to_string()),
        Refusal::Machine { source, .. } => (Reason::MachineError, format!("{refusal}{}", next_step(source))),
    };
}

/// The end of an output as text, from the beginning of a line where it was cut.
fn tail(kept: &Kept) -> String {
    let text = String::from_utf8_lossy(&kept.bytes);
    match text.split_once('\n') {
        Some((_, whole)) if !kept.is_whole() => whole.to_owned(),
        _ => text.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(exit: Exit) -> process::Ended {
        let nothing = Kept::default;
        process::Ended {
            exit,
            stdout: nothing(),
            stderr: nothing(),
            leftovers: 0,
            survivors: Vec::new(),
            alone: true,
            peak_memory: None,
        }
    }

    #[test]
    fn only_what_was_killed_while_the_kernel_killed_is_out_of_memory() {
        let reason = |exit, cause, kills| of(&ended(exit), cause, kills).reason;
        let (grew, same) = ([Some(1), Some(2)], [Some(2), Some(2)]);
        assert_eq!(reason(Exit::Signal(9), None, grew), Reason::OomKilled);
        assert_eq!(reason(Exit::Code(137), None, grew), Reason::OomKilled);
        assert_eq!(reason(Exit::Signal(9), None, same), Reason::Killed);
        assert_eq!(reason(Exit::Signal(9), None, [None, Some(1)]), Reason::Killed);
        assert_eq!(reason(Exit::Signal(9), Some(Cause::Cancelled), grew), Reason::Cancelled);
        assert_eq!(reason(Exit::Code(0), None, grew), Reason::Completed);
        assert_eq!(reason(Exit::Code(137), None, same), Reason::Error);
        let other = of(&ended(Exit::Code(1)), None, grew);
        assert!(other.reason == Reason::Error && other.message.contains("memory"), "{other:?}");
    }

    #[test]
    fn what_may_still_write_is_not_handed_over() {
        let mut ended = ended(Exit::Code(0));
        ended.survivors = vec![7];
        assert_eq!(of(&ended, None, [None, None]).reason, Reason::MachineError);
    }
}
