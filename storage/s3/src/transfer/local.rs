//! A local file that is sent: read in pieces as the network takes them, and found out when it changes meanwhile.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use storage::{Count, Error};
use tokio::task::JoinHandle;

use super::Digest;
use super::checksum::{Crc64, Running};
use super::limits::{BUFFER, Buffers};

/// A file as it was when it was opened, and what it holds.
#[derive(Debug)]
pub(super) struct Local {
    file: File,
    path: PathBuf,
    size: u64,
    modified: Option<SystemTime>,
    pub(super) digest: Digest,
    /// Whether it was seen to hold something else than `digest` says.
    changed: AtomicBool,
}

impl Local {
    /// Opens it, and reads it once unless that was done before.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Unpublishable`] for what is no file or is no longer what `digest` is of.
    pub(super) async fn open(path: &Path, digest: Option<Digest>) -> Result<Arc<Self>, Error> {
        let path = path.to_owned();
        let opened = tokio::task::spawn_blocking(move || {
            let doing = |source| Error::Io { doing: format!("read {}", path.display()), source };
            let file = File::open(&path).map_err(doing)?;
            let seen = file.metadata().map_err(doing)?;
            if !seen.is_file() {
                return Err(Error::Unpublishable(format!("{} is no file", path.display())));
            }
            let digest = digest.map_or_else(|| Digest::read(&file), Ok).map_err(doing)?;
            let changed = AtomicBool::new(digest.size() != seen.len());
            let this = Self { size: seen.len(), modified: seen.modified().ok(), file, path, digest, changed };
            this.is_unchanged()?;
            Ok(Arc::new(this))
        });
        opened.await.expect("opening a file does not panic")
    }

    /// Looks at it again.
    ///
    /// # Errors
    /// [`Error::Unpublishable`] when it has changed since it was opened.
    pub(super) fn is_unchanged(&self) -> Result<(), Error> {
        let now = self.file.metadata();
        let same = now.is_ok_and(|now| now.len() == self.size && now.modified().ok() == self.modified);
        if same && !self.changed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let path = self.path.display();
        Err(Error::Unpublishable(format!(
            "{path} changes while it is being published: it must be whole, and nobody write to it"
        )))
    }

    /// All of it, when it is small.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Unpublishable`] when it has changed.
    pub(super) async fn bytes(self: &Arc<Self>) -> Result<Bytes, Error> {
        let this = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || {
            let mut bytes = vec![0; usize::try_from(this.size).expect("what is small fits into memory")];
            let count = read_at(&this.file, &mut bytes, 0)
                .map_err(|source| Error::Io { doing: format!("read {}", this.path.display()), source })?;
            bytes.truncate(count);
            if Crc64::of(&bytes) != this.digest.crc64() {
                this.changed.store(true, Ordering::Relaxed);
            }
            this.is_unchanged()?;
            Ok(Bytes::from(bytes))
        });
        read.await.expect("reading does not panic")
    }

    /// A part of it as the body of a request that may have to be sent again. What is handed over counts.
    pub(super) fn part(self: &Arc<Self>, range: Range<u64>, buffers: &Buffers, count: &Arc<Count>) -> SdkBody {
        let crc = self.digest.crc64_of(range.start, range.end - range.start);
        let (local, buffers, count) = (Arc::clone(self), buffers.clone(), Arc::clone(count));
        SdkBody::retryable(move || {
            SdkBody::from_body_1_x(Part {
                local: Arc::clone(&local),
                buffers: buffers.clone(),
                at: range.start,
                end: range.end,
                reading: None,
                sent: Running::new(),
                want: crc,
                told: Told { count: Arc::clone(&count), bytes: 0 },
            })
        })
    }
}

/// Fills `space` as far as the file goes.
fn read_at(file: &File, space: &mut [u8], mut at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = space.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut *rest, at))? {
            0 => break,
            count => {
                filled += count;
                at += count as u64;
            }
        }
    }
    Ok(filled)
}

/// A part of a file, always one piece ahead of the network.
struct Part {
    local: Arc<Local>,
    buffers: Buffers,
    at: u64,
    end: u64,
    reading: Option<JoinHandle<io::Result<(Bytes, Running)>>>,
    /// Of what has been handed over.
    sent: Running,
    want: Crc64,
    told: Told,
}

/// What has been told to the meter: taken back when it is not all of the part, since it will be sent again.
struct Told {
    count: Arc<Count>,
    bytes: u64,
}

impl Drop for Told {
    fn drop(&mut self) {
        self.count.take_back(self.bytes);
    }
}

impl Part {
    /// Reads the next piece, on a thread that may block.
    fn read_ahead(&mut self) {
        if self.at >= self.end || self.reading.is_some() {
            return;
        }
        let length = usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(BUFFER);
        let (local, buffers, at, mut sent) =
            (Arc::clone(&self.local), self.buffers.clone(), self.at, self.sent.clone());
        self.at += length as u64;
        self.reading = Some(tokio::task::spawn_blocking(move || {
            let mut buffer = buffers.take();
            let space = buffer.space().get_mut(..length).unwrap_or_default();
            buffer.filled = read_at(&local.file, space, at)?;
            if buffer.filled < length {
                local.changed.store(true, Ordering::Relaxed);
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file has become shorter"));
            }
            sent.update(buffer.as_ref());
            Ok((Bytes::from_owner(buffer), sent))
        }));
    }
}

impl Body for Part {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        this.read_ahead();
        let Some(reading) = &mut this.reading else { return Poll::Ready(None) };
        let read = ready!(Pin::new(reading).poll(cx)).map_err(io::Error::other)?;
        this.reading = None;
        let (bytes, sent) = read?;
        this.sent = sent;
        if this.sent.length() == this.want.length() && this.sent.crc() != this.want {
            this.local.changed.store(true, Ordering::Relaxed);
            return Poll::Ready(Some(Err(io::Error::other("the file has changed"))));
        }
        this.told.count.add(bytes.len() as u64);
        this.told.bytes += bytes.len() as u64;
        this.read_ahead();
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.at >= self.end && self.reading.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.want.length() - self.sent.length())
    }
}
