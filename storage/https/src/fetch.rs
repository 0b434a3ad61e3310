//! One GET made into one file, however often the connection breaks on the way.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use storage::{Error, Meter, Object};
use tempfile::NamedTempFile;
use tokio::io::{AsyncSeekExt, AsyncWriteExt};

use crate::client::{Answer, Client};
use crate::link::Link;
use crate::name;
use crate::refusal::Failure;
use crate::retry::Retry;
use crate::version::Version;

/// What was fetched, and where it lies.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) path: PathBuf,
    pub(crate) version: Version,
}

/// Fetches `object`, which is at `link`, into a file of its own name in `scratch`.
pub(crate) async fn fetch(client: &Client, link: &Link, object: &Object, scratch: &Path) -> Result<Fetched, Error> {
    let most = client.args().https_timeout;
    tokio::time::timeout(most, Transfer::start(client, link, object, scratch)?.run()).await.unwrap_or_else(|_| {
        let source = io::Error::new(io::ErrorKind::TimedOut, format!("it took longer than {most:?} (--https-timeout)"));
        Err(Error::Unavailable { doing: format!("fetch {link}"), source })
    })
}

struct Transfer<'a> {
    client: &'a Client,
    link: &'a Link,
    object: &'a Object,
    doing: String,
    scratch: &'a Path,
    partial: NamedTempFile,
    file: tokio::fs::File,
    /// How many bytes of `version` are written.
    have: u64,
    version: Version,
    meter: Meter,
}

/// What is to be done with the body of an answer.
enum Plan {
    /// Its bytes follow those that are there.
    Append,
    /// The object is whole as it is.
    Nothing,
}

impl<'a> Transfer<'a> {
    fn start(client: &'a Client, link: &'a Link, object: &'a Object, scratch: &'a Path) -> Result<Self, Error> {
        let doing = format!("fetch {link}");
        let made = tempfile::Builder::new().prefix(".partial-").tempfile_in(scratch);
        let file = made.and_then(|partial| Ok((partial.reopen()?, partial)));
        let (file, partial) =
            file.map_err(|source| Error::Io { doing: format!("create a file in {}", scratch.display()), source })?;
        let meter = Meter::fetching(1, object.size);
        let (file, version) = (tokio::fs::File::from_std(file), Version::default());
        Ok(Self { client, link, object, doing, scratch, partial, file, have: 0, version, meter })
    }

    async fn run(mut self) -> Result<Fetched, Error> {
        let mut retry = Retry::new(self.client.surroundings().patience);
        loop {
            let before = self.have;
            match self.attempt().await {
                Ok(()) => return self.finish().await,
                Err(failure) => {
                    if self.have > before {
                        retry.progress();
                    }
                    // Whatever was counted must be in the file before anything is put behind it.
                    self.file.flush().await.map_err(|error| self.local(error))?;
                    retry.wait(&self.doing, failure).await?;
                }
            }
        }
    }

    async fn attempt(&mut self) -> Result<(), Failure> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let resumed = match self.version.if_range().and_then(|text| HeaderValue::from_str(text).ok()) {
            Some(validator) if self.have > 0 => {
                let range = HeaderValue::from_str(&format!("bytes={}-", self.have));
                headers.insert(header::RANGE, range.expect("digits are a legal value"));
                headers.insert(header::IF_RANGE, validator);
                true
            }
            _ => false,
        };
        let answer = self.client.ask(&Method::GET, self.link, &headers).await?;
        match self.plan(answer, resumed).await? {
            (Plan::Append, body) => self.receive(body).await,
            (Plan::Nothing, _) => Ok(()),
        }
    }

    async fn plan(&mut self, answer: Answer, resumed: bool) -> Result<(Plan, Incoming), Failure> {
        match answer.status {
            StatusCode::OK => {
                let found = Version::new(&answer.headers, length(&answer.headers));
                self.begin(found).await?;
                Ok((Plan::Append, answer.body))
            }
            StatusCode::PARTIAL_CONTENT if resumed => {
                let range = ContentRange::of(&answer.headers);
                let found = Version::new(&answer.headers, range.and_then(|range| range.total));
                match range {
                    Some(range) if range.first == self.have && self.version.differs(&found).is_none() => {
                        Ok((Plan::Append, answer.body))
                    }
                    _ => {
                        let why = "it answers with another range, or another version, than was asked for";
                        Err(self.restart(why).await?)
                    }
                }
            }
            StatusCode::RANGE_NOT_SATISFIABLE if resumed => {
                if self.version.size == Some(self.have) {
                    return Ok((Plan::Nothing, answer.body));
                }
                Err(self.restart("it has fewer bytes than it had").await?)
            }
            status if status.is_success() => {
                Err(Error::Unsupported(format!("cannot {}: HTTP {} to a plain GET", self.doing, status.as_u16()))
                    .into())
            }
            _ => {
                let link = answer.link.clone();
                Err(self.client.refusal(answer).await.judge(&self.doing, &link))
            }
        }
    }

    /// Forgets what was fetched, so that the next attempt begins anew.
    async fn restart(&mut self, why: &str) -> Result<Failure, Failure> {
        self.truncate().await?;
        self.version = Version::default();
        Ok(Failure::passing(why))
    }

    /// A whole body comes: it is what the item stands for, it fits, and there is room for it.
    async fn begin(&mut self, found: Version) -> Result<(), Failure> {
        found.expect(self.link, self.object)?;
        self.truncate().await?;
        if let Some(size) = found.size {
            self.allow(size)?;
            self.reserve(size).await?;
        }
        self.meter = Meter::fetching(1, found.size.or(self.object.size));
        self.version = found;
        Ok(())
    }

    async fn truncate(&mut self) -> Result<(), Failure> {
        let emptied = async {
            self.file.flush().await?;
            self.file.set_len(0).await?;
            self.file.rewind().await
        };
        emptied.await.map_err(|error| self.local(error))?;
        self.have = 0;
        Ok(())
    }

    fn allow(&self, size: u64) -> Result<(), Error> {
        let most = self.client.args().https_max_size;
        if size <= most.as_u64() {
            return Ok(());
        }
        Err(Error::Forbidden(format!("{} is larger than {most}, the most that --https-max-size allows", self.link)))
    }

    /// Room is taken before hours are spent on filling it.
    async fn reserve(&self, size: u64) -> Result<(), Error> {
        let file = self.partial.as_file().try_clone().map_err(|error| self.local(error))?;
        let reserve = move || fallocate(&file, FallocateFlags::KEEP_SIZE, 0, size.max(1));
        match tokio::task::spawn_blocking(reserve).await {
            Ok(Err(errno @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG))) => Err(self.local(errno.into())),
            // Not every file system can.
            _ => Ok(()),
        }
    }

    async fn receive(&mut self, mut body: Incoming) -> Result<(), Failure> {
        let silence = self.client.surroundings().silence;
        while let Some(chunk) = next(&mut body, silence).await? {
            let end = self.have + chunk.len() as u64;
            self.allow(end)?;
            if self.version.size.is_some_and(|size| end > size) {
                return Err(self.restart("it sends more bytes than it said").await?);
            }
            self.file.write_all(&chunk).await.map_err(|error| self.local(error))?;
            self.have = end;
            self.meter.count().add(chunk.len() as u64);
        }
        match self.version.size {
            Some(size) if size != self.have => {
                Err(Failure::passing(format!("it ended after {} of {size} bytes", self.have)))
            }
            _ => Ok(()),
        }
    }

    async fn finish(mut self) -> Result<Fetched, Error> {
        self.file.flush().await.map_err(|error| self.local(error))?;
        self.version.size = Some(self.have);
        // A body without a length ends wherever its connection does.
        self.version.expect(self.link, self.object)?;
        let (mut partial, version) = (self.partial, self.version);
        loop {
            let path = name::free(self.scratch, self.link);
            match partial.persist_noclobber(&path) {
                Ok(_) => return Ok(Fetched { path, version }),
                // Another input of the same name, fetched at the same time.
                Err(taken) if taken.error.kind() == io::ErrorKind::AlreadyExists => partial = taken.file,
                Err(failed) => {
                    let doing = format!("rename a file to {}", path.display());
                    return Err(Error::Io { doing, source: failed.error });
                }
            }
        }
    }

    fn local(&self, source: io::Error) -> Error {
        Error::Io { doing: format!("write {} into {}", self.link, self.scratch.display()), source }
    }
}

/// The next bytes of a body, unless it stays silent for too long.
async fn next(body: &mut Incoming, silence: Duration) -> Result<Option<Bytes>, Failure> {
    loop {
        let frame = tokio::time::timeout(silence, body.frame()).await;
        match frame.map_err(|_| Failure::passing("it fell silent in the middle"))? {
            None => return Ok(None),
            Some(Err(error)) => {
                return Err(Failure::passing(sidecar::chain(&error)));
            }
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

pub(crate) fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// `bytes 5-9/10`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ContentRange {
    first: u64,
    pub(crate) total: Option<u64>,
}

impl ContentRange {
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get(header::CONTENT_RANGE)?.to_str().ok()?.trim().strip_prefix("bytes")?.trim_start();
        let (range, total) = text.split_once('/')?;
        let first = match range.split_once('-') {
            Some((first, _)) => first.trim().parse().ok()?,
            None => 0,
        };
        Some(Self { first, total: total.trim().parse().ok() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_as_written() {
        let read = |text: &str| {
            ContentRange::of(&[(header::CONTENT_RANGE, text.parse().expect("a value"))].into_iter().collect())
        };
        assert_eq!(read("bytes 5-9/10"), Some(ContentRange { first: 5, total: Some(10) }));
        assert_eq!(read("bytes 0-0/*"), Some(ContentRange { first: 0, total: None }));
        assert_eq!(read("bytes */0"), Some(ContentRange { first: 0, total: Some(0) }));
        for text in ["", "5-9/10", "bytes 5-9", "bytes x-9/10", "items 0-1/2"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
