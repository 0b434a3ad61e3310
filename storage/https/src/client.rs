//! Requests: what is asked, what is followed, and what an answer means.

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Either, Empty};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use storage::Error;
use tokio::sync::OnceCell;

use crate::address::Admission;
use crate::connect::{Connector, Inadmissible, Resolve, SystemResolver};
use crate::headers;
use crate::link::Link;
use crate::refusal::{Failure, Refusal};
use crate::{HttpsArgs, tls};

/// How many redirects are followed.
const REDIRECTS: usize = 10;
/// How much of a refusal's body is read, in bytes.
const REFUSAL_MAX: usize = 16 * 1024;

/// A body to be sent, or none.
pub(crate) type Body = Either<Empty<Bytes>, http_body_util::combinators::UnsyncBoxBody<Bytes, std::io::Error>>;
type Hyper = legacy::Client<HttpsConnector<Connector>, Body>;

/// What a store takes from the world around it rather than from flags.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Who knows the addresses of names.
    pub resolver: Arc<dyn Resolve>,
    /// How long a server may be away, or answer only that it is busy, before that is an error.
    pub patience: Duration,
    /// How long a server may be silent before the connection counts as broken.
    pub silence: Duration,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self {
            resolver: Arc::new(SystemResolver),
            patience: Duration::from_secs(120),
            silence: Duration::from_secs(60),
        }
    }
}

/// One client for all that a store does. Cheap to clone; reads and asks nothing before its first request.
#[derive(Clone, Debug)]
pub(crate) struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    args: HttpsArgs,
    surroundings: Surroundings,
    hyper: OnceCell<Hyper>,
}

/// An answer whose status is one of success, or a redirect's end that the caller judges.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Incoming,
    /// Who answered, after all redirects.
    pub(crate) link: Link,
}

impl Client {
    pub(crate) fn new(args: HttpsArgs, surroundings: Surroundings) -> Self {
        Self(Arc::new(Inner { args, surroundings, hyper: OnceCell::new() }))
    }

    pub(crate) fn args(&self) -> &HttpsArgs {
        &self.0.args
    }

    pub(crate) fn surroundings(&self) -> &Surroundings {
        &self.0.surroundings
    }

    /// # Errors
    /// [`Error::Unsupported`] for an `http:` URL where that was not asked for.
    pub(crate) fn refuse_plain(&self, link: &Link) -> Result<(), Error> {
        if !link.is_plain() || self.0.args.https_allow_http {
            return Ok(());
        }
        Err(Error::Unsupported(format!(
            "{link} would be reached without encryption: use https:, or, within a network of your own, say \
             --https-allow-http and name the host by --https-allow-private"
        )))
    }

    async fn hyper(&self) -> Result<&Hyper, Error> {
        let make = async || {
            let args = &self.0.args;
            let ca_bundle = args.https_ca_bundle.clone();
            let config = tokio::task::spawn_blocking(move || tls::config(ca_bundle.as_deref())).await;
            let config = config.map_err(|_| Error::Busy("the process is ending".to_owned()))??;
            let connector = Connector {
                resolver: Arc::clone(&self.0.surroundings.resolver),
                admission: Arc::new(Admission::new(args.https_allow_private.clone())),
            };
            let builder = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(config);
            let builder = if args.https_allow_http { builder.https_or_http() } else { builder.https_only() };
            let connector = builder.enable_http1().wrap_connector(connector);
            Ok(legacy::Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(Duration::from_secs(20))
                .build(connector))
        };
        self.0.hyper.get_or_try_init(make).await
    }

    /// Asks by GET or HEAD, following redirects. Whatever comes at the end of them is an answer.
    pub(crate) async fn ask(&self, method: &Method, link: &Link, headers: &HeaderMap) -> Result<Answer, Failure> {
        let mut at = link.clone();
        for _ in 0..=REDIRECTS {
            let answer = self.send(method, &at, headers).await?;
            let Some(location) = redirect(&answer) else { return Ok(answer) };
            let refused = |what: &str| Error::Forbidden(format!("{at} redirects to {what}"));
            at = match at.redirected(&location) {
                Ok(next) => next,
                Err(what) => return Err(refused(what).into()),
            };
        }
        Err(Error::Forbidden(format!("{link} redirects more than {REDIRECTS} times")).into())
    }

    /// One request without a body and its answer, whatever it is.
    pub(crate) async fn send(&self, method: &Method, link: &Link, headers: &HeaderMap) -> Result<Answer, Failure> {
        let answer = self.request(method, link, headers, Either::Left(Empty::new())).await?;
        let answer = tokio::time::timeout(self.0.surroundings.silence, answer).await;
        read(link, answer.map_err(|_| Failure::passing("it does not answer"))?)
    }

    /// One PUT and its answer, whatever it is. As long as `pulse` shows that something of the body is taken, it is waited for.
    pub(crate) async fn put(
        &self,
        link: &Link,
        headers: &HeaderMap,
        body: Body,
        pulse: &Pulse,
    ) -> Result<Answer, Failure> {
        let mut answer = self.request(&Method::PUT, link, headers, body).await?;
        // What the system holds of it may be on its way for a while when all of it has been taken.
        let silence = self.0.surroundings.silence.saturating_mul(4);
        let mut last = pulse.beats();
        loop {
            match tokio::time::timeout(silence, &mut answer).await {
                Ok(answer) => return read(link, answer),
                Err(_) if pulse.beats() != last => last = pulse.beats(),
                Err(_) => return Err(Failure::passing("it does not answer")),
            }
        }
    }

    async fn request(
        &self,
        method: &Method,
        link: &Link,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<legacy::ResponseFuture, Failure> {
        self.refuse_plain(link)?;
        let mut request = Request::new(body);
        *request.method_mut() = method.clone();
        *request.uri_mut() = link.request()?;
        *request.headers_mut() = headers.clone();
        if let Some(file) = &self.0.args.https_header_file {
            headers::add(file, link, request.headers_mut()).await?;
        }
        let agent = http::HeaderValue::from_static(concat!("longshore/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert(header::USER_AGENT, agent);
        Ok(self.hyper().await?.request(request))
    }

    /// What an answer that is no success says.
    pub(crate) async fn refusal(&self, answer: Answer) -> Refusal {
        let Answer { status, headers, mut body, link } = answer;
        let mut text = Vec::new();
        let read = async {
            while let Some(Ok(frame)) = body.frame().await {
                text.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new()));
                if text.len() > REFUSAL_MAX {
                    break;
                }
            }
        };
        // Without its end it still tells the status.
        let _ = tokio::time::timeout(Duration::from_secs(5).min(self.0.surroundings.silence), read).await;
        Refusal::new(status, &headers, &text, &link)
    }
}

fn read(link: &Link, answer: Result<Response<Incoming>, legacy::Error>) -> Result<Answer, Failure> {
    let (parts, body) = answer.map_err(|error| broken(&error))?.into_parts();
    Ok(Answer { status: parts.status, headers: parts.headers, body, link: link.clone() })
}

/// Whether a body is being taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pulse(Arc<AtomicU64>);

impl Pulse {
    pub(crate) fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn beats(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Where an answer redirects to.
fn redirect(answer: &Answer) -> Option<String> {
    if !matches!(answer.status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = answer.headers.get(header::LOCATION)?;
    Some(String::from_utf8_lossy(location.as_bytes()).into_owned())
}

/// What a request that had no answer means: an address that may not be reached and a certificate that is not trusted will be
/// the same next time.
fn broken(error: &legacy::Error) -> Failure {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(io) = cause.downcast_ref::<std::io::Error>()
            && let Some(refused) = io.get_ref().and_then(|inner| inner.downcast_ref::<Inadmissible>())
        {
            return Error::Forbidden(refused.to_string()).into();
        }
        if let Some(rustls::Error::InvalidCertificate(why)) = tls::error(cause) {
            let advice = "give the certificates to trust by --https-ca-bundle, if the server is the right one";
            return Error::Unsupported(format!("the server's certificate is not trusted: {why}; {advice}")).into();
        }
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    Failure::passing(text)
}
