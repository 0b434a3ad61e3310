//! A remote executor that does not exist: it loses answers, answers late, lists stale and restarts, by seed, and keeps a
//! history that a test holds against the manager's promises.
//!
//! Time is tokio's, so a test that pauses it runs through hours in milliseconds. Clones share one remote: a manager that is
//! dropped and made anew finds what the former one left running.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use contract::marker::ApiV1;
use contract::report::ReportKind;
use contract::{Outcome, Report, Timestamp, TraceContext};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{Attempt, AttemptId, Ended, Executor, ExecutorError, Phase, Snapshot, StartError};

mod history;

pub use history::{History, Run};

/// How bad it is out there. Chances are per call, between 0 and 1.
#[derive(Clone, Debug)]
pub struct Weather {
    /// From a call until its effect, and again from the effect until the answer. A call that is dropped half-way has its
    /// effect all the same.
    pub latency: RangeInclusive<Duration>,
    /// `start` takes effect and says [`StartError::Unknown`].
    pub answer_lost: f64,
    /// `start` takes no effect and says [`StartError::Unknown`].
    pub request_lost: f64,
    /// `start` says [`StartError::Throttled`].
    pub throttled: f64,
    /// `look`, `stop` and `forget` take no effect and say so.
    pub call_fails: f64,
    /// Every so long (first), for so long (second), every call fails: `start` with Unknown and without effect.
    pub outage: Option<(Duration, Duration)>,
    /// A snapshot shows what was true up to this long ago.
    pub stale: Duration,
    /// A snapshot leaves an attempt out.
    pub missing: f64,
    /// A snapshot comes at least this often, changed or not.
    pub relist: Duration,
}

impl Weather {
    /// Nothing goes wrong and nothing takes time.
    pub fn fair() -> Self {
        Self {
            latency: Duration::ZERO..=Duration::ZERO,
            answer_lost: 0.0,
            request_lost: 0.0,
            throttled: 0.0,
            call_fails: 0.0,
            outage: None,
            stale: Duration::ZERO,
            missing: 0.0,
            relist: Duration::from_secs(1),
        }
    }

    /// Everything goes wrong, often.
    pub fn foul() -> Self {
        Self {
            latency: Duration::ZERO..=Duration::from_millis(300),
            answer_lost: 0.1,
            request_lost: 0.1,
            throttled: 0.1,
            call_fails: 0.1,
            outage: Some((Duration::from_secs(60), Duration::from_secs(5))),
            stale: Duration::from_secs(2),
            missing: 0.1,
            relist: Duration::from_secs(1),
        }
    }
}

/// What one attempt will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Course {
    /// From being accepted to running.
    pub pending: Duration,
    /// From running to the end.
    pub running: Duration,
    /// The exit code; `None` when nobody will see how it ended.
    pub exit: Option<u8>,
    /// Whether it leaves a report.
    pub reports: bool,
}

/// Chooses what an attempt will do; the generator is seeded by the executor's seed, the item and the number, so that the
/// same attempt does the same in another order of events.
pub type Choose = dyn Fn(&Attempt, &mut fastrand::Rng) -> Course + Send + Sync;

/// A remote that can be asked to run attempts. Cheap to clone; all clones are one remote.
#[derive(Clone)]
pub struct SimulatedExecutor(Arc<Remote>);

struct Remote {
    seed: u64,
    born: Instant,
    choose: Box<Choose>,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

struct State {
    weather: Weather,
    chance: fastrand::Rng,
    /// By id; requests that are still under way are here too, with an effect in the future.
    attempts: HashMap<AttemptId, Accepted>,
    /// Runs of attempts that have been forgotten.
    past: Vec<Run>,
    violations: Vec<String>,
}

#[derive(Clone, Debug)]
struct Accepted {
    attempt: Attempt,
    lands: Instant,
    runs: Instant,
    ends: Instant,
    exit: Option<u8>,
    reports: bool,
}

impl SimulatedExecutor {
    /// A remote whose attempts take up to 2 s to run after up to 1 s of pending, and fail one time in ten each by codes 1,
    /// 75 and by being lost.
    pub fn new(seed: u64, weather: Weather) -> Self {
        Self::choosing(seed, weather, |_, rng| Course {
            pending: Duration::from_millis(rng.u64(0..1000)),
            running: Duration::from_millis(rng.u64(1..2000)),
            exit: match rng.u8(0..10) {
                0 => Some(1),
                1 => Some(75),
                2 => None,
                _ => Some(0),
            },
            reports: rng.bool(),
        })
    }

    /// A remote whose attempts do what `choose` says.
    pub fn choosing(
        seed: u64,
        weather: Weather,
        choose: impl Fn(&Attempt, &mut fastrand::Rng) -> Course + Send + Sync + 'static,
    ) -> Self {
        let state = State {
            weather,
            chance: fastrand::Rng::with_seed(seed),
            attempts: HashMap::new(),
            past: Vec::new(),
            violations: Vec::new(),
        };
        Self(Arc::new(Remote {
            seed,
            born: Instant::now(),
            choose: Box::new(choose),
            state: Mutex::new(state),
            changed: watch::Sender::new(0),
        }))
    }

    /// From now on the weather is this.
    pub fn turn(&self, weather: Weather) {
        self.0.lock().weather = weather;
    }

    /// The remote goes down and comes back: every pending attempt is forgotten, every running one is lost.
    pub fn restart(&self) {
        let now = Instant::now();
        let mut state = self.0.lock();
        state.attempts.retain(|_, one| one.runs <= now);
        for one in state.attempts.values_mut().filter(|one| one.ends > now) {
            (one.ends, one.exit) = (now, None);
        }
        drop(state);
        self.0.change();
    }

    /// Everything that has run until now.
    pub fn history(&self) -> History {
        let now = Instant::now();
        let state = self.0.lock();
        let mut runs = state.past.clone();
        runs.extend(state.attempts.values().filter_map(|one| one.run(now)));
        runs.sort_by(|a, b| (a.began, &a.id).cmp(&(b.began, &b.id)));
        History { runs, violations: state.violations.clone() }
    }
}

impl fmt::Debug for SimulatedExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedExecutor").field("seed", &self.0.seed).finish_non_exhaustive()
    }
}

impl Accepted {
    fn phase(&self, now: Instant) -> Phase {
        if now < self.lands {
            Phase::Absent
        } else if now < self.runs {
            Phase::Pending
        } else if now < self.ends {
            Phase::Running
        } else {
            match self.exit {
                None => Phase::Lost,
                Some(exit) => Phase::Over(Ended {
                    exit,
                    report: self.reports.then(|| Box::new(report(&self.attempt, exit))),
                    log_tail: format!("attempt {} of {} ended with {exit}", self.attempt.number, self.attempt.item),
                }),
            }
        }
    }

    fn run(&self, now: Instant) -> Option<Run> {
        // One that was stopped or lost before it ran has no run.
        (self.runs <= now && self.runs < self.ends).then(|| Run {
            id: self.attempt.id.clone(),
            item: self.attempt.item.clone(),
            number: self.attempt.number,
            revision: self.attempt.revision,
            began: self.runs,
            ended: (self.ends <= now).then_some(self.ends),
            exit: self.exit.filter(|_| self.ends <= now),
        })
    }
}

fn report(attempt: &Attempt, exit: u8) -> Report {
    let ok = exit == 0;
    Report {
        kind: ReportKind::Report,
        api_version: ApiV1::V1,
        item: Some(attempt.item.clone()),
        attempt: attempt.id.0.clone(),
        revision: attempt.revision,
        outcome: if ok { Outcome::Published } else { Outcome::Failed },
        exit_code: exit,
        permanent: contract::ExitClass::of(exit) == contract::ExitClass::Permanent,
        reason: if ok { "Published" } else { "CommandFailed" }.to_owned(),
        message: contract::exit::meaning(exit).to_owned(),
        command_exit_code: Some(i32::from(exit)),
        command_signal: None,
        started_at: Timestamp::from_unix_nanos(0),
        ended_at: Timestamp::from_unix_nanos(0),
        output: None,
        outputs: Vec::new(),
        result: None,
        stdout_tail: String::new(),
        stderr_tail: String::new(),
    }
}

impl Remote {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) {
        self.changed.send_modify(|n| *n += 1);
    }

    fn course(&self, attempt: &Attempt) -> Course {
        let mut hasher = DefaultHasher::new();
        (self.seed, attempt.item.as_str(), attempt.number, attempt.revision).hash(&mut hasher);
        (self.choose)(attempt, &mut fastrand::Rng::with_seed(hasher.finish()))
    }

    fn is_out(&self, weather: &Weather) -> bool {
        weather.outage.is_some_and(|(every, lasting)| {
            let into = self.born.elapsed().as_millis() % every.as_millis().max(1);
            // The end of each period, so that the first call ever finds it up.
            into >= every.saturating_sub(lasting).as_millis()
        })
    }

    /// The way there, `effect` there, and the way back, each taking its time; a call that fails has no effect.
    async fn call<T>(&self, effect: impl FnOnce(&mut State, Instant) -> T + Send) -> Result<T, ExecutorError> {
        let (there, back, fails) = {
            let mut state = self.lock();
            let fails = self.is_out(&state.weather) || {
                let chance = state.weather.call_fails;
                state.happens(chance)
            };
            (state.latency(), state.latency(), fails)
        };
        wait(there).await;
        if fails {
            return Err(ExecutorError { why: "simulated failure".to_owned() });
        }
        let said = effect(&mut self.lock(), Instant::now());
        self.change();
        wait(back).await;
        Ok(said)
    }

    /// What a list shows, which may be old and have holes, and when the next thing happens by itself.
    fn snapshot(&self) -> (Snapshot, Option<Instant>) {
        let now = Instant::now();
        let mut state = self.lock();
        let (stale, missing) = (state.weather.stale, state.weather.missing);
        let then = now - state.between(Duration::ZERO..=stale).min(now - self.born);
        let mut attempts = BTreeMap::new();
        let mut ids: Vec<AttemptId> = state.attempts.keys().cloned().collect();
        ids.sort();
        for id in ids {
            if state.happens(missing) {
                continue;
            }
            let phase = state.attempts.get(&id).map_or(Phase::Absent, |one| one.phase(then));
            if !matches!(phase, Phase::Absent | Phase::Lost) {
                attempts.insert(id, phase);
            }
        }
        let times = state.attempts.values().flat_map(|one| [one.lands, one.runs, one.ends]);
        (Snapshot { attempts: attempts.into_iter().collect() }, times.filter(|time| *time > now).min())
    }
}

impl State {
    fn happens(&mut self, chance: f64) -> bool {
        chance > 0.0 && self.chance.f64() < chance
    }

    fn between(&mut self, range: RangeInclusive<Duration>) -> Duration {
        let micros = |duration: &Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.chance.u64(micros(range.start())..=micros(range.end())))
    }

    fn latency(&mut self) -> Duration {
        let latency = self.weather.latency.clone();
        self.between(latency)
    }
}

async fn wait(latency: Duration) {
    if !latency.is_zero() {
        sleep(latency).await;
    }
}

/// How a call to `start` goes.
enum Fate {
    Throttled,
    RequestLost,
    AnswerLost,
    Answered,
}

impl Executor for SimulatedExecutor {
    async fn start(&self, attempt: &Attempt) -> Result<(), StartError> {
        let course = self.0.course(attempt);
        let (fate, back, answer) = {
            let mut state = self.0.lock();
            let weather = state.weather.clone();
            let fate = if self.0.is_out(&weather) || state.happens(weather.request_lost) {
                Fate::RequestLost
            } else if state.happens(weather.throttled) {
                Fate::Throttled
            } else if state.happens(weather.answer_lost) {
                Fate::AnswerLost
            } else {
                Fate::Answered
            };
            let lands = Instant::now() + state.latency();
            let taken = matches!(fate, Fate::AnswerLost | Fate::Answered);
            let conflict = taken && !state.accept(attempt, &course, lands);
            (fate, lands + state.latency(), conflict)
        };
        self.0.change();
        if back > Instant::now() {
            sleep_until(back).await;
        }
        match fate {
            Fate::Throttled => Err(StartError::Throttled { why: "simulated".to_owned(), retry: None }),
            Fate::RequestLost | Fate::AnswerLost => Err(StartError::Unknown { why: "simulated timeout".to_owned() }),
            Fate::Answered if answer => Err(StartError::Conflict),
            Fate::Answered => Ok(()),
        }
    }

    async fn stop(&self, id: &AttemptId, grace: Duration) -> Result<(), ExecutorError> {
        self.0
            .call(|state, now| {
                let dies = now + state.between(Duration::ZERO..=grace);
                let Some(one) = state.attempts.get_mut(id) else { return };
                if now < one.runs {
                    (one.runs, one.ends, one.exit, one.reports) = (now, now, Some(143), false);
                } else if dies < one.ends {
                    (one.ends, one.exit, one.reports) = (dies, Some(143), false);
                }
            })
            .await
    }

    fn observe(&self) -> BoxStream<'static, Snapshot> {
        let remote = Arc::clone(&self.0);
        let changed = remote.changed.subscribe();
        let first = true;
        stream::unfold((remote, changed, first), |(remote, mut changed, first)| async move {
            if !first {
                let relist = remote.lock().weather.relist;
                let by_itself = remote.snapshot().1;
                let next = async {
                    match by_itself {
                        Some(time) => sleep_until(time).await,
                        None => std::future::pending().await,
                    }
                };
                let _ = timeout(relist, async {
                    tokio::select! { _ = changed.changed() => {}, () = next => {} }
                })
                .await;
            }
            changed.borrow_and_update();
            let snapshot = remote.snapshot().0;
            Some((snapshot, (remote, changed, false)))
        })
        .boxed()
    }

    async fn look(&self, id: &AttemptId) -> Result<Phase, ExecutorError> {
        self.0.call(|state, now| state.attempts.get(id).map_or(Phase::Absent, |one| one.phase(now))).await
    }

    async fn trace(&self, id: &AttemptId) -> Option<TraceContext> {
        self.0.lock().attempts.get(id)?.attempt.trace.clone()
    }

    async fn forget(&self, ids: &[AttemptId]) -> Result<(), ExecutorError> {
        self.0
            .call(|state, now| {
                for id in ids {
                    let Some(one) = state.attempts.remove(id) else { continue };
                    if now < one.ends && now >= one.lands {
                        state.violations.push(format!("attempt {} of {} was forgotten alive", id.0, one.attempt.item));
                    }
                    state.past.extend(one.run(now));
                }
            })
            .await
    }
}

impl State {
    /// Whether the attempt is new here.
    fn accept(&mut self, attempt: &Attempt, course: &Course, lands: Instant) -> bool {
        if self.attempts.contains_key(&attempt.id) {
            return false;
        }
        if self.past.iter().any(|run| run.id == attempt.id) {
            self.violations.push(format!("attempt {} of {} was started after its end", attempt.id.0, attempt.item));
        }
        let runs = lands + course.pending;
        let accepted = Accepted {
            attempt: attempt.clone(),
            lands,
            runs,
            ends: runs + course.running,
            exit: course.exit,
            reports: course.reports,
        };
        self.attempts.insert(attempt.id.clone(), accepted);
        true
    }
}

#[cfg(test)]
mod tests;
