//! What a worker leaves behind about itself: the report and the termination message.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use contract::report::ReportKind;
use contract::{ExitClass, ItemName, Marker, Outcome, Report, Timestamp, TraceContext, exit};
use serde::Serialize;
use sidecar::fault;
use storage::Claim;
use tracing::{Span, error_span, warn};

use crate::JobError;
use crate::context::LastCommand;

/// The most the kubelet reads of a termination message, in bytes.
const TERMINATION_MAX: usize = 4096;

/// How an item ended.
#[derive(Debug)]
pub(crate) enum End {
    Published(Box<Marker>),
    Already(Box<Marker>),
    Superseded { why: String },
}

/// All that a report needs, gathered on the way.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) attempt: String,
    pub(crate) revision: u64,
    pub(crate) started_at: Timestamp,
    pub(crate) item: Option<ItemName>,
    /// The trace that the item is part of.
    pub(crate) trace: Option<TraceContext>,
    /// What is wanted, of which place, once that is known.
    pub(crate) claim: Option<Claim>,
    /// Where the output goes, once that is known.
    pub(crate) output: Option<String>,
    pub(crate) result: Option<serde_json::Value>,
    pub(crate) command: LastCommand,
}

impl Account {
    pub(crate) fn new(attempt: String, revision: u64) -> Self {
        Self {
            attempt,
            revision,
            started_at: Timestamp::now(),
            item: None,
            trace: None,
            claim: None,
            output: None,
            result: None,
            command: LastCommand::default(),
        }
    }

    /// What is logged within it says which trace the item is part of.
    pub(crate) fn span(&self) -> Span {
        match &self.trace {
            // Of the gravest level, so that no filter of lines takes it away.
            Some(trace) => error_span!("item", trace_id = trace.trace_id()),
            None => Span::none(),
        }
    }

    /// The full account.
    pub(crate) fn close(self, end: &Result<End, JobError>) -> Report {
        let place = self.output.clone().unwrap_or_default();
        let (outcome, code, reason, message) = match end {
            Ok(End::Published(marker)) => (
                Outcome::Published,
                exit::OK,
                "Published",
                match marker.outputs.len() {
                    1 => format!("published 1 file to {place}"),
                    n => format!("published {n} files to {place}"),
                },
            ),
            Ok(End::Already(marker)) => (
                Outcome::AlreadyPublished,
                exit::OK,
                "AlreadyPublished",
                format!("attempt {} has published this item to {place} already", marker.attempt),
            ),
            Ok(End::Superseded { why }) => (Outcome::Superseded, exit::OK, "Superseded", why.clone()),
            Err(error) => (Outcome::Failed, error.code, error.reason, error.message.clone()),
        };
        let (output, outputs) = match end {
            Ok(End::Published(marker) | End::Already(marker)) => (self.output, marker.outputs.clone()),
            Ok(End::Superseded { .. }) | Err(_) => (None, Vec::new()),
        };
        Report {
            kind: ReportKind::Report,
            api_version: contract::marker::ApiV1::V1,
            item: self.item,
            attempt: self.attempt,
            revision: self.revision,
            outcome,
            exit_code: code,
            permanent: ExitClass::of(code) == ExitClass::Permanent,
            reason: reason.to_owned(),
            message,
            command_exit_code: self.command.code,
            command_signal: self.command.signal,
            started_at: self.started_at,
            ended_at: Timestamp::now(),
            output,
            outputs,
            result: self.result,
            stdout_tail: self.command.stdout_tail,
            stderr_tail: self.command.stderr_tail,
        }
    }
}

/// Writes both, where they are wanted. Neither can change how the item ended, so failing to is only a warning.
pub(crate) fn deliver(report: &Report, file: Option<&Path>, termination_log: &Path) {
    if let Err(error) = terminate(report, termination_log) {
        warn!(path = %termination_log.display(), %error, "cannot write the termination message");
    }
    if let Some(file) = file
        && let Err(error) = write(report, file)
    {
        warn!(path = %file.display(), %error, "cannot write the report");
    }
}

/// By rename, so that a manager finds it whole or not at all. The temporary name is always the same: what a killed worker
/// leaves of it, the next one replaces.
fn write(report: &Report, file: &Path) -> io::Result<()> {
    fault::point("worker.report.before")?;
    let mut name = file.file_name().ok_or_else(|| io::Error::other("it names no file"))?.to_owned();
    name.push(".tmp");
    let temporary = file.with_file_name(name);
    let written = File::create(&temporary).and_then(|mut out| {
        let mut json = serde_json::to_vec(report)?;
        json.push(b'\n');
        out.write_all(&json)?;
        out.sync_all()?;
        fs::rename(&temporary, file)
    });
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written?;
    fault::point("worker.report.after")
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Termination<'a> {
    item: Option<&'a ItemName>,
    outcome: Outcome,
    exit_code: u8,
    reason: &'a str,
    permanent: bool,
    message: &'a str,
}

/// Into the file as it is: the kubelet has mounted it, and a mount cannot be renamed over.
fn terminate(report: &Report, path: &Path) -> io::Result<()> {
    let mut file = match File::options().write(true).truncate(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    file.write_all(line(report).as_bytes())
}

fn line(report: &Report) -> String {
    let Report { item, outcome, exit_code, reason, permanent, message, .. } = report;
    let of = |item, message| {
        let termination =
            Termination { item, outcome: *outcome, exit_code: *exit_code, reason, permanent: *permanent, message };
        serde_json::to_string(&termination).expect("strings and numbers serialise") + "\n"
    };
    // What escaping makes of a character is known only afterwards.
    let mut message = message.as_str();
    let mut item = item.as_ref();
    loop {
        let line = of(item, message);
        if line.len() <= TERMINATION_MAX {
            return line;
        }
        if message.is_empty() {
            item = None;
        }
        let half = message.len() / 2;
        message = message.get(..message.floor_char_boundary(half)).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(message: String, name: &str) -> Report {
        let mut account = Account::new("n".into(), 3);
        account.item = Some(name.parse().expect("a name"));
        account.close(&Err(JobError::new(exit::BAD_ITEM, "BadItem", message)))
    }

    #[test]
    fn a_failure_says_what_class_it_is() {
        let report = failed("it is bad".into(), "a");
        assert_eq!((report.outcome, report.exit_code, report.permanent), (Outcome::Failed, 65, true));
        assert_eq!((report.reason.as_str(), report.message.as_str(), report.revision), ("BadItem", "it is bad", 3));
    }

    #[test]
    fn a_termination_message_is_one_line_of_json_that_the_kubelet_takes_whole() {
        for (message, name) in [
            ("short".to_owned(), "a".to_owned()),
            ("é\n\"".repeat(5000), "a".to_owned()),
            ("\u{1}".repeat(4000), "é".repeat(1000)),
            (String::new(), "\"".repeat(2048)),
        ] {
            let line = line(&failed(message, &name));
            assert!(line.len() <= TERMINATION_MAX, "{} bytes", line.len());
            assert_eq!(line.matches('\n').count(), 1);
            let value: serde_json::Value = serde_json::from_str(&line).expect("it is JSON");
            assert_eq!(value.get("exitCode"), Some(&65.into()));
        }
    }

    #[test]
    fn a_report_replaces_what_a_killed_worker_left_of_one() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("r.json.tmp"), "{\"half").expect("half a report");
        write(&failed("x".into(), "a"), &dir.path().join("r.json")).expect("written");
        let json = fs::read(dir.path().join("r.json")).expect("is there");
        serde_json::from_slice::<Report>(&json).expect("is whole");
        assert_eq!(fs::read_dir(dir.path()).expect("lists").count(), 1);
    }
}
