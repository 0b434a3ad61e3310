//! `ledger`: look at what is remembered, and change it.

use std::process::ExitCode;

use anyhow::anyhow;
use serde::Serialize;
use sidecar::Failure;

use super::failed;
use super::print::{JsonList, Table, line, short};
use crate::args::{Format, LedgerCommand, ViewArgs};
use crate::clock::Clock;
use crate::ledger::{AttemptRecord, Changed, ItemRecord, Selection, SqliteLedger, State, StateDir};

/// How many items are read at a time.
const PAGE: usize = 1_000;

pub(super) async fn run(command: LedgerCommand) -> Result<ExitCode, Failure> {
    let now = Clock::system().now();
    match command {
        LedgerCommand::List { view, only, output } => list(&view, only, output).await,
        LedgerCommand::Show { view, item, output } => {
            let ledger = open_to_read(&view).await?;
            let Some((record, attempts)) = ledger.show(&item).await.map_err(failed)? else {
                return Err(Failure::new(
                    66,
                    anyhow!("the ledger knows no item {item}: see `queue-manager ledger list`"),
                ));
            };
            show(record, attempts, output)?;
            Ok(ExitCode::SUCCESS)
        }
        LedgerCommand::Retry { view, items, dead, done } => {
            let ledger = open(&view).await?;
            let mut all = Changed::default();
            let states = [(dead, State::Dead), (done, State::Done)];
            let selections = states.into_iter().filter(|(wanted, _)| *wanted).map(|(_, state)| Selection::All(state));
            let named = (!items.is_empty()).then_some(Selection::Names(items));
            for selection in selections.chain(named) {
                let changed = ledger.retry(selection, now).await.map_err(failed)?;
                all.changed.extend(changed.changed);
                all.running.extend(changed.running);
                all.unknown.extend(changed.unknown);
            }
            report(&all, "to be done again")
        }
        LedgerCommand::Skip { view, items } => {
            let ledger = open(&view).await?;
            report(&ledger.skip(items, now).await.map_err(failed)?, "skipped")
        }
    }
}

/// The ledger as it is, for a command that only looks: that needs no right to write, and makes none.
async fn open_to_read(view: &ViewArgs) -> Result<SqliteLedger, Failure> {
    let (dir, queue) = (view.place.directory()?, view.place.queue.as_str());
    let open = |revision| match SqliteLedger::open_to_read(&dir, queue, revision) {
        Ok(Some(ledger)) => Ok(ledger),
        Ok(None) => Err(Failure::new(
            66,
            anyhow!(
                "there is no ledger in {} yet: was the manager run with another --state or --queue?",
                dir.display()
            ),
        )),
        Err(error) => Err(failed(error)),
    };
    let ledger = open(view.revision.unwrap_or_default())?;
    match view.revision {
        Some(_) => Ok(ledger),
        None => open(ledger.latest_revision().await.map_err(failed)?),
    }
}

/// The same for a command that changes something in it.
async fn open(view: &ViewArgs) -> Result<SqliteLedger, Failure> {
    let there = open_to_read(view).await?;
    let state = StateDir::open(&view.place.directory()?).map_err(failed)?;
    let revision = match view.revision {
        Some(revision) => revision,
        None => there.latest_revision().await.map_err(failed)?,
    };
    SqliteLedger::open(&state, view.place.queue.as_str(), revision).map_err(failed)
}

fn report(changed: &Changed, what: &str) -> Result<ExitCode, Failure> {
    for name in &changed.changed {
        line(format_args!("item/{name} {what}"))?;
    }
    let mut wrong = Vec::new();
    wrong.extend(changed.running.iter().map(|name| format!("item {name} is running and was left alone")));
    wrong.extend(changed.unknown.iter().map(|name| format!("the ledger knows no item {name}")));
    if wrong.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(Failure::new(1, anyhow!(wrong.join("; ")))) }
}

async fn list(view: &ViewArgs, state: Option<State>, output: Format) -> Result<ExitCode, Failure> {
    let ledger = open_to_read(view).await?;
    let head: &[&'static str] = match output {
        Format::Wide => &[
            "NAME",
            "STATE",
            "ATTEMPTS",
            "EXIT",
            "REASON",
            "ENDED",
            "NOT BEFORE",
            "SETTLED",
            "ABSENT SINCE",
            "MESSAGE",
        ],
        _ => &["NAME", "STATE", "ATTEMPTS", "EXIT", "REASON", "MESSAGE"],
    };
    let (mut table, mut json) = (Table::new(head), JsonList::new("LedgerItemList"));
    let mut after = 0;
    loop {
        let (records, more) = ledger.list(state, after, PAGE).await.map_err(failed)?;
        match output {
            Format::Table => table.print(&records.iter().map(row).collect::<Vec<_>>())?,
            Format::Wide => table.print(&records.iter().map(wide).collect::<Vec<_>>())?,
            Format::Json => json.print(&records)?,
            Format::Name => records.iter().try_for_each(|record| line(&record.name))?,
        }
        match more {
            Some(next) => after = next,
            None => break,
        }
    }
    if output == Format::Json {
        json.end()?;
    }
    Ok(ExitCode::SUCCESS)
}

fn row(record: &ItemRecord) -> Vec<String> {
    let last = record.last.as_ref();
    vec![
        record.name.to_string(),
        record.state.to_string(),
        record.attempts.to_string(),
        last.and_then(|a| a.exit).map(|exit| exit.to_string()).unwrap_or_default(),
        last.and_then(|a| a.reason.clone()).unwrap_or_default(),
        last.and_then(|a| a.message.as_deref()).map(|text| short(text, 60)).unwrap_or_default(),
    ]
}

fn wide(record: &ItemRecord) -> Vec<String> {
    let mut cells = row(record);
    let last = record.last.as_ref();
    let time = |time: Option<crate::clock::Time>| time.map(|time| time.to_string()).unwrap_or_default();
    cells.pop();
    let waits = (record.state == State::Todo).then_some(record.not_before);
    cells.extend([last.and_then(|a| a.ended), waits, record.settled, record.absent_since].map(time));
    cells.push(last.and_then(|a| a.message.as_deref()).map(|text| short(text, 200)).unwrap_or_default());
    cells
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    item: ItemRecord,
    history: Vec<AttemptRecord>,
}

fn show(item: ItemRecord, history: Vec<AttemptRecord>, output: Format) -> Result<(), Failure> {
    if output == Format::Json {
        line(serde_json::to_string_pretty(&Shown { item, history })?)?;
        return Ok(());
    }
    let field = |name: &str, value: &dyn std::fmt::Display| line(format_args!("{name:<14}{value}"));
    field("Name:", &item.name)?;
    field("Revision:", &item.revision)?;
    field("State:", &item.state)?;
    field("Attempts:", &format_args!("{} that count", item.attempts))?;
    if item.state == State::Todo {
        field("Not before:", &item.not_before)?;
    }
    if let Some(settled) = item.settled {
        field("Settled:", &settled)?;
    }
    if let Some(absent) = item.absent_since {
        field("Absent since:", &absent)?;
    }
    for attempt in &history {
        line(format_args!("\nAttempt {} ({})", attempt.number, attempt.id))?;
        field("  Started:", &attempt.started)?;
        let Some(ended) = attempt.ended else {
            field("  Ended:", &"not yet")?;
            continue;
        };
        field("  Ended:", &ended)?;
        field("  Outcome:", &attempt.cause.as_deref().unwrap_or("unknown"))?;
        if let Some(exit) = attempt.exit {
            field("  Exit:", &format_args!("{exit} ({})", contract::exit::meaning(exit)))?;
        }
        field("  Reason:", &attempt.reason.as_deref().unwrap_or_default())?;
        field("  Message:", &attempt.message.as_deref().map(|text| short(text, 500)).unwrap_or_default())?;
        if let Some(log) = &attempt.log {
            line("  Last lines:")?;
            log.lines().try_for_each(|text| line(format_args!("    {}", short(text, 500))))?;
        }
    }
    Ok(())
}
