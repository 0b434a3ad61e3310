//! One attempt's life, in the order in which it must happen: get the item, write the intent down, start, wait until it is
//! known to be over, write the outcome down, clear away.
//!
//! A manager that is killed between any two of these steps leaves what the next one needs to go on from there: an intent
//! without a conclusion is looked at and, where the executor has never heard of it, started under its own id, so that a
//! request that is still on its way cannot become a second run.

use std::sync::Arc;
use std::time::Duration;

use contract::client::ClientError;
use contract::{ItemName, TraceContext, exit};
use sidecar::fault;
use tokio::time::{sleep, timeout};
use tracing::{Instrument, Span, debug, error_span, info, warn};

use crate::breaker::Change;
use crate::executor::{Attempt, AttemptId, Ended, Executor, Phase, StartError};
use crate::ledger::{Conclusion, Intent, Ledger, Next, Row, Unconcluded};
use crate::shared::{Backoff, Orders, RunError, Shared};
use crate::source::Source;
use crate::verdict::End;

/// An executor may miss to tell: it is asked this often at least.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often clearing away is tried before it is left to the next manager.
const FORGET_TRIES: u32 = 5;

/// What came of an attempt, or why there was none.
#[derive(Debug)]
pub(crate) enum Landing {
    /// It is over and recorded; what it left is to be cleared away.
    Concluded { id: AttemptId, conclusion: Conclusion, change: Change },
    /// There was none: an operator, or the end of the manager, was faster.
    Withdrawn,
    /// There was none: the source lists the item and does not have it.
    Vanished,
    /// There was none: the source does not answer.
    Unreachable { error: ClientError },
}

/// What the source gave for a name.
enum Given {
    /// The item's data, as JSON, and the trace that it says it is part of.
    Data(String, Option<TraceContext>),
    /// Nothing, since it is gone.
    Gone,
    /// Something that is no item.
    Unusable(ClientError),
    /// Nothing, and that says nothing of the item.
    Unreachable(ClientError),
}

/// What is logged within it says which trace the item is part of.
fn span(trace: Option<&TraceContext>) -> Span {
    // Of the gravest level, so that no filter of lines takes it away.
    trace.map_or_else(Span::none, |trace| error_span!("item", trace_id = trace.trace_id()))
}

/// Attempts an item that is to be done.
pub(crate) async fn attempt<S: Source, E: Executor, L: Ledger>(
    shared: Arc<Shared<S, E, L>>,
    name: ItemName,
    row: Row,
) -> Result<Landing, RunError> {
    let given = shared.give(&name).await;
    match given {
        Given::Gone => {
            debug!(item = %name, "listed, and gone when asked for");
            shared.put_off(&row).await?;
            return Ok(Landing::Vanished);
        }
        Given::Unreachable(error) => {
            debug!(item = %name, %error, "listed, and not given");
            shared.put_off(&row).await?;
            return Ok(Landing::Unreachable { error });
        }
        Given::Data(..) | Given::Unusable(_) => {}
    }
    if *shared.orders.borrow() != Orders::Work {
        return Ok(Landing::Withdrawn);
    }
    let (id, now) = (new_id(), shared.clock.now());
    fault::point("manager.intend.before")?;
    let Some(intent) = shared.keep(|ledger| ledger.intend(row.id, id.clone(), now)).await? else {
        return Ok(Landing::Withdrawn);
    };
    fault::point("manager.intend.after")?;
    let mut course = Course::new(&shared, &name, &intent);
    course.given = Some(given);
    let end = match course.start().await? {
        Some(end) => end,
        None => course.wait().await?,
    };
    course.conclude(&row, end).await
}

/// Goes on with an attempt that another manager has intended and not concluded.
pub(crate) async fn resume<S: Source, E: Executor, L: Ledger>(
    shared: Arc<Shared<S, E, L>>,
    left: Unconcluded,
) -> Result<Landing, RunError> {
    let Unconcluded { name, row, intent, stopping } = left;
    let mut course = Course::new(&shared, &name, &intent);
    course.stop_recorded = stopping;
    course.span = span(shared.executor.trace(&intent.nonce).await.as_ref());
    course.span.in_scope(|| {
        info!(item = %name, attempt = intent.number, id = intent.nonce.0, "looking after an attempt left open");
    });
    let end = course.wait().await?;
    course.conclude(&row, end).await
}

/// Clears away what concluded attempts have left, and says so in the ledger.
pub(crate) async fn clear<S: Source, E: Executor, L: Ledger>(
    shared: Arc<Shared<S, E, L>>,
    ids: Vec<AttemptId>,
) -> Result<(), RunError> {
    let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));
    let mut tries = 0;
    fault::point("manager.forget.before")?;
    while let Err(error) = shared.executor.forget(&ids).await {
        tries += 1;
        if tries == FORGET_TRIES || matches!(*shared.orders.borrow(), Orders::Stop(_)) {
            warn!(attempts = ids.len(), %error, "an attempt could not be cleared away; the next start tries again");
            return Ok(());
        }
        sleep(backoff.next()).await;
    }
    fault::point("manager.forget.after")?;
    shared.keep(|ledger| ledger.cleared(ids.clone())).await?;
    fault::point("manager.cleared.after")?;
    Ok(())
}

/// 16 characters of base32: a legal file name and DNS label.
fn new_id() -> AttemptId {
    const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    AttemptId((0..16).map(|_| char::from(*fastrand::choice(DIGITS).expect("there are 32"))).collect())
}

/// What is not an item cannot be given to a worker. It may be the source's passing fault, so it is tried again a few times.
fn unusable(error: &ClientError) -> End {
    End::Over(Ended {
        exit: exit::TEMPORARY,
        report: None,
        log_tail: format!("the source did not give an item: {error}"),
    })
}

impl<S: Source, E: Executor, L: Ledger> Shared<S, E, L> {
    async fn put_off(&self, row: &Row) -> Result<(), RunError> {
        let until = self.clock.now().after(self.put_off);
        Ok(self.keep(|ledger| ledger.put_off(row.id, until)).await?)
    }

    async fn give(&self, name: &ItemName) -> Given {
        match self.source.item(name).await {
            Ok(item) => match serde_json::to_string(&item.data) {
                Ok(data) => Given::Data(data, TraceContext::of_data(&item.data)),
                Err(_) => unreachable!("a map of JSON values is JSON"),
            },
            Err(ClientError::NotFound { .. } | ClientError::Gone { .. }) => Given::Gone,
            Err(error @ ClientError::Unavailable { .. }) => Given::Unreachable(error),
            Err(error @ (ClientError::Broken { .. } | ClientError::Unsupported { .. })) => Given::Unusable(error),
        }
    }

    async fn conclude(
        self: &Arc<Self>,
        name: &ItemName,
        row: &Row,
        intent: &Intent,
        end: End,
        stopped: bool,
    ) -> Result<Landing, RunError> {
        let (conclusion, change) = self.judge().judge(name, row, end, stopped, self.clock.now());
        fault::point("manager.conclude.before")?;
        self.keep(|ledger| ledger.conclude(intent.nonce.clone(), conclusion.clone())).await?;
        fault::point("manager.conclude.after")?;
        let took = conclusion.at.since(intent.at);
        self.meters.ended(conclusion.cause, took);
        log_end(name, intent, &conclusion, took);
        Ok(Landing::Concluded { id: intent.nonce.clone(), conclusion, change })
    }
}

fn log_end(item: &ItemName, intent: &Intent, end: &Conclusion, took: Duration) {
    let (attempt, id, cause, reason) = (intent.number, &intent.nonce.0, end.cause.as_str(), &end.reason);
    let (exit, says) = (end.exit.map(u64::from), &end.message);
    match end.next {
        Next::Done => info!(%item, attempt, id, ?took, "done"),
        Next::Dead => warn!(%item, attempt, id, exit, reason, says, "dead: see `queue-manager ledger show`"),
        Next::Again { not_before, .. } => {
            let wait = not_before.since(end.at);
            info!(%item, attempt, id, cause, exit, reason, says, ?wait, "to be done again");
        }
    }
}

/// An attempt that is intended, on its way to its end.
struct Course<'a, S, E, L> {
    shared: &'a Arc<Shared<S, E, L>>,
    name: &'a ItemName,
    intent: &'a Intent,
    /// What the source gave for it, where it was asked already.
    given: Option<Given>,
    /// That of the trace that the item is part of, once it is known.
    span: Span,
    /// Within what time it is to end, where it is.
    ending: Option<Duration>,
    /// Whether it is written down that its end was asked for.
    stop_recorded: bool,
    /// With what grace the executor has heard of that.
    stop_heard: Option<Duration>,
}

impl<'a, S: Source, E: Executor, L: Ledger> Course<'a, S, E, L> {
    fn new(shared: &'a Arc<Shared<S, E, L>>, name: &'a ItemName, intent: &'a Intent) -> Self {
        let span = Span::none();
        Self { shared, name, intent, given: None, span, ending: None, stop_recorded: false, stop_heard: None }
    }

    /// Starts it, however often that has to be asked for. Gives its end where there is nothing to wait for.
    async fn start(&mut self) -> Result<Option<End>, RunError> {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        let (data, trace) = loop {
            let given = match self.given.take() {
                Some(given) => given,
                None => self.shared.give(self.name).await,
            };
            match given {
                Given::Data(data, trace) => break (data, trace),
                Given::Unusable(error) => return Ok(Some(unusable(&error))),
                Given::Unreachable(error) => debug!(item = %self.name, %error, "an attempt waits for its item"),
                Given::Gone => {
                    // A request to start it may still be under way, so that it has to be stopped.
                    self.ending = Some(Duration::ZERO);
                    return Ok(None);
                }
            }
            if self.pause(backoff.next()).await {
                return Ok(None);
            }
        };
        let attempt = Attempt {
            id: self.intent.nonce.clone(),
            item: self.name.clone(),
            number: self.intent.number,
            revision: self.intent.revision,
            data,
            trace,
        };
        self.span = span(attempt.trace.as_ref());
        let span = self.span.clone();
        let started = self.request(&attempt).instrument(span).await?;
        self.given = Some(Given::Data(attempt.data, attempt.trace));
        Ok(started)
    }

    /// Asks the executor for it. Gives its end where it never runs.
    async fn request(&mut self, attempt: &Attempt) -> Result<Option<End>, RunError> {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        loop {
            fault::point("manager.start.before")?;
            let pause = match self.shared.executor.start(attempt).await {
                Ok(()) => {
                    fault::point("manager.start.after")?;
                    info!(item = %attempt.item, attempt = attempt.number, id = attempt.id.0, "started");
                    return Ok(None);
                }
                Err(StartError::Conflict) => return Ok(None),
                Err(StartError::Refused { exit, why }) => {
                    return Ok(Some(End::Over(Ended { exit, report: None, log_tail: why })));
                }
                Err(StartError::Throttled { why, retry }) => {
                    debug!(item = %attempt.item, why, "throttled");
                    retry.unwrap_or_else(|| backoff.next())
                }
                Err(StartError::Unknown { why }) => {
                    warn!(item = %attempt.item, why, "it is not known whether an attempt started; asking again");
                    backoff.next()
                }
            };
            if self.pause(pause).await {
                // Whether it started is found out by looking.
                return Ok(None);
            }
        }
    }

    /// Waits, unless it is to end; says whether it is.
    async fn pause(&mut self, pause: Duration) -> bool {
        let mut orders = self.shared.orders.subscribe();
        let stop = orders.wait_for(|orders| matches!(orders, Orders::Stop(_)));
        timeout(pause, stop).await.is_ok()
    }

    /// Waits until it is over, by the executor's own word.
    async fn wait(&mut self) -> Result<End, RunError> {
        let id = &self.intent.nonce;
        let watched = self.shared.pulse.watch(id);
        let mut orders = self.shared.orders.subscribe();
        let mut backoff = Backoff::new(Duration::from_millis(200), LOOK_EVERY);
        loop {
            if let Orders::Stop(grace) = *orders.borrow_and_update() {
                self.ending = Some(grace);
            }
            self.stop().await?;
            let pause = match self.shared.executor.look(id).await {
                Ok(Phase::Over(ended)) => return Ok(End::Over(ended)),
                Ok(Phase::Lost) => return Ok(End::Lost { why: "nobody saw how it ended".into() }),
                Ok(Phase::Absent) if self.stop_heard.is_some() => {
                    return Ok(End::Lost { why: "stopped before it began".into() });
                }
                Ok(Phase::Absent) if self.ending.is_none() => {
                    sleep(backoff.next()).await;
                    if let Some(end) = self.start().await? {
                        return Ok(end);
                    }
                    continue;
                }
                Ok(Phase::Pending | Phase::Running) if self.ending == self.stop_heard => {
                    backoff.reset();
                    LOOK_EVERY
                }
                Ok(Phase::Absent | Phase::Pending | Phase::Running) => backoff.next(),
                Err(error) => {
                    self.span.in_scope(|| debug!(item = %self.name, %error, "looking again later"));
                    backoff.next()
                }
            };
            tokio::select! {
                () = watched.news() => {}
                _ = orders.changed() => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// Where it is to end and has not heard: writes that down first, then asks.
    async fn stop(&mut self) -> Result<(), RunError> {
        let (Some(grace), id) = (self.ending, &self.intent.nonce) else { return Ok(()) };
        if self.stop_heard == Some(grace) {
            return Ok(());
        }
        if !self.stop_recorded {
            let now = self.shared.clock.now();
            fault::point("manager.stop.before")?;
            self.shared.keep(|ledger| ledger.stopping(id.clone(), now)).await?;
            self.stop_recorded = true;
            fault::point("manager.stop.after")?;
        }
        match self.shared.executor.stop(id, grace).await {
            Ok(()) => self.stop_heard = Some(grace),
            Err(error) => self.span.in_scope(|| debug!(item = %self.name, %error, "stopping again later")),
        }
        Ok(())
    }

    /// Writes its end down.
    async fn conclude(self, row: &Row, end: End) -> Result<Landing, RunError> {
        let concluded = self.shared.conclude(self.name, row, self.intent, end, self.stop_recorded);
        concluded.instrument(self.span).await
    }
}
