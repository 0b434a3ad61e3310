//! A worker's whole life, from the command line to the exit code.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ArgMatches, Parser};
use contract::{Report, exit};
use sidecar::{Failure, Shutdown};
use storage::Stores;
use tracing::info;

use crate::account::{Account, End, deliver};
use crate::environment::Environment;
use crate::trip::{self, Setup};
use crate::{Job, JobError, WorkerArgs, check, verdict};

/// Runs a worker's whole life: parses `A`, splits it into the shared flags and the job, does one item, reports, exits.
pub fn main<A: Parser, J: Job>(split: impl FnOnce(A) -> (WorkerArgs, J)) -> ExitCode {
    let run = |args| {
        let (args, job) = split(args);
        let ours = sidecar::cli::variables::<A>();
        let environment = Environment::new(std::env::vars_os(), &ours, &args.env_deny);
        args.process.clone().run_single(|shutdown| live(args, job, environment, shutdown))
    };
    sidecar::cli::main_or(run, misused)
}

async fn live<J: Job>(
    args: WorkerArgs,
    job: J,
    environment: Environment,
    shutdown: Shutdown,
) -> Result<ExitCode, Failure> {
    let stores = Stores::default();
    let setup = stores.allow(&args.allow_input).and_then(|allowed| {
        let outputs = stores.outputs(&args.output.root)?;
        Ok(Setup { args: &args, allowed, outputs, environment, shutdown: shutdown.clone() })
    });
    let setup = setup.map_err(verdict::storage);
    if args.check {
        return check::check(&setup.map_err(failure)?, job.programs()).await;
    }
    let mut account = Account::new(args.attempt_id.clone().unwrap_or_else(nonce), args.revision);
    let end = match setup {
        Err(error) => Err(error),
        Ok(setup) => tokio::select! {
            end = trip::run(&setup, job, &mut account) => end,
            error = trip::abandoned(&shutdown) => Err(error),
        },
    };
    let report = account.close(&end);
    deliver(&report, args.report.as_deref(), &args.termination_log);
    tell(&report);
    end.map(|_: End| ExitCode::SUCCESS).map_err(failure)
}

fn tell(report: &Report) {
    let elapsed = report.ended_at.0.duration_since(report.started_at.0).unwrap_or_default();
    info!(
        item = report.item.as_ref().map(ToString::to_string),
        outcome = ?report.outcome,
        reason = report.reason,
        exit = report.exit_code,
        ?elapsed,
        "item over"
    );
}

fn failure(error: JobError) -> Failure {
    Failure::new(error.code, anyhow::Error::from(error))
}

/// An account also of a command line that could not be used: what it says of where accounts go is believed.
fn misused(why: &clap::Error, matches: Option<&ArgMatches>) {
    let of = |name| matches.and_then(|matches| find(matches, name));
    let message = why.to_string().lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    let error = JobError::new(exit::USAGE, "Usage", message);
    let report = Account::new(nonce(), 0).close(&Err(error));
    let termination_log = of("termination_log").unwrap_or_else(|| Path::new("/dev/termination-log").to_owned());
    deliver(&report, of("report").as_deref(), &termination_log);
}

fn find(matches: &ArgMatches, name: &str) -> Option<PathBuf> {
    match matches.try_get_one::<PathBuf>(name) {
        Ok(Some(path)) => Some(path.clone()),
        Ok(None) | Err(_) => matches.subcommand().and_then(|(_, matches)| find(matches, name)),
    }
}

fn nonce() -> String {
    std::iter::repeat_with(|| fastrand::char('a'..='z')).take(16).collect()
}
