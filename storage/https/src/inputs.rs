//! Inputs by GET.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use contract::Key;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::Deserialize;
use storage::{BoxFuture, Error, Input, Inputs, Object, Uri};
use tracing::warn;

use crate::client::{Answer, Client};
use crate::fetch::{ContentRange, fetch, length};
use crate::link::Link;
use crate::refusal::Failure;
use crate::retry::Retry;
use crate::root::Root;
use crate::version::Version;

/// Everything below one URL.
#[derive(Debug)]
pub(crate) struct HttpsInputs {
    client: Client,
    root: Root,
}

impl HttpsInputs {
    pub(crate) fn new(client: Client, root: Root) -> Self {
        Self { client, root }
    }
}

impl HttpsInputs {
    fn inside(&self, object: &Object) -> Result<Link, Error> {
        let link = Link::parse(&object.uri)?;
        if self.root.key(&link).is_none() {
            return Err(Error::Forbidden(format!("{link} lies outside of {}", self.root.link)));
        }
        Ok(link)
    }

    fn input(&self, object: &Object, link: Link, path: PathBuf, version: Version) -> HttpsInput {
        let (pinned, no_head) = (version.is_named_by(object), AtomicBool::new(link.is_signed()));
        HttpsInput { client: self.client.clone(), link, path, version, pinned, no_head }
    }
}

impl Inputs for HttpsInputs {
    fn key(&self, uri: &Uri) -> Option<Key> {
        self.root.key(&Link::parse(uri).ok()?)
    }

    fn fetch<'a>(&'a self, object: &'a Object, scratch: &'a Path) -> BoxFuture<'a, Result<Box<dyn Input>, Error>> {
        Box::pin(async move {
            let link = self.inside(object)?;
            let fetched = fetch(&self.client, &link, object, scratch).await?;
            if fetched.version.is_unknown() {
                warn!(uri = %link, "there is neither ETag nor Last-Modified: whether the input is replaced cannot be seen");
            }
            Ok(Box::new(self.input(object, link, fetched.path, fetched.version)) as Box<dyn Input>)
        })
    }

    fn regard(&self, object: &Object, path: &Path, seen: &serde_json::Value) -> Result<Box<dyn Input>, Error> {
        let version = Version::deserialize(seen)
            .map_err(|error| Error::Invalid(format!("{seen} is no version of what a URL names ({error})")))?;
        Ok(Box::new(self.input(object, self.inside(object)?, path.to_owned(), version)))
    }

    fn check(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            let link = &self.root.link;
            let doing = format!("reach {link}");
            let answer = self.client.ask(&Method::HEAD, link, &HeaderMap::new()).await;
            let answer = answer.map_err(|failure| failure.at(&doing))?;
            // A root is seldom something that can be read itself.
            if answer.status.is_server_error() && answer.status != StatusCode::NOT_IMPLEMENTED {
                let status = answer.link.clone();
                return Err(self.client.refusal(answer).await.judge(&doing, &status).at(&doing));
            }
            Ok(())
        })
    }
}

#[derive(Debug)]
struct HttpsInput {
    client: Client,
    link: Link,
    path: PathBuf,
    version: Version,
    /// Whether the item named this version. If it did, another version is another item; if not, nobody else will come
    /// for it.
    pinned: bool,
    /// Whether HEAD was refused, or would be: a signature is for one method.
    no_head: AtomicBool,
}

impl Input for HttpsInput {
    fn path(&self) -> &Path {
        &self.path
    }

    fn seen(&self) -> serde_json::Value {
        serde_json::json!(self.version)
    }

    fn verify(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            let doing = format!("look at {}", self.link);
            let mut retry = Retry::new(self.client.surroundings().patience);
            let found = loop {
                match self.look(&doing).await {
                    Ok(found) => break found,
                    Err(failure) => retry.wait(&doing, failure).await?,
                }
            };
            let Some((wanted, found)) = found.and_then(|found| self.version.differs(&found)) else { return Ok(()) };
            let uri = self.link.to_string();
            if self.pinned {
                return Err(Error::Changed { uri, wanted, found });
            }
            Err(Error::Busy(format!("{uri} changed while it was being worked on; run the item again")))
        })
    }
}

impl HttpsInput {
    /// What is there now; nothing where that can no longer be seen.
    async fn look(&self, doing: &str) -> Result<Option<Version>, Failure> {
        if !self.no_head.load(Ordering::Relaxed) {
            let answer = self.client.ask(&Method::HEAD, &self.link, &identity()).await?;
            match answer.status {
                StatusCode::OK => return Ok(Some(Version::new(&answer.headers, length(&answer.headers)))),
                status if matches!(status.as_u16(), 400 | 401 | 403 | 405 | 501) => {
                    self.no_head.store(true, Ordering::Relaxed);
                }
                _ => return self.refused(answer, doing).await,
            }
        }
        let mut headers = identity();
        headers.insert(header::RANGE, HeaderValue::from_static("bytes=0-0"));
        let answer = self.client.ask(&Method::GET, &self.link, &headers).await?;
        match answer.status {
            // The body is not read: dropping it ends the connection.
            StatusCode::OK => Ok(Some(Version::new(&answer.headers, length(&answer.headers)))),
            // Nothing has no first byte.
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                let total = ContentRange::of(&answer.headers).and_then(|range| range.total);
                Ok(Some(Version::new(&answer.headers, total)))
            }
            _ => self.refused(answer, doing).await,
        }
    }

    async fn refused(&self, answer: Answer, doing: &str) -> Result<Option<Version>, Failure> {
        let link = answer.link.clone();
        let refusal = self.client.refusal(answer).await;
        if refusal.is_expired(&link, std::time::SystemTime::now()) {
            // Work that takes longer than its URL lives would otherwise never be published.
            warn!(uri = %self.link, "the URL has expired: whether the input was replaced cannot be seen");
            return Ok(None);
        }
        Err(refusal.judge(doing, &link))
    }
}

fn identity() -> HeaderMap {
    [(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"))].into_iter().collect()
}
