//! The source contract over HTTP: any [`Source`] as a router. It does no I/O of its own.

mod answer;
mod encoding;
mod known;
mod list;
mod request;
mod token;
mod watch;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use contract::wire;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use sidecar::Shutdown;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use tracing::{debug, error};

use self::answer::{Refusal, json};
use self::list::{Items, Walk, Withheld};
use self::request::{ListQuery, Route};
use self::watch::{WATCHERS, Watch};
use crate::guard::Guard;
use crate::metrics::Metrics;
use crate::settling::{SettleWhen, Settler};
use crate::source::{Health, Source};

/// How a router answers, beside what its source says.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long a request may take; for a streamed list, how long each of its parts may.
    pub deadline: Duration,
    /// Where requests are counted.
    pub metrics: Metrics,
    /// Holds every settlement under way: one that has begun runs to its end, whether or not the asker still waits.
    pub settling: TaskTracker,
    /// When an item counts as settled.
    pub settle: SettleWhen,
    /// Ends every watch as soon as draining begins.
    pub shutdown: Shutdown,
    /// Who may ask; without one, everybody.
    pub guard: Option<Arc<Guard>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(30),
            metrics: Metrics::default(),
            settling: TaskTracker::new(),
            settle: SettleWhen::Manager,
            shutdown: Shutdown::default(),
            guard: None,
        }
    }
}

/// The contract, answered by `source`.
pub fn router<S: Source>(source: Arc<S>, options: Options) -> Router {
    let served = Arc::new(Served::new(source, options));
    Router::new().fallback(move |request: Request| {
        let served = Arc::clone(&served);
        async move { served.answer(request).await }
    })
}

/// A source and how it is served.
#[derive(Debug)]
pub(crate) struct Served<S> {
    source: Arc<S>,
    settler: Arc<Settler<S>>,
    options: Options,
    watchers: Arc<Semaphore>,
}

impl<S: Source> Served<S> {
    pub(crate) fn new(source: Arc<S>, options: Options) -> Self {
        let settler = Settler::new(Arc::clone(&source), options.settle, options.settling.clone());
        Self { source, settler, options, watchers: Arc::new(Semaphore::new(WATCHERS)) }
    }

    /// Answers whatever comes: errors, panics and delays become statuses. Nothing is asked by a body.
    pub(crate) async fn answer<B>(&self, request: http::Request<B>) -> Response {
        let started = Instant::now();
        let (parts, _body) = request.into_parts();
        let (method, uri, headers) = (parts.method, parts.uri, &parts.headers);
        let route = Route::of(uri.path());
        let label = route.as_ref().map_or("unknown", Route::label);
        let work = async {
            self.admit(headers)?;
            self.dispatch(&method, route?, uri.query(), headers).await
        };
        let work = tokio::time::timeout(self.options.deadline, AssertUnwindSafe(work).catch_unwind());
        let response = match work.await {
            Ok(Ok(Ok(response))) => response,
            Ok(Ok(Err(refusal))) => refusal.into_response(),
            Ok(Err(_panic)) => {
                error!(%method, path = uri.path(), "a request handler panicked");
                Refusal::internal().into_response()
            }
            Err(_elapsed) => Refusal::timeout(self.options.deadline).into_response(),
        };
        self.options.metrics.answered(label, &method, response.status(), started.elapsed());
        debug!(%method, path = uri.path(), status = response.status().as_u16(), "answered");
        let response = encoding::encode(response, headers);
        if method == Method::HEAD { without_body(response) } else { response }
    }

    /// Whatever is asked, whoever may not ask learns nothing of it.
    fn admit(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        match &self.options.guard {
            Some(guard) if !guard.admits(headers) => Err(Refusal::unauthorized()),
            Some(_) | None => Ok(()),
        }
    }

    async fn dispatch(
        &self,
        method: &Method,
        route: Route,
        query: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<Response, Refusal> {
        let settles = matches!(route, Route::Item(_)) && self.source.about().settle != wire::Settle::None;
        match (method, route) {
            (&Method::GET | &Method::HEAD, route) => self.read(method, route, query, headers).await,
            (&Method::DELETE, Route::Item(name)) if settles => {
                let (name, outcome) = (name?, request::outcome(query)?);
                self.gate(false)?;
                self.settler.settle(name, outcome).await?;
                Ok(StatusCode::NO_CONTENT.into_response())
            }
            (&Method::DELETE, Route::Item(_)) => {
                Err(Refusal::method("this source was started without a settle policy", false))
            }
            (method, _) => Err(Refusal::method(format!("{method} is not offered here"), settles)),
        }
    }

    async fn read(
        &self,
        method: &Method,
        route: Route,
        query: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<Response, Refusal> {
        match route {
            Route::About => Ok(json(StatusCode::OK, &self.about())),
            Route::Items => {
                let query = ListQuery::parse(query)?;
                if let Some(query) = &query.watch {
                    // What is indexed so far is told as it is indexed.
                    self.gate(false)?;
                    return Ok(Watch::start(&self.source, &self.options, &self.watchers, query).await?.answer());
                }
                self.gate(query.limit.is_none())?;
                self.walk::<Items>(query, headers).await
            }
            Route::Withheld => {
                let query = ListQuery::parse(query)?;
                if query.watch.is_some() {
                    return Err(Refusal::not_offered("what is withheld cannot be watched; poll it instead"));
                }
                self.gate(query.limit.is_none())?;
                self.walk::<Withheld>(query, headers).await
            }
            Route::Item(name) => {
                let name = name?;
                self.gate(false)?;
                let item = self.source.get(&name).await?;
                if method == Method::GET {
                    self.settler.got(&name).await?;
                }
                Ok(json(StatusCode::OK, &item))
            }
        }
    }

    async fn walk<L: list::List>(&self, query: ListQuery, headers: &HeaderMap) -> Result<Response, Refusal> {
        let walk = Walk::<S, L>::start(Arc::clone(&self.source), &self.options, query.continue_token.as_deref())?;
        if let Some(unchanged) = walk.unchanged(headers).await? {
            return Ok(unchanged);
        }
        match query.limit {
            Some(limit) => walk.page(limit).await,
            None => walk.whole().await,
        }
    }

    /// Whether anything may be answered now, and whether the whole list may.
    fn gate(&self, whole: bool) -> Result<(), Refusal> {
        match &*self.source.health().borrow() {
            Health::Live | Health::Stale { .. } => Ok(()),
            Health::Indexing { .. } if !whole => Ok(()),
            Health::Indexing { why } => Err(Refusal::unavailable(
                format!("the first reading of the source is not finished ({why}); pages are served as far as it is"),
                Duration::from_secs(5),
            )),
            Health::Starting => Err(Refusal::unavailable(
                "the first look at the source is not finished".to_owned(),
                Duration::from_secs(1),
            )),
            Health::Lost { why } => {
                Err(Refusal::unavailable(format!("the source cannot be seen: {why}"), Duration::from_secs(5)))
            }
        }
    }

    fn about(&self) -> wire::About {
        let about = self.source.about();
        wire::About {
            kind: "Source".into(),
            api_version: "v1".into(),
            ambassador: about.ambassador.into(),
            version: about.version.into(),
            source_id: about.source_id,
            order: about.order.as_str().into(),
            incarnation: about.incarnation,
            capabilities: wire::Capabilities {
                paging: true,
                watch: self.source.revision().is_some(),
                withheld: true,
                settle: about.settle,
            },
        }
    }
}

/// The answer to a HEAD: the same, with the length the body would have where that is known.
fn without_body(mut response: Response) -> Response {
    // That of a 304 is not known: it would be the 200's (RFC 9110, 8.6).
    if response.status() != StatusCode::NOT_MODIFIED
        && let Some(length) = response.body().size_hint().exact()
    {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    // An empty body would be announced as one of no bytes (RFC 9110, 8.6).
    response.map(|_| Body::from_stream(futures_util::stream::empty::<Result<bytes::Bytes, std::io::Error>>()))
}
