//! The first questions: is anybody there, at which path, and who is it.

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use contract::wire::ITEM_PATHS;
use http::StatusCode;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service, ServiceExt};

use super::Plan;
use super::ask::{Ask, Trouble};
use super::journal::Journal;

/// Why there is nothing of which promises could be asked.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// Nobody is there, or nobody who speaks HTTP and answers in time.
    #[error("nothing answers: {0}")]
    Unreachable(String),
    /// Somebody is there, and none of the three paths.
    #[error("none of {} is there: is it a source's?", ITEM_PATHS.join(", "))]
    NotASource,
    /// It wants to know who asks.
    #[error("the source answers 401: {0}")]
    Unauthorized(&'static str),
    /// It cannot see its backend, and so cannot show what it promises.
    #[error("the source cannot be seen (503): {0}")]
    Unavailable(String),
}

impl From<Trouble> for NoAnswer {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::NoAnswer(how) | Trouble::TooMuch(how) => Self::Unreachable(how),
            Trouble::Unavailable(why) => Self::Unavailable(why),
        }
    }
}

pub(super) async fn meet<S>(app: S, plan: Plan) -> Result<Ask, NoAnswer>
where
    S: Service<Request, Response = Response<Body>, Error: Into<BoxError>, Future: Send> + Clone + Send + Sync + 'static,
{
    let app = BoxCloneSyncService::new(app.map_err(Into::into));
    let mut ask = Ask { app, plan, items: "", about: None, journal: Journal::default() };
    let mut other = None;
    for path in ITEM_PATHS {
        // A page is enough to see that it is there; of a source without pages, only the head is read.
        let question = ask.question(http::Method::GET, format!("{path}?limit=1"));
        let (response, _until) = ask.open(&question).await?;
        match response.status() {
            StatusCode::OK => {
                ask.items = path;
                break;
            }
            StatusCode::NOT_FOUND => {}
            // A source may have the list at the next path, and refuse all others in its own way.
            refusal => {
                other.get_or_insert((path, refusal));
            }
        }
    }
    if ask.items.is_empty() {
        ask.items = match other {
            None => return Err(NoAnswer::NotASource),
            Some((_, StatusCode::UNAUTHORIZED)) if ask.plan.token.is_none() => {
                return Err(NoAnswer::Unauthorized("it wants a token, and none was given"));
            }
            Some((_, StatusCode::UNAUTHORIZED)) => {
                return Err(NoAnswer::Unauthorized("the token given is not the one it wants"));
            }
            // What is wrong with the list there is for its promises to say.
            Some((path, _)) => path,
        };
    }
    let answer = ask.try_put(&ask.question(http::Method::GET, "/v1")).await?;
    // What is wrong with it is for `about` to say.
    ask.about = (answer.status == StatusCode::OK).then(|| answer.json().ok()).flatten();
    Ok(ask)
}
