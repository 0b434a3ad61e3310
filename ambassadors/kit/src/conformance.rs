//! The promises of the source contract, each by a stable name, asked of anything that answers it.
//!
//! The suite speaks only HTTP: a [`Router`] made by [`router`](crate::router()) serves as well as one that forwards to a URL. The source
//! has to be quiet while it is asked, and hold at least one item for every promise to be put to the test.
//!
//! ```
//! # use ambassador_kit::conformance::{self, Plan};
//! # async fn example(app: axum::Router) {
//! let verdicts = conformance::run(app, Plan { settle: true, ..Plan::default() }).await;
//! conformance::assert_kept(&verdicts);
//! # }
//! ```

mod ask;
mod errors;
mod items;
mod lists;
mod settle;

use std::fmt;

use axum::Router;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use self::ask::Ask;

/// How far the suite goes.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Whether items may be settled: the first two that are listed will be.
    pub settle: bool,
    /// How many items of a long list are looked at.
    pub most: usize,
    /// Names per page where pages are asked for.
    pub page: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Self { settle: false, most: 2_000, page: 7 }
    }
}

/// What the suite found of one promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The promise's name, which never changes.
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
    NotOffered(&'static str),
}

/// Why a check did not end with the promise kept.
#[derive(Debug)]
enum Miss {
    Broken(String),
    NotOffered(&'static str),
}

type Check = for<'a> fn(&'a Ask) -> BoxFuture<'a, Result<(), Miss>>;

/// Every promise, in the order in which they are asked: those that settle come last.
const PROMISES: [(&str, &str, Check); 19] = [
    ("about", "GET /v1 says who is speaking", |ask| lists::about(ask).boxed()),
    ("list", "the list is an ItemList of legal names that says whether it is complete", |ask| {
        lists::shape(ask).boxed()
    }),
    ("list.once", "no name is listed twice", |ask| lists::once(ask).boxed()),
    ("list.aliases", "all three paths serve the same list, with or without a slash behind", |ask| {
        lists::aliases(ask).boxed()
    }),
    ("list.head", "HEAD answers as GET does, without a body", |ask| lists::head(ask).boxed()),
    ("list.reading", "listing and getting consume nothing", |ask| lists::reading(ask).boxed()),
    ("page.joined", "pages joined are the list, and none is longer than its limit", |ask| lists::joined(ask).boxed()),
    ("page.limit", "a limit that is no number from 1 on is 400", |ask| lists::bad_limit(ask).boxed()),
    ("page.token", "a continue token that is none is 400", |ask| lists::bad_token(ask).boxed()),
    ("withheld", "what is not listed is told with key, reason and message", |ask| lists::withheld(ask).boxed()),
    ("item", "every listed name can be got, under all three paths", |ask| items::get(ask).boxed()),
    ("item.unknown", "a name that was never listed is 404", |ask| items::unknown(ask).boxed()),
    ("item.bad-name", "what can be no name is 400", |ask| items::bad_name(ask).boxed()),
    ("error.path", "an unknown path is 404, with a Status", |ask| errors::path(ask).boxed()),
    ("error.method", "a method that is not offered is 405, with Allow and a Status", |ask| errors::method(ask).boxed()),
    ("settle.refused", "without a settle policy DELETE is 405 and changes nothing", |ask| settle::refused(ask).boxed()),
    ("settle.outcome", "an outcome that is none is 400 and changes nothing", |ask| settle::bad_outcome(ask).boxed()),
    ("settle.any", "any legal name can be settled, as often as asked", |ask| settle::any(ask).boxed()),
    ("settle.done", "what is settled, done or failed, is listed no more", |ask| settle::done(ask).boxed()),
];

/// Asks for every promise, one after the other.
pub async fn run(app: Router, plan: Plan) -> Vec<Verdict> {
    let ask = Ask::new(app, plan);
    let mut verdicts = Vec::with_capacity(PROMISES.len());
    for (promise, says, check) in PROMISES {
        let outcome = match check(&ask).await {
            Ok(()) => Outcome::Kept,
            Err(Miss::Broken(how)) => Outcome::Broken(how),
            Err(Miss::NotOffered(why)) => Outcome::NotOffered(why),
        };
        verdicts.push(Verdict { promise, says, outcome });
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

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { promise, says, outcome } = self;
        match outcome {
            Outcome::Kept => write!(f, "kept         {promise}: {says}"),
            Outcome::Broken(how) => write!(f, "BROKEN       {promise}: {says}; {how}"),
            Outcome::NotOffered(why) => write!(f, "not offered  {promise}: {says}; {why}"),
        }
    }
}
