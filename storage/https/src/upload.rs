//! PUTs: of bytes and of files, on a condition or on none, tried again where that helps.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use contract::marker::Output;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Method, header};
use http_body_util::{BodyExt, Either, Full, StreamBody};
use hyper::body::Frame;
use sha2::{Digest, Sha256};
use storage::{Count, Error};
use tokio::io::AsyncReadExt;

use crate::client::{Body, Client, Pulse};
use crate::link::Link;
use crate::refusal::{Failure, Refusal};
use crate::retry::Retry;

/// How much of a file is in memory at once, in bytes.
const CHUNK: usize = 256 * 1024;

/// Where something is put.
#[derive(Debug)]
pub(crate) struct Spot {
    pub(crate) link: Link,
    /// What it lies in, the outermost first, where that may have to be made (WebDAV).
    pub(crate) collections: Vec<Link>,
}

/// What is put.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// A few bytes of JSON.
    Json(Bytes),
    /// A file, held to what was measured.
    File { path: PathBuf, output: Output, count: Arc<Count> },
}

/// On what a PUT depends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Always,
    Absent,
    /// What stands there has this ETag.
    Is(String),
}

impl Condition {
    fn header(&self) -> Option<(http::HeaderName, HeaderValue)> {
        match self {
            Self::Always => None,
            Self::Absent => Some((header::IF_NONE_MATCH, HeaderValue::from_static("*"))),
            // What is no legal value did not come as one.
            Self::Is(etag) => HeaderValue::from_str(etag).ok().map(|etag| (header::IF_MATCH, etag)),
        }
    }
}

/// How a PUT ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Put {
    Done,
    /// The condition does not hold. `lost` says whether a PUT before this one had no answer, and may be why.
    Conflict {
        lost: bool,
    },
}

/// What a server says to one PUT.
enum Reply {
    Done,
    Conflict,
    /// RFC 4918 §9.7.1: the collection that it should lie in is not there.
    Homeless(Refusal),
}

impl Spot {
    /// Puts `content`.
    ///
    /// # Errors
    /// [`Error::Unpublishable`] when a file is no longer what was measured, and those of asking.
    pub(crate) async fn put(&self, client: &Client, content: &Content, condition: &Condition) -> Result<Put, Error> {
        let most = client.args().https_timeout;
        let doing = format!("put {}", self.link);
        let whole = tokio::time::timeout(most, self.insist(client, content, condition, &doing)).await;
        whole.unwrap_or_else(|_| {
            let why = format!("it took longer than {most:?} (--https-timeout)");
            Err(Error::Unavailable { doing, source: io::Error::new(io::ErrorKind::TimedOut, why) })
        })
    }

    async fn insist(
        &self,
        client: &Client,
        content: &Content,
        condition: &Condition,
        doing: &str,
    ) -> Result<Put, Error> {
        let mut retry = Retry::new(client.surroundings().patience);
        let (mut housed, mut lost) = (self.collections.is_empty(), false);
        loop {
            let (body, state) = content.body().await?;
            let sent = self.send(client, content, condition, (body, &state.pulse), doing).await;
            if let Some(error) = state.spoiled() {
                return Err(error);
            }
            let failure = match sent {
                Ok(Reply::Done) => return Ok(Put::Done),
                Ok(Reply::Conflict) => return Ok(Put::Conflict { lost }),
                Ok(Reply::Homeless(refusal)) if housed => refusal.judge(doing, &self.link),
                Ok(Reply::Homeless(_)) => {
                    housed = true;
                    match self.make_collections(client).await {
                        Ok(()) => continue,
                        Err(failure) => failure,
                    }
                }
                Err(failure) => {
                    lost |= matches!(failure, Failure::Passing { .. });
                    failure
                }
            };
            retry.wait(doing, failure).await?;
        }
    }

    async fn send(
        &self,
        client: &Client,
        content: &Content,
        condition: &Condition,
        (body, pulse): (Body, &Pulse),
        doing: &str,
    ) -> Result<Reply, Failure> {
        let mut headers: HeaderMap = condition.header().into_iter().collect();
        headers.insert(header::CONTENT_LENGTH, content.size().into());
        // A signature of the older kind is over the type too, and says none.
        if matches!(content, Content::Json(_)) && !self.link.is_signed() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let answer = client.put(&self.link, &headers, body, pulse).await?;
        match answer.status.as_u16() {
            200 | 201 | 204 => return Ok(Reply::Done),
            412 => return Ok(Reply::Conflict),
            _ => {}
        }
        let status = answer.status.as_u16();
        let refusal = client.refusal(answer).await;
        match status {
            // S3: two conditional PUTs were under way at once.
            409 if refusal.is_conditional_conflict() => Ok(Reply::Conflict),
            409 => Ok(Reply::Homeless(refusal)),
            _ => Err(refusal.judge(doing, &self.link)),
        }
    }

    /// RFC 4918 §9.3.
    async fn make_collections(&self, client: &Client) -> Result<(), Failure> {
        let method = Method::from_bytes(b"MKCOL").expect("it is a legal method");
        for link in &self.collections {
            let answer = client.send(&method, link, &HeaderMap::new()).await?;
            // 405, and a redirect to the name with a slash: it is there.
            if !answer.status.is_success() && !matches!(answer.status.as_u16(), 301 | 405) {
                let doing = format!("make the collection {link}");
                return Err(client.refusal(answer).await.judge(&doing, link));
            }
        }
        Ok(())
    }
}

/// What is known of a body while it is sent.
#[derive(Clone, Debug, Default)]
struct Sending {
    pulse: Pulse,
    /// Why it is not to be published after all: hyper would tell no more than that it failed.
    spoiled: Arc<Mutex<Option<Error>>>,
}

impl Sending {
    fn spoiled(&self) -> Option<Error> {
        self.spoiled.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn spoil(&self, error: Error) -> io::Error {
        let text = error.to_string();
        *self.spoiled.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        io::Error::other(text)
    }
}

impl Content {
    fn size(&self) -> u64 {
        match self {
            Self::Json(bytes) => bytes.len() as u64,
            Self::File { output, .. } => output.size,
        }
    }

    async fn body(&self) -> Result<(Body, Sending), Error> {
        let sending = Sending::default();
        let body = match self {
            Self::Json(bytes) => Full::new(bytes.clone()).map_err(|never| match never {}).boxed_unsync(),
            Self::File { path, output, count } => {
                let file = tokio::fs::File::open(path).await;
                let file = file.map_err(|source| Error::Io { doing: format!("open {}", path.display()), source })?;
                let (output, count) = (output.clone(), Arc::clone(count));
                let reading = Reading { file, left: output.size, output, hasher: Sha256::new(), count };
                let chunks = stream::try_unfold((reading, sending.clone()), |(mut reading, sending)| async {
                    sending.pulse.beat();
                    let chunk = reading.next().await.map_err(|error| sending.spoil(error))?;
                    Ok(chunk.map(|chunk| (Frame::data(chunk), (reading, sending))))
                });
                StreamBody::new(chunks).boxed_unsync()
            }
        };
        Ok((Either::Right(body), sending))
    }
}

/// A file that is read while it is sent.
struct Reading {
    file: tokio::fs::File,
    output: Output,
    left: u64,
    hasher: Sha256,
    count: Arc<Count>,
}

impl Drop for Reading {
    fn drop(&mut self) {
        if self.left > 0 {
            // Cut off: all of it has to be sent again.
            self.count.take_back(self.output.size - self.left);
        }
    }
}

impl Reading {
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let mut chunk = BytesMut::with_capacity(CHUNK);
        let read = self.file.read_buf(&mut chunk).await;
        let read = read.map_err(|source| Error::Io { doing: format!("read {}", self.output.path), source })? as u64;
        self.hasher.update(&chunk);
        if read > self.left || (read == 0 && self.left > 0) {
            return Err(self.changed());
        }
        self.left -= read;
        self.count.add(read);
        // The last bytes go out only when all of them are known to be right: without them there is no object.
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
