//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use contract::client::{Endpoint, Limits};
use sidecar::cli::value::{duration, positive_duration};
use sidecar::{ProbeArgs, ProcessArgs};

use crate::executor::local::KeepLogs;
use crate::parallelism::{Bounds, Policy};
use crate::run::Settings;
use crate::verdict::RetryPolicy;

mod ledger;
mod value;

pub use ledger::{LedgerArgs, LedgerCommand, ViewArgs};
pub use value::{BackoffRange, QueueName};

/// Lists a source, remembers what is done, and runs one worker per item.
#[derive(Clone, Debug, Parser)]
#[command(name = "queue-manager", version, about, arg_required_else_help = true, after_help = EXAMPLES)]
pub struct ManagerArgs {
    /// Logs and signals.
    #[command(flatten)]
    pub process: ProcessArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "Examples:
  # What would be run?
  queue-manager plan --source http://127.0.0.1:8080
  # Four at a time, until there is nothing left to do
  queue-manager local --source http://127.0.0.1:8080 --parallelism 4 --until-empty -- \\
      script-worker --output file:///srv/results/{key}/ -- ./faces.sh
  # Any program: the item is in the file that WORK_ITEM_FILE names
  queue-manager local --source http://127.0.0.1:8080 -- sh -c 'jq -r .uri \"$WORK_ITEM_FILE\"'
  # Why did this one fail? Have everything that failed done again
  queue-manager ledger show my-video-mp4-k2iwy5bxbrp2q
  queue-manager ledger retry --dead

Exit codes of `local`: 0 all done, or ended when told to; 3 items are in the dead letter; 4 the first items all failed alike;
64 wrong usage; 69 the source did not answer for --source-wait; 70 a defect; 74 the ledger cannot be used; 75 told not to wait for the end of --until-empty or --limit; 78 configuration; 126 or 127 the worker's command cannot run.";

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run one worker per item as child processes of this machine
    #[command(mut_arg("probe_listen", |arg| arg.default_value(PROBES)))]
    Local(Box<LocalArgs>),
    /// Print what `local` would run, and why it would not run the rest; start and write nothing
    Plan(Box<PlanArgs>),
    /// Have the manager of a queue start nothing more; what runs goes on
    Pause(PlaceArgs),
    /// Have the manager of a paused queue go on
    Resume(PlaceArgs),
    /// Look at what is remembered, and change it, also while a manager runs
    Ledger(LedgerArgs),
}

/// The ambassador beside the manager has the port before this one.
const PROBES: &str = "127.0.0.1:9091";

/// Where a queue's memory lies.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Queue")]
pub struct PlaceArgs {
    /// Name of the queue: lower-case letters, digits and dashes.
    #[arg(long, default_value = "default", value_name = "NAME")]
    pub queue: QueueName,
    /// Directory of the ledger and of what attempts leave, on a local disk
    /// [default: $XDG_STATE_HOME/longshore/QUEUE].
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
}

/// Where work comes from.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Source")]
pub struct SourceArgs {
    /// The source: a root such as http://127.0.0.1:8080, where /v1/items, /api/v1/items and /items are tried, the list
    /// itself, or unix:/run/longshore/items.sock.
    #[arg(long, value_name = "URL", value_parser = value::endpoint)]
    pub source: Endpoint,
    /// File of the token that opens the source; read again when the source is connected to anew, or does not let us in.
    #[arg(long, value_name = "FILE")]
    pub source_token_file: Option<PathBuf>,
    /// How long one answer of the source may take.
    #[arg(long, default_value = "30s", value_name = "DURATION", value_parser = positive_duration)]
    pub source_timeout: Duration,
    /// What is done with the items that are listed when the queue is run for the first time.
    #[arg(long, value_enum, default_value_t = FirstRun::All)]
    pub first_run: FirstRun,
    /// Start no more than this many items, each with its retries, and end when they are through.
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Attempts at a time: a number, `2..16` for as many of these as the load needs, or `auto` for 1 to one per CPU
    /// [default: one per CPU].
    #[arg(long, value_name = "N|MIN..MAX|auto")]
    pub parallelism: Option<Bounds>,
    /// How the number of attempts at a time follows the load.
    #[command(flatten)]
    pub scaling: ScalingArgs,
    /// The revision that results are published under; raise it to do everything again.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub revision: u64,
}

/// How the number of attempts at a time follows the load; with a fixed number only the metrics do.
#[derive(Clone, Debug, Args)]
pub struct ScalingArgs {
    /// Within what time of its coming an item is to be done: never fewer attempts at a time than that takes, as far as
    /// --parallelism allows them.
    #[arg(long, default_value = "1h", value_name = "DURATION", value_parser = positive_duration)]
    pub drain_target: Duration,
    /// Over how long a time arrivals are averaged.
    #[arg(long, default_value = "1h", value_name = "DURATION", value_parser = positive_duration)]
    pub arrival_window: Duration,
    /// From one decision about the number of attempts at a time to the next, half a second at least. There are fewer only
    /// when fewer would have been enough at each of the last thirty.
    #[arg(long, default_value = "10s", value_name = "DURATION", value_parser = positive_duration)]
    pub adjust_every: Duration,
}

/// What is done with what was there before the first run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FirstRun {
    /// It is run.
    All,
    /// It is skipped; only what is listed later is run.
    NewOnly,
}

/// Flags of `local`.
#[derive(Clone, Debug, Args)]
pub struct LocalArgs {
    /// Where the queue's memory lies.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Where work comes from.
    #[command(flatten)]
    pub source: SourceArgs,
    /// When to list, and when to end.
    #[command(flatten)]
    pub run: RunArgs,
    /// When to try again.
    #[command(flatten)]
    pub retry: RetryArgs,
    /// Where probes are answered.
    #[command(flatten)]
    pub probes: ProbeArgs,
    /// The worker's command, run once per item with the item in the file that WORK_ITEM_FILE names.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// When to list, and when to end.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Run")]
pub struct RunArgs {
    /// From the end of one listing to the next.
    #[arg(long, default_value = "5s", value_name = "DURATION", value_parser = positive_duration)]
    pub poll: Duration,
    /// The same while the source tells what changes, as ours do: a list is then only asked for to be sure. Never shorter than
    /// --poll.
    #[arg(long, default_value = "5m", value_name = "DURATION", value_parser = positive_duration)]
    pub resync: Duration,
    /// End when the source is empty: everything listed is done or dead, and nothing is withheld that will still come.
    #[arg(long)]
    pub until_empty: bool,
    /// With --until-empty: a source that nothing was ever in is not empty yet, since its loader is still to come; after this long it
    /// is [without a DURATION: wait for ever].
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "forever",
          requires = "until_empty", value_parser = value::patience)]
    pub wait_for_first: Option<Duration>,
    /// End with code 69 when the source has not answered for this long and nothing runs [default: wait for ever].
    #[arg(long, value_name = "DURATION", value_parser = positive_duration)]
    pub source_wait: Option<Duration>,
    /// How long an item must be absent from complete lists before it is forgotten.
    #[arg(long, default_value = "7d", value_name = "DURATION", value_parser = duration)]
    pub forget_after: Duration,
    /// How long an attempt that is stopped has between SIGTERM and SIGKILL; part of --grace.
    #[arg(long, default_value = "10s", value_name = "DURATION", value_parser = duration)]
    pub stop_grace: Duration,
    /// How much of what attempts wrote is kept when they are over: a number (1000), an age (7d), both (1000,7d) or none.
    #[arg(long, default_value = "1000", value_name = "HOW MUCH")]
    pub keep_logs: KeepLogs,
}

/// When to try again.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Retries")]
pub struct RetryArgs {
    /// The most attempts at an item; those that were lost or stopped are not counted.
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_attempts: u32,
    /// The longest first wait before another attempt, which doubles with each, and the longest there is. Waits are drawn
    /// at random from nothing to that.
    #[arg(long, default_value = "1s..5m", value_name = "FIRST..MOST")]
    pub backoff: BackoffRange,
    /// Exit codes after which another attempt is of no use, beside 64 65 66 73 77 78 126 127.
    #[arg(long, value_name = "CODE", value_delimiter = ',', value_parser = clap::value_parser!(u8).range(1..))]
    pub permanent_exit: Vec<u8>,
    /// Start nothing more when the attempts at the first N items all fail with the same exit code and reason; 0: never.
    #[arg(long, default_value_t = 5, value_name = "N")]
    pub breaker: usize,
}

/// Flags of `plan`.
#[derive(Clone, Debug, Args)]
pub struct PlanArgs {
    /// Where the queue's memory lies.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Where work comes from.
    #[command(flatten)]
    pub source: SourceArgs,
    /// How it is printed.
    #[arg(long = "output-format", short, value_enum, default_value_t = Format::Table)]
    pub output: Format,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For people with wide screens.
    Wide,
    /// One JSON document.
    Json,
    /// Names only.
    Name,
}

impl SourceArgs {
    /// Where the source is, and what it is shown.
    pub fn endpoint(&self) -> Endpoint {
        self.source.clone().with_token_file(self.source_token_file.clone())
    }

    /// How patient and trusting the source's client is: an item is at most 1 MiB.
    pub fn limits(&self) -> Limits {
        Limits { deadline: self.source_timeout, item_bytes: 1 << 20, ..Limits::default() }
    }

    /// How many attempts at a time.
    pub fn parallelism(&self) -> Policy {
        let ScalingArgs { drain_target, arrival_window, adjust_every } = self.scaling;
        let bounds = self.parallelism.unwrap_or_else(Bounds::one_per_cpu);
        Policy { bounds, drain_target, arrival_window, adjust_every }
    }
}

impl LocalArgs {
    /// How the run goes.
    pub fn settings(&self) -> Settings {
        Settings {
            parallelism: self.source.parallelism(),
            limit: self.source.limit,
            skip_first: self.source.first_run == FirstRun::NewOnly,
            until_empty: self.run.until_empty,
            wait_for_first: self.run.wait_for_first.unwrap_or_default(),
            poll: self.run.poll,
            resync: self.run.resync,
            source_wait: self.run.source_wait,
            forget_after: self.run.forget_after,
            stop_grace: self.run.stop_grace,
            retry: RetryPolicy {
                max_attempts: self.retry.max_attempts,
                backoff: self.retry.backoff.first,
                backoff_most: self.retry.backoff.most,
                permanent: self.retry.permanent_exit.clone(),
            },
            breaker: self.retry.breaker,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<ManagerArgs, clap::Error> {
        let argv = words.split_whitespace().map(OsString::from);
        match sidecar::cli::parse::<ManagerArgs>(argv)? {
            sidecar::cli::Parsed::Run(args) => Ok(args),
            sidecar::cli::Parsed::Chore(chore) => panic!("{chore:?} was not asked for"),
        }
    }

    fn local(words: &str) -> LocalArgs {
        match parse(&format!("queue-manager local --source http://h {words} -- true")).expect("parses").command {
            Command::Local(args) => *args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        sidecar::cli::command::<ManagerArgs>().debug_assert();
    }

    #[test]
    fn an_ambassador_beside_it_has_its_own_probe_port() {
        assert_eq!(local("").probes.probe_listen.to_string(), PROBES);
        assert_eq!(local("--probe-listen 127.0.0.1:0").probes.probe_listen.port(), 0);
    }

    #[test]
    fn settings_are_what_the_flags_say() {
        let settings = local("--backoff 2s..1m --permanent-exit 3,4 --limit 7 --first-run new-only").settings();
        assert_eq!(
            (settings.retry.backoff, settings.retry.backoff_most),
            (Duration::from_secs(2), Duration::from_secs(60))
        );
        assert_eq!((settings.retry.permanent, settings.limit, settings.skip_first), (vec![3, 4], Some(7), true));
    }

    #[test]
    fn a_source_may_be_on_a_socket_and_want_a_token() {
        let args =
            parse("queue-manager plan --source unix:/run/items.sock --source-token-file /run/token").expect("parses");
        let Command::Plan(args) = args.command else { panic!("is a plan") };
        let endpoint = args.source.endpoint();
        assert_eq!((endpoint.to_string().as_str(), endpoint.is_guarded()), ("unix:/run/items.sock", true));
        assert!(!local("").source.endpoint().is_guarded());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for words in [
            "local -- true",
            "local --source ftp://h -- true",
            "local --source https://h -- true",
            "local --source unix:items.sock -- true",
            "local --source http://h",
            "local --source http://h --poll 0s -- true",
            "local --source http://h --backoff 5m..1s -- true",
            "local --source http://h --permanent-exit 0 -- true",
            "local --source http://h --parallelism 0 -- true",
            "local --source http://h --parallelism 4..2 -- true",
            "local --source http://h --parallelism 1..4 --drain-target 0s -- true",
            "local --source http://h --max-attempts 0 -- true",
            "local --source http://h --queue Films -- true",
            "local --source http://h --no-such-flag -- true",
            "ledger retry",
            "ledger retry a --dead",
            "ledger skip",
            "ledger show",
        ] {
            assert!(parse(&format!("queue-manager {words}")).is_err(), "{words}");
        }
        assert!(parse("queue-manager ledger retry --dead --done").is_ok());
    }
}
