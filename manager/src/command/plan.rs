//! `plan`: what would be run, and why the rest would not.

use std::collections::{HashMap, HashSet};
use std::process::ExitCode;

use contract::client::ClientError;
use serde::Serialize;
use sidecar::Failure;

use super::failed;
use super::print::{JsonList, Table, line};
use crate::args::{FirstRun, Format, PlanArgs};
use crate::clock::Clock;
use crate::ledger::{Ledger, SqliteLedger};
use crate::parallelism::Policy;
use crate::plan::{Act, Budget, Decision, Hold, Now, Settles, Why, plan};
use crate::source::{HttpSource, Page, Source};

const START: &str = "start";
const SETTLE: &str = "settle";

/// One line of the plan.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Planned<'a> {
    name: &'a str,
    act: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    why: String,
    attempts: u32,
}

pub(super) async fn run(args: PlanArgs) -> Result<ExitCode, Failure> {
    let source = HttpSource::new(args.source.endpoint(), args.source.limits());
    let ledger = SqliteLedger::open_to_read(&args.place.directory()?, args.place.queue.as_str(), args.source.revision)
        .map_err(failed)?;
    let (mut running, mut paused, mut walked) = (HashSet::new(), false, false);
    if let Some(ledger) = &ledger {
        let now = ledger.standing().await.map_err(failed)?;
        (running, paused, walked) = (now.running, now.paused, now.walked);
    }
    // Everything that is to be run is planned, and only then told apart by what there are slots for.
    let parallelism = args.source.parallelism();
    let mut free = parallelism.bounds.least().saturating_sub(running.len());
    let mut budget = Budget { slots: usize::MAX, fresh: args.source.limit, hold: paused.then_some(Hold::Paused) };
    let mut printer = Printer::new(args.output);
    let mut counts = Counts::default();
    let mut page = source.list(None).await.map_err(unlisted)?;
    while let Some(Page { names, next, complete, .. }) = page {
        let rows = match &ledger {
            Some(ledger) => ledger.rows(names.clone()).await.map_err(failed)?,
            None => HashMap::new(),
        };
        let now = Now {
            at: Clock::system().now(),
            running: &running,
            started: &HashSet::new(),
            settles: if source.settles() { Settles::All } else { Settles::Nothing },
            skip_new: args.source.first_run == FirstRun::NewOnly && !walked,
        };
        let decisions = plan(&names, &rows, now, &mut budget);
        let lines: Vec<_> = decisions.iter().map(|decision| planned(decision, &mut free)).collect();
        counts.add(&lines, complete);
        printer.print(lines)?;
        page = match next {
            Some(token) => Some(source.next_page(token).await.map_err(unlisted)?),
            None => None,
        };
    }
    printer.end(&counts, &parallelism)?;
    Ok(ExitCode::SUCCESS)
}

fn unlisted(error: ClientError) -> Failure {
    Failure::unavailable(anyhow::Error::from(error).context("list the source"))
}

#[derive(Debug, Default)]
struct Counts {
    start: usize,
    at_once: usize,
    settle: usize,
    leave: usize,
    incomplete: bool,
}

impl Counts {
    fn add(&mut self, lines: &[Planned<'_>], complete: bool) {
        for line in lines {
            match line.act {
                START => {
                    self.start += 1;
                    self.at_once += usize::from(line.why.is_empty());
                }
                SETTLE => self.settle += 1,
                _ => self.leave += 1,
            }
        }
        self.incomplete |= !complete;
    }
}

fn planned<'a>(decision: &'a Decision, free: &mut usize) -> Planned<'a> {
    let (act, why) = match &decision.act {
        Act::Start if *free > 0 => {
            *free -= 1;
            (START, String::new())
        }
        Act::Start => (START, Why::NoSlot.to_string()),
        Act::Settle { dead: false, .. } => (SETTLE, "done and still listed".to_owned()),
        Act::Settle { dead: true, .. } => (SETTLE, "dead and still listed".to_owned()),
        Act::Leave(why) => ("leave", why.to_string()),
    };
    let attempts = decision.row.as_ref().map_or(0, |row| row.attempts);
    Planned { name: decision.name.as_str(), act, why, attempts }
}

/// How many at a time, in words.
fn setting(Policy { bounds, drain_target, .. }: &Policy) -> String {
    match bounds.is_fixed() {
        true => format!("--parallelism {bounds}"),
        false => format!(
            "--parallelism {bounds}: {} to begin with, more as the load or --drain-target {} needs them",
            bounds.least(),
            humantime::format_duration(*drain_target)
        ),
    }
}

enum Printer {
    Table(Table),
    Json(JsonList),
    Names,
}

impl Printer {
    fn new(format: Format) -> Self {
        match format {
            Format::Table | Format::Wide => Self::Table(Table::new(&["NAME", "ACT", "ATTEMPTS", "WHY"])),
            Format::Json => Self::Json(JsonList::new("Plan")),
            Format::Name => Self::Names,
        }
    }

    fn print(&mut self, lines: Vec<Planned<'_>>) -> std::io::Result<()> {
        match self {
            Self::Table(table) => {
                let rows: Vec<_> = lines
                    .into_iter()
                    .map(|p| vec![p.name.to_owned(), p.act.to_owned(), p.attempts.to_string(), p.why])
                    .collect();
                table.print(&rows)
            }
            Self::Json(list) => list.print(&lines),
            Self::Names => lines.iter().filter(|p| p.act == START).try_for_each(|p| line(p.name)),
        }
    }

    fn end(self, counts: &Counts, parallelism: &Policy) -> std::io::Result<()> {
        match self {
            Self::Table(_) => {
                let Counts { start, at_once, settle, leave, incomplete } = counts;
                let partly = if *incomplete { "; the source could not see everything" } else { "" };
                line(format_args!(
                    "\n{start} to start ({at_once} at once), {settle} to settle, {leave} to leave{partly}\n{}",
                    setting(parallelism)
                ))
            }
            Self::Json(list) => list.end(),
            Self::Names => Ok(()),
        }
    }
}
