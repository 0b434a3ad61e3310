//! What was found: a table for people, or one JSON document.

use std::io::{self, Write};

use ambassador_kit::conformance::{Outcome, Promise, Verdict};
use contract::wire::About;
use serde::Serialize;

use crate::Target;

/// Everything that was found of one source.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    target: &'a Target,
    settle: bool,
    speaker: Option<&'a About>,
    pub(crate) verdicts: Vec<Verdict>,
}

/// The document of `--json`. Its fields never change their meaning; others may be added.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    kind: &'static str,
    api_version: &'static str,
    /// What was asked.
    source: String,
    /// Whether it was told to settle.
    settle: bool,
    /// The answer to `GET /v1`, where there is one.
    speaker: Option<&'a About>,
    pass: usize,
    fail: usize,
    not_offered: usize,
    promises: Vec<Row<'a>>,
}

/// `--list --json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Catalogue<'a> {
    kind: &'static str,
    api_version: &'static str,
    promises: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    says: &'a str,
    /// `pass`, `fail` or `not offered`.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
}

impl<'a> Row<'a> {
    fn of(verdict: &'a Verdict) -> Self {
        let Verdict { promise, says, outcome } = verdict;
        Self { name: promise, says, outcome: Some(outcome.word()), why: outcome.why() }
    }
}

impl<'a> Report<'a> {
    pub(crate) fn begin(target: &'a Target, settle: bool, speaker: Option<&'a About>) -> Self {
        Self { target, settle, speaker, verdicts: Vec::new() }
    }

    pub(crate) fn count(&self, of: impl Fn(&Outcome) -> bool) -> usize {
        self.verdicts.iter().filter(|verdict| of(&verdict.outcome)).count()
    }

    fn counts(&self) -> (usize, usize, usize) {
        let pass = self.count(|outcome| *outcome == Outcome::Kept);
        let fail = self.count(|outcome| matches!(outcome, Outcome::Broken(_)));
        (pass, fail, self.verdicts.len() - pass - fail)
    }

    pub(crate) fn json(&self) -> io::Result<()> {
        let (pass, fail, not_offered) = self.counts();
        document(&Document {
            kind: "ContractCheck",
            api_version: "v1",
            source: self.target.to_string(),
            settle: self.settle,
            speaker: self.speaker,
            pass,
            fail,
            not_offered,
            promises: self.verdicts.iter().map(Row::of).collect(),
        })
    }
}

/// The names of what is asked.
pub(crate) fn list(promises: &[&Promise], json: bool) -> io::Result<()> {
    if json {
        let rows = promises.iter().map(|one| Row { name: one.name, says: one.says, outcome: None, why: None });
        return document(&Catalogue { kind: "ContractPromises", api_version: "v1", promises: rows.collect() });
    }
    let mut out = anstream::stdout();
    for promise in promises {
        writeln!(out, "{:<WIDTH$} {}", promise.name, promise.says)?;
    }
    out.flush()
}

fn document(document: &impl Serialize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, document)?;
    writeln!(out)?;
    out.flush()
}

/// Widest name of a promise, for people.
const WIDTH: usize = 17;

const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[1;31m";
const DIM: &str = "\x1b[2m";
const PLAIN: &str = "\x1b[0m";

/// The table, a row as each promise was asked; coloured on a terminal, and for nobody else.
pub(crate) struct Table(anstream::AutoStream<io::Stdout>);

impl Table {
    pub(crate) fn begin(report: &Report<'_>) -> io::Result<Self> {
        let mut table = Self(anstream::stdout());
        match report.speaker {
            Some(about) => writeln!(
                table.0,
                "{} {} at {}\n",
                printable(&about.ambassador),
                printable(&about.version),
                report.target
            )?,
            None => writeln!(table.0, "a source that does not say who it is, at {}\n", report.target)?,
        }
        table.0.flush()?;
        Ok(table)
    }

    pub(crate) fn row(&mut self, verdict: &Verdict) -> io::Result<()> {
        let Verdict { promise, says, outcome } = verdict;
        let colour = match outcome {
            Outcome::Kept => GREEN,
            Outcome::Broken(_) => RED,
            Outcome::NotOffered(_) => DIM,
        };
        writeln!(self.0, "{colour}{:<11}{PLAIN}  {promise:<WIDTH$} {says}", outcome.word())?;
        if let Some(why) = outcome.why() {
            writeln!(self.0, "{:<12} {DIM}{:<WIDTH$} {}{PLAIN}", "", "", printable(why))?;
        }
        self.0.flush()
    }

    pub(crate) fn end(mut self, report: &Report<'_>) -> io::Result<()> {
        let (pass, fail, not_offered) = report.counts();
        writeln!(self.0, "\n{pass} pass, {fail} fail, {not_offered} not offered")?;
        if !report.settle {
            writeln!(self.0, "nothing was written; with --settle it is also asked how the source settles")?;
        }
        self.0.flush()
    }
}

/// What a foreign source said, without what could steer a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
