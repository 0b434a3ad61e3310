//! `--check`: whether everything an item needs is there.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use contract::exit;
use rustix::fs::{Access, access};
use sidecar::Failure;
use tracing::{error, info, warn};

use crate::trip::Setup;
use crate::verdict;

/// Looks at everything, says what it found, and fails with the code of the first thing that is missing.
pub(crate) async fn check(setup: &Setup<'_>, programs: Vec<OsString>) -> Result<ExitCode, Failure> {
    let mut first = None;
    let mut missing = |code: u8, what: String| {
        error!(exit = code, "{what}");
        first.get_or_insert(Failure::new(code, anyhow::anyhow!(what)));
    };
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
    let path = setup.environment.iter().find(|(name, _)| *name == "PATH").map(|(_, path)| path.as_os_str());
    for program in programs {
        match find(&program, path) {
            Ok(found) => info!(program = %found.display(), "program can be executed"),
            Err((code, why)) => missing(code, why),
        }
    }
    first.map_or(Ok(ExitCode::SUCCESS), Err)
}

fn find(program: &OsStr, path: Option<&OsStr>) -> Result<PathBuf, (u8, String)> {
    let candidates: Vec<PathBuf> = if program.as_bytes().contains(&b'/') {
        vec![program.into()]
    } else {
        std::env::split_paths(path.unwrap_or_default()).map(|dir| dir.join(program)).collect()
    };
    let is_file = |path: &&PathBuf| Path::is_file(path);
    match candidates.iter().filter(is_file).find(|path| access(path.as_path(), Access::EXEC_OK).is_ok()) {
        Some(found) => Ok(found.clone()),
        None if candidates.iter().any(|path| path.is_file()) => {
            Err((exit::NOT_EXECUTABLE, format!("{} is not executable: chmod +x", program.display())))
        }
        None => Err((exit::NOT_FOUND, format!("{} is not found", program.display()))),
    }
}
