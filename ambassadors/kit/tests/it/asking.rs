//! Requests in-process.

use std::sync::Arc;
use std::time::Duration;

use ambassador_kit::Source;
use ambassador_kit::router::{Options, router};
use axum::Router;
use axum::body::Body;
use contract::wire::{ItemList, Status};
use http::{HeaderMap, HeaderName, Method, Request, StatusCode};
use http_body_util::BodyExt;
use tokio::time::timeout;
use tower::ServiceExt;

/// Long enough for anything that will come.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// `None` when it was cut off.
    pub(crate) body: Option<Vec<u8>>,
}

impl Answer {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.body.as_deref().expect("a body that was not cut off")
    }

    pub(crate) fn body(&self) -> &str {
        std::str::from_utf8(self.bytes()).expect("UTF-8")
    }

    pub(crate) fn status(&self) -> Status {
        serde_json::from_str(self.body()).expect("a Status")
    }

    pub(crate) fn list(&self) -> ItemList {
        assert_eq!(self.status, StatusCode::OK, "{self:?}");
        serde_json::from_str(self.body()).expect("an ItemList")
    }

    /// The names as text.
    pub(crate) fn names(&self) -> Vec<String> {
        self.list().items.iter().map(ToString::to_string).collect()
    }
}

/// A router with a short deadline.
pub(crate) fn app<S: Source>(source: &Arc<S>) -> Router {
    router(Arc::clone(source), Options { deadline: Duration::from_millis(200), ..Options::default() })
}

pub(crate) async fn send(app: &Router, method: Method, path: &str) -> Answer {
    send_with(app, method, path, &[]).await
}

/// As [`send`], with headers.
pub(crate) async fn send_with(app: &Router, method: Method, path: &str, headers: &[(HeaderName, &str)]) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    let request = request.body(Body::empty()).expect("a request");
    let response = app.clone().oneshot(request).await.expect("infallible");
    let (status, headers) = (response.status(), response.headers().clone());
    let body = timeout(PATIENCE, response.into_body().collect()).await.expect("the answer has an end");
    let body = body.ok().map(|body| body.to_bytes().to_vec());
    Answer { status, headers, body }
}

pub(crate) async fn get(app: &Router, path: &str) -> Answer {
    send(app, Method::GET, path).await
}
