//! A watch, line by line.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use reqwest::Response;
use url::Url;

use super::{ClientError, broken, parse, unreachable};
use crate::wire::WatchEvent;

/// The longest line accepted, in bytes: a name has at most 2,048.
const LINE: usize = 64 << 10;

/// The events of a watch as they come. It ends with the connection, with an error, or when nothing came for `idle`; events
/// of a type unknown here are passed over. Nothing ever follows an error.
#[derive(Debug)]
pub struct Watch {
    lines: Lines,
    ended: bool,
}

struct Lines {
    url: Url,
    chunks: BoxStream<'static, reqwest::Result<Bytes>>,
    buffer: BytesMut,
    /// How much of the buffer is known to hold no end of a line.
    searched: usize,
    idle: Duration,
}

impl Watch {
    pub(super) fn new(url: Url, response: Response, idle: Duration) -> Self {
        let chunks = response.bytes_stream().boxed();
        Self { lines: Lines { url, chunks, buffer: BytesMut::new(), searched: 0, idle }, ended: false }
    }

    /// The next event; `None` when the source has ended the watch.
    pub async fn next(&mut self) -> Option<Result<WatchEvent, ClientError>> {
        while !self.ended {
            let event = match self.lines.next().await {
                Ok(Some(line)) if line.trim_ascii().is_empty() => continue,
                Ok(Some(line)) => parse::<WatchEvent>(&self.lines.url, &line),
                Ok(None) => break,
                Err(error) => Err(error),
            };
            if event == Ok(WatchEvent::Other) {
                continue;
            }
            self.ended = event.is_err();
            return Some(event);
        }
        self.ended = true;
        None
    }

    /// The same, as a stream.
    pub fn into_stream(self) -> impl Stream<Item = Result<WatchEvent, ClientError>> + Send {
        stream::unfold(self, |mut watch| async move { Some((watch.next().await?, watch)) })
    }
}

impl Lines {
    async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
            if let Some(at) = unsearched.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(self.searched + at + 1).freeze();
                self.searched = 0;
                return Ok(Some(line));
            }
            self.searched = self.buffer.len();
            if self.searched > LINE {
                return Err(broken(&self.url, format!("a line of the watch is longer than the {LINE} bytes accepted")));
            }
            match tokio::time::timeout(self.idle, self.chunks.next()).await {
                Err(_elapsed) => {
                    let message = format!("the watch was silent for {:?}", self.idle);
                    return Err(ClientError::Unavailable { url: self.url.to_string(), message, retry_after: None });
                }
                Ok(Some(Ok(chunk))) => self.buffer.extend_from_slice(&chunk),
                Ok(Some(Err(error))) => return Err(unreachable(&self.url, &error)),
                // Half a line is no line: the connection broke.
                Ok(None) => return Ok(None),
            }
        }
    }
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}
