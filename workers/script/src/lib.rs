#![doc = include_str!("../README.md")]

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use worker_kit::{Command, Context, Job, JobError, WorkerArgs};

const EXAMPLES: &str = "\
Examples:
  Count the faces of every video below /data, once:
    script-worker --output '/results/{key}/' --allow-input /data/ -- ./faces.sh
  A script that Kubernetes mounts from a ConfigMap (defaultMode: 0555):
    script-worker --output '/results/{key}/' --allow-input /data/ --script /scripts/faces.sh
  Objects of one bucket into another, by the credentials that every AWS SDK would find:
    script-worker --output 's3://results/faces/{key}/' --allow-input s3://videos/ -- ./faces.sh
  From a bucket by presigned URLs, without any credentials:
    script-worker --output '/results/{key}/' --allow-input https://videos.s3.eu-west-1.amazonaws.com/ -- ./faces.sh
  See whether everything is in place, and as whom:
    script-worker --check --output 's3://results/faces/{key}/' --allow-input s3://videos/ -- ./faces.sh
";

/// Runs a command over one work item and publishes what it writes, all or nothing.
///
/// The command finds its input in INPUT_FILE (several: in INPUT_DIR), writes to OUTPUT_DIR, may leave a JSON result in
/// RESULT_FILE, and exits with 0 when the item is done.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
struct Args {
    /// An executable file to run, with the words after -- as its arguments.
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// The command and its arguments; no shell reads them.
    #[arg(last = true, required_unless_present = "script", value_name = "COMMAND")]
    command: Vec<OsString>,
    #[command(flatten)]
    worker: WorkerArgs,
}

/// The whole program: one item, from the command line to the exit code.
pub fn main() -> ExitCode {
    worker_kit::main(|args: Args| {
        let mut words = args.command;
        let is_script = args.script.is_some();
        if let Some(script) = args.script {
            // A script beside us is meant, not a program of that name in PATH.
            let script = if script.components().count() == 1 { PathBuf::from(".").join(script) } else { script };
            words.insert(0, script.into());
        }
        (args.worker, Script { words, is_script })
    })
}

/// The command an operator wrote, run as it stands: nothing of the item becomes part of it.
struct Script {
    words: Vec<OsString>,
    is_script: bool,
}

impl Job for Script {
    fn programs(&self) -> Vec<OsString> {
        self.words.first().cloned().into_iter().collect()
    }

    async fn run(self, context: &mut Context) -> Result<(), JobError> {
        let mut words = self.words.into_iter();
        let program = words.next().unwrap_or_default();
        let exit = context.run(Command::new(program).args(words)).await.map_err(|error| {
            if self.is_script && error.code() == contract::exit::NOT_EXECUTABLE {
                error.with_hint("a ConfigMap volume needs defaultMode: 0555")
            } else {
                error
            }
        })?;
        exit.ok()
    }
}
