//! The road to a source that is not in this process: one connection for each question, over TCP or a socket.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::uri::{InvalidUri, PathAndQuery};
use http::{HeaderValue, Method, StatusCode, Uri, header};
use hyper::client::conn::http1::{self, Parts};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tower::Service;

use crate::Target;
use crate::target::Place;

/// How long what must not come is waited for.
const STRAY: Duration = Duration::from_secs(1);

/// A source at an address.
#[derive(Clone, Debug)]
pub struct Remote {
    target: Target,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// There is nobody.
    #[error("connect to {0}")]
    Connect(String, #[source] std::io::Error),
    /// There is somebody, and what comes is no answer.
    #[error("ask over HTTP/1.1")]
    Http(#[from] hyper::Error),
    /// The path cannot be asked for.
    #[error("make a path of {0}")]
    Path(String, #[source] InvalidUri),
}

impl Remote {
    /// The source at `target`.
    pub fn new(target: Target) -> Self {
        Self { target }
    }

    /// As what the suite asks. Whoever drops an answer drops its connection.
    pub fn service(
        self,
    ) -> impl Service<Request, Response = Response, Error = RemoteError, Future: Send> + Clone + Send + Sync + 'static
    {
        tower::service_fn(move |request| {
            let remote = self.clone();
            async move { remote.send(request).await }
        })
    }

    async fn send(self, mut request: Request) -> Result<Response, RemoteError> {
        let Target { place, prefix, .. } = &self.target;
        let path = format!("{prefix}{}", request.uri());
        let path: PathAndQuery = path.parse().map_err(|error| RemoteError::Path(path, error))?;
        *request.uri_mut() = Uri::from(path);
        let host = match place {
            Place::Tcp(authority) => HeaderValue::from_str(authority).ok(),
            Place::Unix(_) => None,
        };
        let headers = request.headers_mut();
        headers.insert(header::HOST, host.unwrap_or(HeaderValue::from_static("localhost")));
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        headers.insert(
            header::USER_AGENT,
            HeaderValue::from_static(concat!("contract-check/", env!("CARGO_PKG_VERSION"))),
        );
        let not_there = |error| RemoteError::Connect(self.target.to_string(), error);
        match place {
            Place::Tcp(authority) => exchange(TcpStream::connect(authority).await.map_err(not_there)?, request).await,
            Place::Unix(path) => exchange(UnixStream::connect(path).await.map_err(not_there)?, request).await,
        }
    }
}

async fn exchange<S>(stream: S, request: Request) -> Result<Response, RemoteError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let asks_for_head = request.method() == Method::HEAD;
    let (mut sender, connection) = http1::handshake::<_, Body>(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection.without_shutdown());
    let response = sender.send_request(request).await?;
    drop(sender);
    let (head, body) = response.into_parts();
    if !asks_for_head && !matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return Ok(Response::from_parts(head, Body::new(body)));
    }
    // No body may follow, and a client of HTTP does not look for one: whatever comes all the same stands on the connection.
    drop(body);
    let stray = match tokio::time::timeout(STRAY, connection).await {
        Ok(Ok(Ok(parts))) => stray(parts).await,
        _ => Vec::new(),
    };
    Ok(Response::from_parts(head, Body::from(stray)))
}

/// What was sent after the end of an answer; a few bytes are enough to know.
async fn stray<S: AsyncRead + Unpin>(parts: Parts<TokioIo<S>>) -> Vec<u8> {
    let mut stray = parts.read_buf.to_vec();
    if stray.is_empty() {
        let mut some = [0; 256];
        let read = tokio::time::timeout(STRAY, parts.io.into_inner().read(&mut some)).await;
        let count = read.ok().and_then(Result::ok).unwrap_or(0);
        stray.extend(some.iter().take(count));
    }
    stray
}
