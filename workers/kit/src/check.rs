//! `--check`: whether everything an item needs is there.

use std::process::ExitCode;

use contract::exit;
use process::SpawnError;
use sidecar::Failure;
use tracing::{error, info, warn};

use crate::trip::Setup;
use crate::{Job, stores, verdict};

/// Looks at everything, says what it found, and fails with the code of the first thing that is missing.
pub(crate) async fn check<J: Job>(setup: &Setup<'_>, job: Option<&J>) -> Result<ExitCode, Failure> {
    let mut first = None;
    let mut missing = |code: u8, what: String| {
        error!(exit = code, "{what}");
        first.get_or_insert(Failure::new(code, anyhow::anyhow!(what)));
    };
    match stores::identity(setup.args).await {
        Ok(None) => {}
        Ok(Some(who)) => info!(%who, "s3: requests are signed"),
        Err(error) => {
            let error = verdict::storage(error);
            missing(error.code, error.message);
        }
    }
    let mut roots = 0;
    for (uri, inputs) in setup.allowed.roots() {
        roots += 1;
        match inputs.check().await {
            Ok(()) => info!(root = %uri, "inputs can be read"),
            Err(error) => {
                let error = verdict::storage(error);
                missing(error.code, error.message);
            }
        }
    }
    if roots == 0 {
        warn!("no --allow-input: only items without an input can be done");
    }
    match setup.outputs.check().await {
        Ok(notes) => {
            info!(root = %setup.args.output.root, "output can be written");
            notes.iter().for_each(|note| warn!("{note}"));
        }
        Err(error) => {
            let error = verdict::storage(error);
            missing(error.code, error.message);
        }
    }
    let path = setup.environment.iter().find(|(name, _)| *name == "PATH").map(|(_, path)| path);
    for program in job.map(Job::programs).unwrap_or_default() {
        match process::find(&program, path) {
            Ok(found) => info!(program = %found.display(), "program can be executed"),
            Err(error @ SpawnError::NotFound { .. }) => missing(exit::NOT_FOUND, error.to_string()),
            Err(error) => missing(exit::NOT_EXECUTABLE, error.to_string()),
        }
    }
    if let Some(job) = job {
        job.check().await.into_iter().for_each(|error| missing(error.code, error.message));
    }
    first.map_or(Ok(ExitCode::SUCCESS), Err)
}
