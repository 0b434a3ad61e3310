//! A worker's whole life, from the command line to the exit code.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use contract::{Report, exit};
use sidecar::cli::Said;
use sidecar::{Failure, Shutdown};
use tracing::info;

use crate::account::{Account, End, deliver};
use crate::args::{self, TERMINATION_LOG};
use crate::environment::Environment;
use crate::leavings::Leavings;
use crate::record::record;
use crate::trip::{self, Setup};
use crate::{Job, JobError, Relay, WorkerArgs, check, stores, verdict};

/// What a command line asks a worker's program for.
pub enum Asked<J> {
    /// To do one item.
    Item(Box<WorkerArgs>, J),
    /// To get an item's inputs, for other processes.
    Fetch(Box<WorkerArgs>, Relay),
    /// Something that needs none, done at once.
    Errand(Box<dyn FnOnce() -> ExitCode>),
}

impl<J> fmt::Debug for Asked<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Item(..) => "Item",
            Self::Fetch(..) => "Fetch",
            Self::Errand(_) => "Errand",
        })
    }
}

/// Runs a worker's whole life: parses `A`, splits it into the shared flags and the job, does one item, reports, exits.
pub fn main<A: Parser, J: Job>(split: impl FnOnce(A) -> (WorkerArgs, J)) -> ExitCode {
    main_or_errand(|args| {
        let (args, job) = split(args);
        Asked::Item(Box::new(args), job)
    })
}

/// As [`main()`], for a program that has commands which do no item.
pub fn main_or_errand<A: Parser, J: Job>(asked: impl FnOnce(A) -> Asked<J>) -> ExitCode {
    let run = |args| {
        let (args, what) = match asked(args) {
            Asked::Item(args, job) => (*args, What::Item(job)),
            Asked::Fetch(args, relay) => (*args, What::Fetch(relay)),
            Asked::Errand(errand) => return errand(),
        };
        let ours = sidecar::cli::variables::<A>();
        let environment = Environment::new(std::env::vars_os(), &ours, &args.env_deny);
        let (attempt, revision) = (args.attempt_id.clone(), args.revision);
        let (report, termination_log) = (args.report.clone(), args.termination_log.clone());
        let tell = |error| {
            let account = Account::new(attempt.clone().unwrap_or_else(nonce), revision);
            deliver(&account.close(&Err(error)), report.as_deref(), &termination_log);
        };
        let unbegun = |failure: &Failure| tell(JobError::new(failure.code(), "Unbegun", failure.to_string()));
        let live = || args.process.clone().run_single_or(|shutdown| live(args, what, environment, shutdown), unbegun);
        guarded(live, tell)
    };
    sidecar::cli::main_or(run, misused)
}

/// What is done with an item.
enum What<J> {
    Item(J),
    Fetch(Relay),
}

/// A defect of ours is to be told of too, and has an exit code. The panic's own message has been printed by then.
fn guarded(live: impl FnOnce() -> ExitCode, tell: impl FnOnce(JobError)) -> ExitCode {
    catch_unwind(AssertUnwindSafe(live)).unwrap_or_else(|panic| {
        let what = panic.downcast_ref::<&str>().map(ToString::to_string);
        let what = what.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        tell(JobError::new(exit::BUG, "Bug", format!("a defect of this worker, please report it: {what}")));
        ExitCode::from(exit::BUG)
    })
}

async fn live<J: Job>(
    args: WorkerArgs,
    what: What<J>,
    environment: Environment,
    shutdown: Shutdown,
) -> Result<ExitCode, Failure> {
    let setup = stores::open(&args).map(|(allowed, outputs)| Setup {
        args: &args,
        allowed,
        outputs,
        environment,
        shutdown: shutdown.clone(),
    });
    if args.check {
        let job = if let What::Item(job) = &what { Some(job) } else { None };
        return check::check(&setup.map_err(failure)?, job).await;
    }
    let job = match what {
        What::Item(job) => job,
        What::Fetch(relay) => return fetch(&args, setup, &relay, &shutdown).await,
    };
    let mut account = Account::new(args.attempt_id.clone().unwrap_or_else(nonce), args.revision);
    let mut leavings = Leavings::default();
    let (end, outputs) = match setup {
        Err(error) => (Err(error), None),
        Ok(setup) => {
            let end = tokio::select! {
                end = trip::run(&setup, job, &mut account, &mut leavings) => end,
                error = trip::abandoned(&shutdown) => Err(error),
            };
            (end, Some(setup.outputs))
        }
    };
    // What lies below another item's place is none of our business.
    let claim = account.claim.take().filter(
        |_| matches!(&end, Err(error) if !matches!(error.reason, verdict::OUTPUT_TAKEN | verdict::MARKER_UNREADABLE)),
    );
    let span = account.span();
    let report = account.close(&end);
    deliver(&report, args.report.as_deref(), &args.termination_log);
    if let Some(outputs) = outputs {
        let recorded = async {
            if let Some(claim) = claim {
                record(outputs.as_ref(), &claim, &report, &shutdown).await;
            }
        };
        tokio::join!(recorded, leavings.remove(&shutdown));
        let _ = tokio::time::timeout(trip::LAST, outputs.idle()).await;
    }
    span.in_scope(|| tell(&report));
    end.map(|_: End| ExitCode::SUCCESS).map_err(failure)
}

/// Only what went wrong has an account: how the item ended, others will say.
async fn fetch(
    args: &WorkerArgs,
    setup: Result<Setup<'_>, JobError>,
    relay: &Relay,
    shutdown: &Shutdown,
) -> Result<ExitCode, Failure> {
    let mut account = Account::new(args.attempt_id.clone().unwrap_or_else(nonce), args.revision);
    let fetched = match &setup {
        Err(error) => Err(error.clone()),
        Ok(setup) => tokio::select! {
            fetched = trip::fetch(setup, relay, &mut account) => fetched,
            error = trip::abandoned(shutdown) => Err(error),
        },
    };
    let Err(error) = fetched else { return Ok(ExitCode::SUCCESS) };
    let claim = account.claim.take();
    let end = Err(error);
    let span = account.span();
    let report = account.close(&end);
    deliver(&report, args.report.as_deref(), &args.termination_log);
    if let (Ok(setup), Some(claim)) = (&setup, claim) {
        record(setup.outputs.as_ref(), &claim, &report, shutdown).await;
    }
    span.in_scope(|| tell(&report));
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

/// An account also of a command line that could not be used: what it says of whose attempt this is and where accounts go
/// is believed, since whoever started it reads no other's.
fn misused(why: &clap::Error, said: &Said) {
    let text = |long| said.value(long).and_then(|value| value.into_string().ok());
    let why = why.to_string();
    let message = why.lines().map(str::trim).take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    let message = message.trim_start_matches("error: ");
    let revision = text("revision").and_then(|revision| revision.parse().ok()).unwrap_or_default();
    let attempt = text("attempt-id").and_then(|id| args::nonce(&id).ok());
    let mut account = Account::new(attempt.unwrap_or_else(nonce), revision);
    account.item = text("work-item-name").and_then(|name| name.parse().ok());
    let report = account.close(&Err(JobError::new(exit::USAGE, "Usage", message)));
    let path = |long| said.value(long).map(PathBuf::from);
    let termination_log = path("termination-log").unwrap_or_else(|| TERMINATION_LOG.into());
    deliver(&report, path("report").as_deref(), &termination_log);
}

fn nonce() -> String {
    std::iter::repeat_with(|| fastrand::char('a'..='z')).take(16).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_defect_is_70_and_is_told_of() {
        let mut told = None;
        let code = guarded(|| panic!("an index {}", 7), |error| told = Some(error));
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(exit::BUG)));
        let told = told.expect("told");
        assert!(told.code == exit::BUG && told.message.contains("an index 7"), "{told:?}");
    }
}
