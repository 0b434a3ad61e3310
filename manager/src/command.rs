//! The commands, each in a file of its own.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;
use sidecar::{Failure, ProcessArgs, Shutdown};

use crate::args::{Command, ManagerArgs, PlaceArgs};
use crate::ledger::{LedgerError, SqliteLedger, StateDir};

mod ledger;
mod local;
mod plan;
mod print;

/// Does what the command line asks for.
pub fn run(args: ManagerArgs) -> ExitCode {
    let ManagerArgs { process, command } = args;
    match command {
        // On one thread, since deciding is little work and waking others is more; what blocks is done on others.
        Command::Local(args) => process.run_single(|shutdown| local::run(*args, shutdown)),
        Command::Plan(args) => look(process, plan::run(*args)),
        Command::Pause(place) => look(process, pause(place, true)),
        Command::Resume(place) => look(process, pause(place, false)),
        Command::Ledger(args) => look(process, ledger::run(args.command)),
    }
}

/// Runs a command whose user waits for what it prints.
fn look(process: ProcessArgs, command: impl Future<Output = Result<ExitCode, Failure>>) -> ExitCode {
    process.unannounced().run_single(|shutdown| unless_aborted(command, shutdown))
}

/// What a shell says of a program that SIGPIPE has ended, as it ends others whose reader has gone.
const CLOSED_PIPE: u8 = 128 + 13;

/// A command that only looks ends at the first signal, and quietly when nobody reads on.
async fn unless_aborted(
    command: impl Future<Output = Result<ExitCode, Failure>>,
    shutdown: Shutdown,
) -> Result<ExitCode, Failure> {
    tokio::select! {
        result = command => match result {
            Err(failure) if failure.is_closed_pipe() => Ok(ExitCode::from(CLOSED_PIPE)),
            result => result,
        },
        () = shutdown.draining() => Err(Failure::new(75, anyhow!("told to end before it was done"))),
    }
}

async fn pause(place: PlaceArgs, paused: bool) -> Result<ExitCode, Failure> {
    let state = StateDir::open(&place.directory()?).map_err(failed)?;
    let ledger = SqliteLedger::open(&state, place.queue.as_str(), 0).map_err(failed)?;
    ledger.pause(paused).await.map_err(failed)?;
    print::line(format_args!("queue/{} {}", place.queue.as_str(), if paused { "paused" } else { "resumed" }))?;
    Ok(ExitCode::SUCCESS)
}

impl PlaceArgs {
    /// Where the state lies: as given, or where the XDG base directory specification has it.
    ///
    /// # Errors
    /// When there is neither a flag nor a home.
    fn directory(&self) -> Result<PathBuf, Failure> {
        if let Some(state) = &self.state {
            return Ok(state.clone());
        }
        let variable = |wanted: &str| {
            let found = std::env::vars_os().find(|(name, _)| name == wanted)?;
            Some(PathBuf::from(found.1)).filter(|path| path.is_absolute())
        };
        let base = variable("XDG_STATE_HOME").or_else(|| Some(variable("HOME")?.join(".local/state")));
        match base {
            Some(base) => Ok(base.join("longshore").join(self.queue.as_str())),
            None => Err(Failure::config(anyhow!(
                "neither XDG_STATE_HOME nor HOME is set: say with --state where the ledger is"
            ))),
        }
    }
}

fn failed(error: LedgerError) -> Failure {
    Failure::new(error.exit_code(), error)
}
