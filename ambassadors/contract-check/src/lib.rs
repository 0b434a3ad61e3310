#![doc = include_str!("../README.md")]

mod remote;
mod report;
mod target;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use ambassador_kit::conformance::{NoAnswer, Outcome, PROMISES, Plan, Promise, Suite};
use clap::Parser;
use clap::builder::PossibleValuesParser;
use sidecar::cli::value;
use sidecar::{Failure, FailureExt, ProcessArgs, Secret, Shutdown};

pub use self::remote::Remote;
use self::report::{Report, Table};
pub use self::target::{InvalidTarget, Target};

/// Asks a source for every promise of docs/contract.md: pass, fail or not offered. Exit 0 when none is broken, 1 when one is, 64 for
/// wrong usage, 69 when nothing answers. Writes nothing unless told --settle.
#[derive(Debug, Parser)]
#[command(name = "contract-check", version, max_term_width = 120, after_help = EXAMPLES)]
pub struct Args {
    /// The source: http://HOST:PORT, with a path where it is behind one, or unix:/PATH/OF/SOCKET.
    #[arg(value_name = "URL", required_unless_present = "list")]
    target: Option<Target>,
    /// One JSON document on stdout instead of a table.
    #[arg(long)]
    json: bool,
    /// Settle too: the first five items that are listed, and names that nobody lists. Without it only GET, HEAD and a method that
    /// does not exist are sent.
    #[arg(long)]
    settle: bool,
    /// The file of the token that the source wants; that it refuses others is then asked too.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// How long any one answer may take; a promise may take ten of these. A silent watch is listened to for 20 s in any case.
    #[arg(long, value_parser = patience, default_value = "30s", value_name = "DURATION")]
    timeout: Duration,
    /// Ask for this promise only; may be repeated, or a list with commas.
    #[arg(long, value_name = "NAME", value_delimiter = ',', hide_possible_values = true,
          value_parser = PossibleValuesParser::new(PROMISES.iter().map(|promise| promise.name)))]
    only: Vec<String>,
    /// Say what is asked, and ask nothing.
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    process: ProcessArgs,
}

const EXAMPLES: &str = "\
Examples:
  contract-check http://127.0.0.1:8080
  contract-check http://127.0.0.1:8080 --settle        settles the first five items!
  contract-check unix:/run/longshore/items.sock --json | jq '.promises[] | select(.outcome == \"fail\")'
  contract-check http://source:8080 --token-file token --only auth,list
  contract-check --list";

/// What a shell says of a program that SIGPIPE has ended, as it ends others whose reader has gone.
const CLOSED_PIPE: u8 = 128 + 13;

/// As every duration, up to a day: nobody waits longer for one answer.
fn patience(text: &str) -> Result<Duration, String> {
    match value::positive_duration(text)? {
        long if long > Duration::from_secs(86_400) => Err("it may be 1day at most".into()),
        patience => Ok(patience),
    }
}

/// Runs the program to its end.
pub fn run(args: Args) -> ExitCode {
    let process = args.process.clone().unannounced();
    process.run_single(async |shutdown: Shutdown| {
        let ended = tokio::select! {
            ended = check(args) => ended,
            () = shutdown.draining() => Err(Failure::unavailable(anyhow::anyhow!("told to end before every promise was asked"))),
        };
        match ended {
            Err(failure) if failure.is_closed_pipe() => Ok(ExitCode::from(CLOSED_PIPE)),
            ended => ended,
        }
    })
}

async fn check(args: Args) -> Result<ExitCode, Failure> {
    let wanted = |promise: &&Promise| args.only.is_empty() || args.only.iter().any(|name| name == promise.name);
    let promises: Vec<&Promise> = PROMISES.iter().filter(wanted).collect();
    let (Some(target), false) = (&args.target, args.list) else {
        report::list(&promises, args.json)?;
        return Ok(ExitCode::SUCCESS);
    };
    let token = args.token_file.as_deref().map(Secret::read).transpose();
    let named = args.token_file.as_deref().unwrap_or_else(|| "".as_ref()).display().to_string();
    let token = token.or_exit(64, format!("read the token of --token-file {named}"))?;
    let plan = Plan { settle: args.settle, deadline: args.timeout, token, ..Plan::default() };

    let suite = Suite::meet(Remote::new(target.clone()).service(), plan).await.map_err(|no_answer| {
        let hint = match no_answer {
            NoAnswer::Unauthorized(_) => " (--token-file)",
            NoAnswer::Unreachable(_) | NoAnswer::NotASource | NoAnswer::Unavailable(_) => "",
        };
        Failure::unavailable(anyhow::Error::from(no_answer).context(format!("ask {target}{hint}")))
    })?;
    let mut report = Report::begin(target, args.settle, suite.speaker());
    let mut table = (!args.json).then(|| Table::begin(&report)).transpose()?;
    for promise in promises {
        let verdict = suite.ask(promise).await;
        if let Some(table) = &mut table {
            table.row(&verdict)?;
        }
        report.verdicts.push(verdict);
    }
    match table {
        Some(table) => table.end(&report)?,
        None => report.json()?,
    }
    Ok(ExitCode::from(u8::from(report.count(|outcome| matches!(outcome, Outcome::Broken(_))) > 0)))
}
