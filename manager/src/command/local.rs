//! `local`: child processes of this machine.

use std::collections::HashSet;
use std::ffi::OsString;
use std::process::ExitCode;

use contract::exit;
use process::SpawnError;
use sidecar::metrics::registry::Registry;
use sidecar::{Failure, FailureExt, Health, Shutdown};
use tracing::info;

use super::failed;
use crate::args::{LocalArgs, ManagerArgs};
use crate::clock::Clock;
use crate::executor::local::{LocalConfig, LocalExecutor};
use crate::ledger::{SqliteLedger, StateDir};
use crate::metrics::Meters;
use crate::progress::Progress;
use crate::run::{self, Parts};
use crate::source::HttpSource;

pub(super) async fn run(args: LocalArgs, shutdown: Shutdown) -> Result<ExitCode, Failure> {
    let settings = args.settings();
    can_run(&args.command)?;
    let state = StateDir::open(&args.place.directory()?).map_err(failed)?;
    let _lock = state.lock().map_err(failed)?;
    let ledger = SqliteLedger::open(&state, args.place.queue.as_str(), args.source.revision).map_err(failed)?;
    let probes = args.probes.bind().await?;
    info!(state = %state.path().display(), queue = args.place.queue.as_str(), "ledger open");

    let executor = LocalExecutor::open(LocalConfig {
        state: state.path().to_owned(),
        command: args.command.clone(),
        environment: std::env::vars_os().collect(),
        withheld: own_variables(),
        keep_logs: args.run.keep_logs,
    })
    .await
    .or_exit(74, format!("take over the attempts in {}", state.path().display()))?;
    let known: HashSet<_> = ledger.open_attempts().await.map_err(failed)?.into_iter().collect();
    executor.sweep(|id| known.contains(id)).await.or_exit(74, "clear away attempts that nobody knows")?;

    let mut registry = Registry::default();
    let health = Health::default();
    let meters = Meters::new(&mut registry);
    probes.serve(health.clone(), registry, shutdown.clone());
    let parts = Parts {
        source: HttpSource::new(args.source.endpoint(), args.source.limits()),
        executor,
        ledger,
        clock: Clock::system(),
        random: fastrand::Rng::new(),
        health,
        meters,
        progress: Progress::on_stderr(),
        shutdown,
    };
    let ending = run::run(parts, settings).await.map_err(|error| Failure::new(error.exit_code(), error))?;
    let summary = ending.summary();
    info!(done = summary.done, failed = summary.dead, failed_before = summary.dead_before, skipped = summary.skipped,
          took = ?summary.took, "{}", ending);
    Ok(ExitCode::from(ending.exit_code()))
}

/// A command that cannot run is found out before it has cost the first items their lives.
fn can_run(command: &[OsString]) -> Result<(), Failure> {
    let Some(program) = command.first() else { return Ok(()) };
    let path = std::env::vars_os().find(|(name, _)| name == "PATH").map(|(_, path)| path);
    match process::find(program, path.as_ref()) {
        Ok(_) => Ok(()),
        Err(error) => {
            let code =
                if matches!(error, SpawnError::NotFound { .. }) { exit::NOT_FOUND } else { exit::NOT_EXECUTABLE };
            Err(Failure::new(code, anyhow::Error::from(error).context("the worker cannot run")))
        }
    }
}

/// The flags of this command are not its workers'. What other commands call by the same name may well be a worker's
/// (`LONGSHORE_OUTPUT`), and what the ecosystem names (`RUST_LOG`) is meant for both.
fn own_variables() -> Vec<OsString> {
    let program = sidecar::cli::command::<ManagerArgs>();
    let flags =
        program.get_arguments().chain(program.find_subcommand("local").into_iter().flat_map(|c| c.get_arguments()));
    let names = flags.filter_map(|flag| flag.get_env().map(ToOwned::to_owned));
    names.filter(|name| name.to_str().is_some_and(|name| name.starts_with("LONGSHORE_"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_inherit_what_is_meant_for_them() {
        let own = own_variables();
        for name in
            ["LONGSHORE_SOURCE", "LONGSHORE_POLL", "LONGSHORE_LOG_FORMAT", "LONGSHORE_GRACE", "LONGSHORE_REVISION"]
        {
            assert!(own.contains(&name.into()), "{name} is the manager's");
        }
        for name in ["RUST_LOG", "LONGSHORE_OUTPUT", "LONGSHORE_TIMEOUT", "LONGSHORE_DONE"] {
            assert!(!own.contains(&name.into()), "{name} may be the worker's");
        }
    }
}
