//! `--check`: what a source would list, said once on stdout.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use contract::wire::Withheld;
use sidecar::{Failure, Shutdown};

use crate::source::{Health, Page, Source, SourceError};

/// Items taken from the source at once.
const PAGE: usize = 1_000;
/// Items shown by name.
const SHOWN: usize = 20;
/// Withheld ones shown by key, for each reason.
const SHOWN_WITHHELD: usize = 5;

/// Waits for the first look, walks both lists to their end, reads the first items, and says what it found. Every step has
/// the deadline of a request.
///
/// # Errors
/// Exit 69 when the source could not be seen, or not all of it.
pub async fn check<S: Source>(
    source: &S,
    deadline: Duration,
    shutdown: &Shutdown,
    out: &mut impl Write,
) -> Result<ExitCode, Failure> {
    let said = tokio::select! {
        said = say(source, deadline, out) => said,
        () = shutdown.draining() => Err(Failure::unavailable(anyhow::anyhow!("interrupted before everything was seen"))),
    };
    // What a source that consumes has taken is given back in any case.
    tokio::select! {
        () = source.drain() => {}
        () = shutdown.aborting() => {}
    }
    said
}

async fn say<S: Source>(source: &S, deadline: Duration, out: &mut impl Write) -> Result<ExitCode, Failure> {
    first_look(source, deadline).await?;
    let about = source.about();
    writeln!(out, "{} {}, in the order of {}", about.ambassador, about.version, about.order.as_str())?;
    let listed = listed(source, deadline, out).await?;
    let withheld = withheld(source, deadline, out).await?;
    out.flush()?;
    if listed && withheld {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Failure::unavailable(anyhow::anyhow!("a part of the source could not be seen; what is said above is not all")))
}

async fn first_look<S: Source>(source: &S, deadline: Duration) -> Result<(), Failure> {
    let mut health = source.health();
    let seen = health.wait_for(|health| !matches!(health, Health::Starting | Health::Indexing { .. }));
    let why = match tokio::time::timeout(deadline, seen).await {
        Ok(Ok(health)) => match &*health {
            Health::Lost { why } | Health::Stale { why } => why.clone(),
            Health::Live | Health::Starting | Health::Indexing { .. } => return Ok(()),
        },
        Ok(Err(_ended)) => "it ended by itself".into(),
        Err(_elapsed) => format!(
            "the first look at it took longer than {}; give --request-timeout more",
            humantime::format_duration(deadline)
        ),
    };
    Err(Failure::unavailable(anyhow::anyhow!("the source cannot be seen: {why}")))
}

/// Says what is listed. Whether that is all.
async fn listed<S: Source>(source: &S, deadline: Duration, out: &mut impl Write) -> Result<bool, Failure> {
    let (mut from, mut count, mut complete) = (None, 0, true);
    loop {
        let page: Page<_, _> = within(deadline, source.page(from, PAGE)).await?;
        complete &= page.complete;
        for name in page.items {
            count += 1;
            if count > SHOWN {
                continue;
            }
            // Reading it proves more than its name does, and shows people what it is.
            match within(deadline, source.get(&name)).await {
                Ok(item) => {
                    let what = item.data.get("uri").or_else(|| item.data.get("key"));
                    let what = what.and_then(|value| value.as_str()).unwrap_or_default();
                    writeln!(out, "  {name}  {what}")?;
                }
                Err(error) => writeln!(out, "  {name}  cannot be read: {error}")?,
            }
        }
        match page.next {
            Some(next) => from = Some(next),
            None => break,
        }
    }
    if count > SHOWN {
        writeln!(out, "  and {} more", count - SHOWN)?;
    }
    writeln!(out, "{count} would be listed")?;
    Ok(complete)
}

/// Says what is withheld and why. Whether that is all.
async fn withheld<S: Source>(source: &S, deadline: Duration, out: &mut impl Write) -> Result<bool, Failure> {
    let (mut from, mut complete) = (None, true);
    let mut reasons: BTreeMap<String, (usize, Vec<Withheld>)> = BTreeMap::new();
    loop {
        let page: Page<Withheld, _> = within(deadline, source.withheld(from, PAGE)).await?;
        complete &= page.complete;
        for one in page.items {
            let (count, shown) = reasons.entry(one.reason.clone()).or_default();
            *count += 1;
            if shown.len() < SHOWN_WITHHELD {
                shown.push(one);
            }
        }
        match page.next {
            Some(next) => from = Some(next),
            None => break,
        }
    }
    let total: usize = reasons.values().map(|(count, _)| count).sum();
    for (reason, (count, shown)) in &reasons {
        for one in shown {
            // A file may be named with any byte; a terminal is shown none that could command it.
            writeln!(out, "  {reason}  {}  {}", one.key.to_string().escape_debug(), one.message)?;
        }
        if *count > shown.len() {
            writeln!(out, "  {reason}  and {} more", count - shown.len())?;
        }
    }
    writeln!(out, "{total} withheld")?;
    Ok(complete)
}

async fn within<T>(deadline: Duration, answer: impl Future<Output = Result<T, SourceError>>) -> Result<T, Failure> {
    match tokio::time::timeout(deadline, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(Failure::unavailable(error)),
        Err(_elapsed) => {
            let deadline = humantime::format_duration(deadline);
            Err(Failure::unavailable(anyhow::anyhow!("the source did not answer within {deadline}")))
        }
    }
}
