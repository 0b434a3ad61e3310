//! One PUT.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use contract::marker::Output;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Method, header};
use http_body_util::{BodyExt, Either, Full, StreamBody};
use hyper::body::Frame;
use sha2::{Digest, Sha256};
use storage::Error;
use tokio::io::AsyncReadExt;

use crate::client::{Body, Client};
use crate::link::Link;
use crate::progress::Progress;
use crate::refusal::{Failure, Refusal};
use crate::retry::Retry;
use crate::target::Target;

/// How much of a file is in memory at once, in bytes.
const CHUNK: usize = 256 * 1024;

/// On what a PUT depends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Always,
    Absent,
    /// What stands there has this ETag.
    Is(String),
}

impl Condition {
    fn headers(&self) -> HeaderMap {
        let header = match self {
            Self::Always => None,
            Self::Absent => Some((header::IF_NONE_MATCH, HeaderValue::from_static("*"))),
            // What is no legal value came as one.
            Self::Is(etag) => HeaderValue::from_str(etag).ok().map(|etag| (header::IF_MATCH, etag)),
        };
        header.into_iter().collect()
    }
}

/// How a PUT ended.
#[derive(Debug)]
pub(crate) enum Put {
    Done,
    /// The condition does not hold. `lost` says whether a PUT before this one had no answer, and may be why.
    Conflict {
        lost: bool,
    },
    /// The collection that it should lie in is not there (WebDAV).
    Homeless(Refusal),
}

/// Puts a few bytes.
pub(crate) async fn put(client: &Client, link: &Link, bytes: Bytes, condition: &Condition) -> Result<Put, Error> {
    let doing = format!("put {link}");
    let mut retry = Retry::new(client.surroundings().patience);
    let mut lost = false;
    loop {
        let mut headers = condition.headers();
        headers.insert(header::CONTENT_LENGTH, bytes.len().into());
        // A signature of the older kind is over the type too, and says none.
        if !link.is_signed() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let body = Full::new(bytes.clone()).map_err(|never| match never {}).boxed_unsync();
        match send(client, link, headers, Either::Right(body), &doing).await {
            Ok(Put::Conflict { .. }) => return Ok(Put::Conflict { lost }),
            Ok(put) => return Ok(put),
            Err(failure) => {
                lost |= matches!(failure, Failure::Passing { .. });
                retry.wait(&doing, failure).await?;
            }
        }
    }
}

async fn send(client: &Client, link: &Link, headers: HeaderMap, body: Body, doing: &str) -> Result<Put, Failure> {
    let answer = client.send(&Method::PUT, link, &headers, body).await?;
    match answer.status.as_u16() {
        200 | 201 | 204 => return Ok(Put::Done),
        412 => return Ok(Put::Conflict { lost: false }),
        _ => {}
    }
    let status = answer.status.as_u16();
    let refusal = client.refusal(answer).await;
    match status {
        // S3: two conditional PUTs at once. WebDAV: RFC 4918 §9.7.1.
        409 if refusal.is_conditional_conflict() => Ok(Put::Conflict { lost: false }),
        409 => Ok(Put::Homeless(refusal)),
        _ => Err(refusal.judge(doing, link)),
    }
}

/// Makes the collections in which `path` lies, as WebDAV wants them made (RFC 4918 §9.3).
async fn make_collections(client: &Client, target: &Target, path: &str) -> Result<(), Failure> {
    let method = Method::from_bytes(b"MKCOL").expect("it is a legal method");
    for link in target.collections(path) {
        let doing = format!("make the collection {link}");
        let none = Either::Left(http_body_util::Empty::new());
        let answer = client.send(&method, &link, &HeaderMap::new(), none).await?;
        // 405 and a redirect to the name with a slash: it is there.
        if !answer.status.is_success() && !matches!(answer.status.as_u16(), 301 | 405) {
            return Err(client.refusal(answer).await.judge(&doing, &link));
        }
    }
    Ok(())
}

/// A file of an output, on its way to where it is published.
#[derive(Debug)]
pub(crate) struct Upload<'a> {
    pub(crate) client: &'a Client,
    pub(crate) target: &'a Target,
    pub(crate) output: &'a Output,
    pub(crate) path: PathBuf,
    pub(crate) progress: &'a Arc<Progress>,
}

impl Upload<'_> {
    /// Puts it, whatever stands there.
    ///
    /// # Errors
    /// [`Error::Unpublishable`] when it is no longer what was measured, and those of asking.
    pub(crate) async fn run(self) -> Result<(), Error> {
        let link = self.target.write(&self.output.path)?;
        let doing = format!("put {link}");
        let most = self.client.args().https_timeout;
        let whole = tokio::time::timeout(most, self.put(&link, &doing)).await;
        whole.unwrap_or_else(|_| {
            let why = format!("it took longer than {most:?} (--https-timeout)");
            Err(Error::Unavailable { doing, source: io::Error::new(io::ErrorKind::TimedOut, why) })
        })
    }

    async fn put(&self, link: &Link, doing: &str) -> Result<(), Error> {
        let mut retry = Retry::new(self.client.surroundings().patience);
        let mut housed = false;
        loop {
            let reading = Reading::open(&self.path, self.output, Arc::clone(self.progress)).await?;
            let spoiled = Arc::clone(&reading.spoiled);
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_LENGTH, self.output.size.into());
            let sent = send(self.client, link, headers, Either::Right(reading.body()), doing).await;
            if let Some(error) = spoiled.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return Err(error);
            }
            let failure = match sent {
                Ok(Put::Done) => return Ok(()),
                Ok(Put::Conflict { .. }) => Failure::passing("it is being written by somebody else"),
                Ok(Put::Homeless(refusal)) if housed || self.target.is_signed() => refusal.judge(doing, link),
                Ok(Put::Homeless(_)) => {
                    housed = true;
                    match make_collections(self.client, self.target, &self.output.path).await {
                        Ok(()) => continue,
                        Err(failure) => failure,
                    }
                }
                Err(failure) => failure,
            };
            retry.wait(doing, failure).await?;
        }
    }
}

/// A file that is read while it is sent, and held to what was measured.
struct Reading {
    file: tokio::fs::File,
    path: PathBuf,
    output: Output,
    left: u64,
    hasher: Sha256,
    progress: Arc<Progress>,
    /// Why what is sent is not to be published: hyper would tell no more than that the body failed.
    spoiled: Arc<Mutex<Option<Error>>>,
}

impl Reading {
    async fn open(path: &Path, output: &Output, progress: Arc<Progress>) -> Result<Self, Error> {
        let file = tokio::fs::File::open(path).await;
        let file = file.map_err(|source| Error::Io { doing: format!("open {}", path.display()), source })?;
        let (path, output, left) = (path.to_owned(), output.clone(), output.size);
        Ok(Self { file, path, output, left, hasher: Sha256::new(), progress, spoiled: Arc::default() })
    }

    fn body(self) -> http_body_util::combinators::UnsyncBoxBody<Bytes, io::Error> {
        let chunks = stream::try_unfold(Some(self), |reading| async {
            let Some(mut reading) = reading else { return Ok(None) };
            match reading.next().await {
                Ok(None) => Ok(None),
                Ok(Some(chunk)) => Ok(Some((Frame::data(chunk), Some(reading)))),
                Err(error) => {
                    let text = error.to_string();
                    *reading.spoiled.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    Err(io::Error::other(text))
                }
            }
        });
        StreamBody::new(chunks).boxed_unsync()
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let mut chunk = BytesMut::with_capacity(CHUNK);
        let read = self.file.read_buf(&mut chunk).await;
        let read = read.map_err(|source| Error::Io { doing: format!("read {}", self.path.display()), source })? as u64;
        self.hasher.update(&chunk);
        if read > self.left || (read == 0 && self.left > 0) {
            return Err(self.changed());
        }
        self.left -= read;
        self.progress.add(read);
        // The last bytes go out only when they are known to be the last, and right.
        if self.left == 0 && read > 0 {
            let hasher = std::mem::take(&mut self.hasher);
            let sha256: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
            if sha256 != self.output.sha256 {
                return Err(self.changed());
            }
        }
        Ok((read > 0).then(|| chunk.freeze()))
    }

    fn changed(&self) -> Error {
        Error::Unpublishable(format!(
            "{} changed while it was published: something the command started is still writing to it",
            self.output.path
        ))
    }
}
