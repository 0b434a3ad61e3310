#![doc = include_str!("../README.md")]

mod attempt;
mod orders;
mod shim;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use sidecar::{ProcessArgs, cli, fault};
use stage::run::OomCounter;
use stage::{Root, StageName};

use self::shim::Settings;

const EXAMPLES: &str = "\
Examples:
  As the command of a stage's container, in a pod that `multi-worker render` has written:
    /longshore/bin/stage-shim --stage detect -- detect --in '$(INPUT_FILE)' --out '$(OUTPUT_DIR)'
  Put where an image that does not hold it can run it (an init container does that):
    stage-shim install /longshore/bin
  In a sandbox whose containers do not see each other's locks:
    /longshore/bin/stage-shim --stage detect --no-lock -- detect
";

/// Runs a command as a stage of a pipeline: once for each time that the multi-worker asks for it, and never unasked.
///
/// The command finds its input in INPUT_FILE or INPUT_DIR, writes to OUTPUT_DIR, and exits with 0 when it is done. In its words
/// $(NAME) stands for such a variable, so that no shell is needed.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
struct Args {
    /// Which stage of the pipeline this container is.
    #[arg(long, value_name = "NAME")]
    stage: StageName,
    /// The directory tree that the multi-worker and the stages share, at the same path in every container.
    #[arg(long, value_name = "DIR", default_value = Root::DEFAULT, value_parser = absolute)]
    root: PathBuf,
    /// Use a heartbeat instead of file locks to say that this stage lives: its death is then known after 10 s, not at once.
    #[arg(long)]
    no_lock: bool,
    /// The file in which the kernel counts whom it killed for want of memory (memory.events, or memory.oom_control of cgroup
    /// v1); found by itself where it is at its usual place.
    #[arg(long, value_name = "FILE")]
    oom_counter: Option<PathBuf>,
    #[command(flatten)]
    process: ProcessArgs,
    /// The command and its arguments; no shell reads them.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// The whole program.
pub fn main() -> ExitCode {
    cli::main(|args: Args| {
        let root = Root::new(args.root);
        let settings = Settings {
            dir: root.stage(&args.stage),
            stage: args.stage,
            adapter: root.adapter(),
            locks: !args.no_lock,
            command: args.command,
            inherited: inherited(std::env::vars_os(), &cli::variables::<Args>()),
            oom: args.oom_counter.map_or_else(OomCounter::find, OomCounter::at),
        };
        args.process.run_single(async |shutdown| shim::live(settings, shutdown).await)
    })
}

fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_absolute() { Ok(path) } else { Err("it must be absolute, and the same in every container".into()) }
}

/// What the command inherits: the container's variables, less our own settings. What the ecosystem named, as RUST_LOG, is not
/// ours to take away.
fn inherited(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    ours: &[OsString],
) -> BTreeMap<OsString, OsString> {
    let is_ours = |name: &OsStr| {
        name.as_bytes().starts_with(b"LONGSHORE_") && (ours.iter().any(|own| own == name) || fault::is_variable(name))
    };
    variables.into_iter().filter(|(name, _)| !is_ours(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_holds_together() {
        cli::command::<Args>().debug_assert();
    }

    #[test]
    fn our_settings_are_not_the_commands() {
        let variables = ["PATH", "RUST_LOG", "LONGSHORE_STAGE", "LONGSHORE_FAULT", "LONGSHORE_OTHER"];
        let variables = variables.map(|name| (OsString::from(name), OsString::from("x")));
        let kept: Vec<_> = inherited(variables, &cli::variables::<Args>()).into_keys().collect();
        assert_eq!(kept, ["LONGSHORE_OTHER", "PATH", "RUST_LOG"]);
    }
}
