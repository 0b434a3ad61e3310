//! The promises of the source contract, each by a stable name, asked of anything that answers it.
//!
//! The suite speaks HTTP through one door, a service: a [`Router`](axum::Router) made by [`router`](crate::router()) serves as well as
//! one that forwards to a URL. It reads from the outside only, and believes nothing it is told: every answer has a deadline and a
//! largest size. Unless [`Plan::settle`] says otherwise it sends nothing that could write: GET, HEAD, and a method that does not exist.
//!
//! The source may be busy. What is compared is asked again when the list was another meanwhile, and where it never holds still the
//! promise is said to be untested, not broken.
//!
//! ```
//! # use ambassador_kit::conformance::{self, Plan};
//! # async fn example(app: axum::Router) {
//! let verdicts = conformance::run(app, Plan { settle: true, ..Plan::default() }).await;
//! conformance::assert_kept(&verdicts);
//! # }
//! ```

mod again;
mod ask;
mod auth;
mod data;
mod errors;
mod items;
mod journal;
mod lines;
mod listed;
mod lists;
mod meet;
mod pages;
mod promises;
mod quiet;
mod settle;
mod watch;
mod withheld;

use std::fmt;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use contract::wire::About;
use futures_util::future::BoxFuture;
use sidecar::Secret;
use tower::{BoxError, Service};

use self::ask::Ask;
pub use self::meet::NoAnswer;
pub use self::promises::PROMISES;
pub use self::withheld::REASONS;

/// How far the suite goes.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Whether items may be settled: the first five that are listed will be. Without it nothing is written.
    pub settle: bool,
    /// How many items of a long list are looked at.
    pub most: usize,
    /// Names per page where pages are asked for.
    pub page: usize,
    /// How long any one answer may take, as far as it is read. A promise may take ten of these.
    pub deadline: Duration,
    /// How long a silent watch is listened to; one that never is silent, twice as long. The contract speaks of 15 s; in less,
    /// `watch.bookmark` cannot be judged.
    pub silence: Duration,
    /// What to show a source that wants to know who asks.
    pub token: Option<Secret>,
}

impl Default for Plan {
    fn default() -> Self {
        let (deadline, silence) = (Duration::from_secs(30), Duration::from_secs(20));
        Self { settle: false, most: 2_000, page: 7, deadline, silence, token: None }
    }
}

/// One promise of the contract, and how it is put to the test.
#[derive(Clone, Copy)]
pub struct Promise {
    /// Its name, which never changes.
    pub name: &'static str,
    /// The promise, in a sentence.
    pub says: &'static str,
    check: Check,
}

type Check = for<'a> fn(&'a Ask) -> BoxFuture<'a, Result<(), Miss>>;

/// What the suite found of one promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The promise's name.
    pub promise: &'static str,
    /// The promise, in a sentence.
    pub says: &'static str,
    /// How it stands.
    pub outcome: Outcome,
}

/// How a promise stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is kept.
    Kept,
    /// It is broken, and how.
    Broken(String),
    /// It is not made here, or could not be put to the test, and why.
    NotOffered(String),
}

/// Why a check did not end with the promise kept.
#[derive(Debug)]
enum Miss {
    Broken(String),
    NotOffered(String),
}

impl Miss {
    fn broken(how: impl Into<String>) -> Self {
        Self::Broken(how.into())
    }

    fn not_offered(why: impl Into<String>) -> Self {
        Self::NotOffered(why.into())
    }
}

/// A source that has answered, of which any promise can be asked.
#[derive(Debug)]
pub struct Suite {
    ask: Ask,
}

impl Suite {
    /// Finds the path at which `app` lists, waiting while it says that it cannot see yet, and who it is.
    ///
    /// # Errors
    /// [`NoAnswer`] when there is nothing of which promises could be asked.
    pub async fn meet<S>(app: S, plan: Plan) -> Result<Self, NoAnswer>
    where
        S: Service<Request, Response = Response<Body>, Error: Into<BoxError>, Future: Send>
            + Clone
            + Send
            + Sync
            + 'static,
    {
        Ok(Self { ask: meet::meet(app, plan).await? })
    }

    /// Who the source says it is. One that does not is held to the least a source must do, and to what it offers all the same.
    pub fn speaker(&self) -> Option<&About> {
        self.ask.about.as_ref()
    }

    /// Puts one promise to the test.
    pub async fn ask(&self, promise: &Promise) -> Verdict {
        let limit = self.ask.plan.deadline * 10 + self.ask.plan.silence * 2;
        let outcome = match tokio::time::timeout(limit, (promise.check)(&self.ask)).await {
            Ok(Ok(())) => Outcome::Kept,
            Ok(Err(Miss::Broken(how))) => Outcome::Broken(how),
            Ok(Err(Miss::NotOffered(why))) => Outcome::NotOffered(why),
            Err(_elapsed) => Outcome::Broken(format!("what was asked took longer than {limit:?} in all")),
        };
        Verdict { promise: promise.name, says: promise.says, outcome }
    }
}

/// Asks for every promise, one after the other. Of a source that does not answer every one is broken.
pub async fn run<S>(app: S, plan: Plan) -> Vec<Verdict>
where
    S: Service<Request, Response = Response<Body>, Error: Into<BoxError>, Future: Send> + Clone + Send + Sync + 'static,
{
    let suite = Suite::meet(app, plan).await;
    let mut verdicts = Vec::with_capacity(PROMISES.len());
    for promise in &PROMISES {
        verdicts.push(match &suite {
            Ok(suite) => suite.ask(promise).await,
            Err(no_answer) => {
                let outcome = Outcome::Broken(no_answer.to_string());
                Verdict { promise: promise.name, says: promise.says, outcome }
            }
        });
    }
    verdicts
}

/// For tests: every promise that is made is kept.
///
/// # Panics
/// When one is broken; the message names them all.
pub fn assert_kept(verdicts: &[Verdict]) {
    let broken: Vec<String> = verdicts
        .iter()
        .filter(|verdict| matches!(verdict.outcome, Outcome::Broken(_)))
        .map(ToString::to_string)
        .collect();
    assert!(broken.is_empty(), "broken promises:\n{}", broken.join("\n"));
}

impl Outcome {
    /// The outcome in a word, for people and machines: `pass`, `fail`, `not offered`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Kept => "pass",
            Self::Broken(_) => "fail",
            Self::NotOffered(_) => "not offered",
        }
    }

    /// What there is to say beside it.
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Kept => None,
            Self::Broken(why) | Self::NotOffered(why) => Some(why),
        }
    }
}

impl fmt::Debug for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Promise").field("name", &self.name).field("says", &self.says).finish_non_exhaustive()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { promise, says, outcome } = self;
        write!(f, "{:<12} {promise}: {says}", outcome.word())?;
        outcome.why().map_or(Ok(()), |why| write!(f, "; {why}"))
    }
}
