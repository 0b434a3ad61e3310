//! What an attempt's end makes of its item: done, dead, or to be tried again after a while that depends on the cause.

use std::time::Duration;

use contract::exit::{self, ExitClass};

use crate::breaker::{Breaker, Change, Likeness};
use crate::clock::Time;
use crate::executor::Ended;
use crate::ledger::{Cause, Conclusion, Next, Row};
use contract::ItemName;

/// How often and how patiently is tried again.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    /// The most attempts at an item that count.
    pub max_attempts: u32,
    /// The first wait is somewhere between nothing and this, each later one up to twice as long.
    pub backoff: Duration,
    /// No wait is longer.
    pub backoff_most: Duration,
    /// Exit codes after which trying again is of no use, beside those of the worker contract.
    pub permanent: Vec<u8>,
}

/// An outage outlasts an item's own trouble: its waits begin this much longer.
const OUTSIDE_FACTOR: u32 = 8;
/// What the ledger keeps of a log, in bytes from its end.
const LOG_KEPT: usize = 16 << 10;

/// How an attempt is known to have ended.
#[derive(Clone, Debug)]
pub enum End {
    /// With an exit code.
    Over(Ended),
    /// Nobody saw how.
    Lost {
        /// For people.
        why: String,
    },
}

/// Judges ends, one at a time, in the order in which they become known.
#[derive(Debug)]
pub struct Judge {
    policy: RetryPolicy,
    breaker: Breaker,
    random: fastrand::Rng,
}

impl Judge {
    /// One with a state of its own for chance, so that a test can repeat it.
    pub fn new(policy: RetryPolicy, breaker: Breaker, random: fastrand::Rng) -> Self {
        Self { policy, breaker, random }
    }

    /// The circuit breaker as it stands.
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// Decides about an attempt at `item`, whose row is as it was when the attempt began. `stopped`: the manager asked for
    /// its end, which is only held for its end where it did not succeed all the same.
    pub fn judge(&mut self, item: &ItemName, row: &Row, end: End, stopped: bool, now: Time) -> (Conclusion, Change) {
        match end {
            End::Lost { why } => {
                let wait = if stopped { Duration::ZERO } else { self.wait(row.losses, 1) };
                let cause = if stopped { Cause::Stopped } else { Cause::Lost };
                let reason = if stopped { "Stopped" } else { "Lost" };
                let next = Next::Again { not_before: now.after(wait), counts: false };
                (conclusion(now, cause, None, reason, why, next), Change::None)
            }
            End::Over(ended) if ended.exit == exit::OK => {
                let (reason, message) = words(&ended);
                let report = report(&ended, false);
                let conclusion = conclusion(now, Cause::Succeeded, Some(exit::OK), &reason, message, Next::Done);
                (Conclusion { report, ..conclusion }, self.breaker.succeeded())
            }
            End::Over(ended) => {
                let (reason, message) = words(&ended);
                let (cause, next, change) = match stopped {
                    true => (Cause::Stopped, Next::Again { not_before: now, counts: false }, Change::None),
                    false => self.failed(item, row, &ended, &reason, now),
                };
                let conclusion = conclusion(now, cause, Some(ended.exit), &reason, message, next);
                let log = tail(&ended.log_tail).to_owned();
                (Conclusion { report: report(&ended, true), log, ..conclusion }, change)
            }
        }
    }

    fn failed(&mut self, item: &ItemName, row: &Row, ended: &Ended, reason: &str, now: Time) -> (Cause, Next, Change) {
        let failure = Likeness { exit: ended.exit, reason: reason.to_owned() };
        let spared = self.breaker.spares(&failure);
        let change = self.breaker.failed(item, failure, now);
        let class = ExitClass::of(ended.exit);
        let permanent = class == ExitClass::Permanent
            || self.policy.permanent.contains(&ended.exit)
            || ended.report.as_ref().is_some_and(|report| report.permanent);
        let cause = if permanent { Cause::Permanent } else { Cause::Failed };
        let factor = if class == ExitClass::Outside { OUTSIDE_FACTOR } else { 1 };
        let again =
            |this: &mut Self, counts| Next::Again { not_before: now.after(this.wait(row.attempts, factor)), counts };
        let next = if spared {
            again(self, false)
        } else if permanent || row.attempts + 1 >= self.policy.max_attempts {
            Next::Dead
        } else {
            again(self, true)
        };
        (cause, next, change)
    }

    /// Full jitter: anything from nothing to the doubled wait, so that those that failed together do not return together.
    fn wait(&mut self, before: u32, factor: u32) -> Duration {
        let most = self
            .policy
            .backoff
            .saturating_mul(factor)
            .saturating_mul(1_u32.checked_shl(before).filter(|_| before < 31).unwrap_or(1 << 31))
            .min(self.policy.backoff_most);
        Duration::from_millis(self.random.u64(0..=u64::try_from(most.as_millis()).unwrap_or(u64::MAX)))
    }
}

fn conclusion(at: Time, cause: Cause, exit: Option<u8>, reason: &str, message: String, next: Next) -> Conclusion {
    Conclusion { at, cause, exit, reason: reason.to_owned(), message, report: None, log: String::new(), next }
}

/// The report without its log, which is kept beside it where it is kept at all.
fn report(ended: &Ended, failed: bool) -> Option<String> {
    let mut report = ended.report.as_deref()?.clone();
    report.stdout_tail.clear();
    if !failed || !ended.log_tail.is_empty() {
        report.stderr_tail.clear();
    }
    serde_json::to_string(&report).ok()
}

/// What the worker said of its end, or what its exit code says.
fn words(ended: &Ended) -> (String, String) {
    match &ended.report {
        Some(report) => (report.reason.clone(), report.message.clone()),
        None => (reason(ended.exit).to_owned(), format!("exit {}: {}", ended.exit, exit::meaning(ended.exit))),
    }
}

/// One word for an exit code without a report.
fn reason(code: u8) -> &'static str {
    match code {
        exit::OK => "Succeeded",
        1..=exit::USER_MAX => "CommandFailed",
        exit::USAGE => "Usage",
        exit::BAD_ITEM => "BadItem",
        exit::NO_INPUT => "InputMissing",
        exit::UNAVAILABLE => "Unavailable",
        exit::BUG => "Bug",
        exit::CANT_CREATE => "OutputMissing",
        exit::IO => "LocalIo",
        exit::TEMPORARY => "Temporary",
        exit::FORBIDDEN => "Forbidden",
        exit::CONFIG => "Config",
        exit::TIMEOUT => "Timeout",
        exit::NOT_EXECUTABLE => "NotExecutable",
        exit::NOT_FOUND => "CommandNotFound",
        exit::SIGNAL_BASE.. => "Killed",
        _ => "CommandFailed",
    }
}

fn tail(log: &str) -> &str {
    let from = log.len().saturating_sub(LOG_KEPT);
    let from = (from..=log.len()).find(|at| log.is_char_boundary(*at)).unwrap_or(log.len());
    log.get(from..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use contract::report::{Outcome, Report, ReportKind};
    use contract::{Timestamp, marker::ApiV1};

    use super::*;
    use crate::ledger::{ItemId, State};

    const NOW: Time = Time(1_000_000);

    fn judge() -> Judge {
        let policy = RetryPolicy {
            max_attempts: 3,
            backoff: Duration::from_secs(1),
            backoff_most: Duration::from_secs(300),
            permanent: vec![3],
        };
        Judge::new(policy, Breaker::new(0), fastrand::Rng::with_seed(7))
    }

    fn row(attempts: u32, losses: u32) -> Row {
        let id = ItemId(1);
        Row { id, state: State::Running, attempts, losses, not_before: Time(0), settled: None, absent_since: None }
    }

    fn name() -> ItemName {
        "a".parse().expect("a name")
    }

    fn over(exit: u8) -> End {
        End::Over(Ended { exit, report: None, log_tail: "last words".into() })
    }

    fn reported(exit: u8, permanent: bool) -> End {
        let report = Report {
            kind: ReportKind::Report,
            api_version: ApiV1::V1,
            item: None,
            attempt: "n".into(),
            revision: 0,
            outcome: Outcome::Failed,
            exit_code: exit,
            permanent,
            reason: "CommandFailed".into(),
            message: "faces.sh exited with 9".into(),
            command_exit_code: Some(9),
            command_signal: None,
            started_at: Timestamp::now(),
            ended_at: Timestamp::now(),
            output: None,
            outputs: vec![],
            result: None,
            stdout_tail: "out".into(),
            stderr_tail: "err".into(),
        };
        End::Over(Ended { exit, report: Some(Box::new(report)), log_tail: String::new() })
    }

    fn next(end: End, attempts: u32, stopped: bool) -> (Cause, Next) {
        let (conclusion, _) = judge().judge(&name(), &row(attempts, 0), end, stopped, NOW);
        (conclusion.cause, conclusion.next)
    }

    #[test]
    fn each_exit_code_has_the_fate_that_the_contract_gives_it() {
        for code in 0..=255 {
            let (cause, next) = next(over(code), 0, false);
            match code {
                0 => assert_eq!((cause, next), (Cause::Succeeded, Next::Done)),
                3 | 64 | 65 | 66 | 73 | 77 | 78 | 126 | 127 => {
                    assert_eq!((cause, next), (Cause::Permanent, Next::Dead), "{code}");
                }
                _ => {
                    assert_eq!(cause, Cause::Failed, "{code}");
                    assert!(matches!(next, Next::Again { counts: true, .. }), "{code}");
                }
            }
        }
    }

    #[test]
    fn attempts_come_to_an_end() {
        assert!(matches!(next(over(1), 1, false).1, Next::Again { .. }));
        assert_eq!(next(over(1), 2, false), (Cause::Failed, Next::Dead));
    }

    #[test]
    fn the_workers_own_word_on_permanence_counts() {
        assert_eq!(next(reported(1, true), 0, false), (Cause::Permanent, Next::Dead));
        assert!(matches!(next(reported(1, false), 0, false).1, Next::Again { .. }));
        let (conclusion, _) = judge().judge(&name(), &row(0, 0), reported(1, true), false, NOW);
        assert_eq!(conclusion.message, "faces.sh exited with 9");
        let kept = conclusion.report.expect("has one");
        assert!(kept.contains("\"stderrTail\":\"err\"") && !kept.contains("stdoutTail"), "{kept}");
    }

    #[test]
    fn what_was_stopped_or_lost_does_not_count_however_often() {
        for end in [over(143), over(65), End::Lost { why: "?".into() }] {
            let not_counted = Next::Again { not_before: NOW, counts: false };
            assert_eq!(next(end, 2, true), (Cause::Stopped, not_counted));
        }
        assert_eq!(next(over(0), 2, true), (Cause::Succeeded, Next::Done), "it made it before the signal");
        let lost = End::Lost { why: "?".into() };
        let (conclusion, _) = judge().judge(&name(), &row(2, 50), lost, false, NOW);
        assert!(matches!(conclusion.next, Next::Again { counts: false, .. }));
    }

    #[test]
    fn waits_grow_with_jitter_up_to_the_most_and_outages_are_waited_out_longer() {
        let mut judge = judge();
        let longest = |judge: &mut Judge, before, factor| {
            (0..200).map(|_| judge.wait(before, factor)).max().expect("there are some")
        };
        let seconds =
            |range: std::ops::Range<f32>, wait: Duration| assert!(range.contains(&wait.as_secs_f32()), "{wait:?}");
        seconds(0.9..1.01, longest(&mut judge, 0, 1));
        seconds(3.6..4.01, longest(&mut judge, 2, 1));
        seconds(7.0..8.01, longest(&mut judge, 0, OUTSIDE_FACTOR));
        seconds(270.0..300.01, longest(&mut judge, 40, 1));
        assert!((0..200).any(|_| judge.wait(3, 1) < Duration::from_secs(2)), "the whole range is used");
    }

    #[test]
    fn while_the_breaker_is_open_no_item_pays_for_what_all_suffer_from() {
        let mut judge = Judge { breaker: Breaker::new(1), ..judge() };
        let (first, change) = judge.judge(&name(), &row(0, 0), over(64), false, NOW);
        assert_eq!((first.next, change), (Next::Dead, Change::Opened));
        let (probe, _) = judge.judge(&name(), &row(0, 0), over(64), false, NOW);
        assert!(matches!(probe.next, Next::Again { counts: false, .. }), "{:?}", probe.next);
        let (_, change) = judge.judge(&name(), &row(0, 0), over(0), false, NOW);
        assert_eq!(change, Change::Closed);
    }

    #[test]
    fn a_long_log_keeps_its_end_and_its_characters() {
        let log = "é".repeat(LOG_KEPT);
        let kept = tail(&log);
        assert!(kept.len() <= LOG_KEPT && kept.len() > LOG_KEPT - 4 && kept.chars().all(|c| c == 'é'));
        assert_eq!(tail("short"), "short");
    }
}
