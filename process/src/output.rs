//! Where a child's output goes.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// What becomes of a child's stdout or stderr.
#[derive(Debug, Default)]
pub enum Output {
    /// Nowhere.
    #[default]
    Null,
    /// To this process's own stream of that name.
    Inherit,
    /// To a file, without passing through this process.
    File(File),
    /// To this process's own stream of that name, keeping the last `keep` bytes. When nobody reads our stream any more
    /// the child is not told; when it is read slowly the child is slowed down.
    Tee {
        /// How many bytes.
        keep: usize,
    },
    /// Kept: the last `keep` bytes.
    Tail {
        /// How many bytes.
        keep: usize,
    },
    /// Kept: the first `keep` bytes; [`Kept::is_whole`] tells whether that was all.
    Head {
        /// How many bytes.
        keep: usize,
    },
    /// Line by line to a parser, without the newline, cut at `longest` bytes. A parser that is gone does not stop the
    /// child; one that is slow slows it down.
    Lines {
        /// The parser's end.
        to: mpsc::Sender<Vec<u8>>,
        /// The most bytes of one line; what exceeds them is dropped.
        longest: usize,
    },
}

/// What was kept of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// How many there were in all.
    pub total: u64,
}

impl Kept {
    /// Whether nothing was dropped.
    pub fn is_whole(&self) -> bool {
        self.total == self.bytes.len() as u64
    }
}

/// Which stream.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Output {
    /// The child's end, and ours where there is one.
    pub(crate) fn open(self, stream: Stream) -> io::Result<(Stdio, Option<Source>)> {
        let own = || match stream {
            Stream::Stdout => io::stdout().as_fd().try_clone_to_owned(),
            Stream::Stderr => io::stderr().as_fd().try_clone_to_owned(),
        };
        let sink = match self {
            Self::Null => return Ok((Stdio::null(), None)),
            Self::Inherit => return Ok((Stdio::inherit(), None)),
            Self::File(file) => return Ok((file.into(), None)),
            Self::Tee { keep } => Sink::Tail { keep, through: Some(tokio::fs::File::from_std(File::from(own()?))) },
            Self::Tail { keep } => Sink::Tail { keep, through: None },
            Self::Head { keep } => Sink::Head { keep },
            Self::Lines { to, longest } => Sink::Lines { to: Some(to), longest, line: Vec::new() },
        };
        let (ours, theirs) = io::pipe()?;
        Ok((theirs.into(), Some(Source { pipe: ours.into(), sink })))
    }
}

/// Our end of a pipe and what to do with what comes out of it.
#[derive(Debug)]
pub(crate) struct Source {
    pipe: OwnedFd,
    sink: Sink,
}

#[derive(Debug)]
enum Sink {
    Tail { keep: usize, through: Option<tokio::fs::File> },
    Head { keep: usize },
    Lines { to: Option<mpsc::Sender<Vec<u8>>>, longest: usize, line: Vec<u8> },
}

#[derive(Debug, Default)]
struct Store {
    bytes: VecDeque<u8>,
    total: u64,
}

/// A running copy from a pipe.
#[derive(Debug)]
pub(crate) struct Pump {
    store: Arc<Mutex<Store>>,
    task: JoinHandle<()>,
}

fn lock(store: &Mutex<Store>) -> MutexGuard<'_, Store> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Source {
    /// Begins to copy.
    pub(crate) fn pump(self) -> io::Result<Pump> {
        let pipe = pipe::Receiver::from_owned_fd(self.pipe)?;
        let store = Arc::new(Mutex::new(Store::default()));
        let task = tokio::spawn(copy(pipe, self.sink, Arc::clone(&store)));
        Ok(Pump { store, task })
    }
}

impl Pump {
    /// What was kept, once the pipe is at its end, or after `patience` when somebody holds it open or our own stream is
    /// not read.
    pub(crate) async fn finish(mut self, patience: Duration) -> Kept {
        if tokio::time::timeout(patience, &mut self.task).await.is_err() {
            tracing::warn!("output was still coming or not read when its process was over: the rest is dropped");
            self.task.abort();
        }
        let mut store = lock(&self.store);
        Kept { total: store.total, bytes: std::mem::take(&mut store.bytes).into() }
    }
}

async fn copy(mut pipe: pipe::Receiver, mut sink: Sink, store: Arc<Mutex<Store>>) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let chunk = match pipe.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(n) => buffer.get(..n).unwrap_or_default(),
        };
        keep(&mut lock(&store), &sink, chunk);
        match &mut sink {
            Sink::Tail { through, .. } => {
                if let Some(file) = through
                    && let Err(error) = forward(file, chunk).await
                {
                    tracing::debug!(%error, "nobody reads our output any more");
                    *through = None;
                }
            }
            Sink::Head { .. } => {}
            Sink::Lines { to, longest, line } => split(to, *longest, line, chunk).await,
        }
    }
    if let Sink::Lines { to: Some(to), line, .. } = sink
        && !line.is_empty()
    {
        let _ = to.send(line).await;
    }
}

fn keep(store: &mut Store, sink: &Sink, chunk: &[u8]) {
    store.total += chunk.len() as u64;
    match sink {
        Sink::Tail { keep, .. } => {
            let chunk = chunk.get(chunk.len().saturating_sub(*keep)..).unwrap_or_default();
            let excess = (store.bytes.len() + chunk.len()).saturating_sub(*keep);
            store.bytes.drain(..excess);
            store.bytes.extend(chunk);
        }
        Sink::Head { keep } => {
            let room = keep.saturating_sub(store.bytes.len()).min(chunk.len());
            store.bytes.extend(chunk.get(..room).unwrap_or_default());
        }
        Sink::Lines { .. } => {}
    }
}

async fn forward(file: &mut tokio::fs::File, chunk: &[u8]) -> io::Result<()> {
    file.write_all(chunk).await?;
    file.flush().await
}

async fn split(to: &mut Option<mpsc::Sender<Vec<u8>>>, longest: usize, line: &mut Vec<u8>, chunk: &[u8]) {
    for piece in chunk.split_inclusive(|b| *b == b'\n') {
        let (text, ends) = piece.strip_suffix(b"\n").map_or((piece, false), |text| (text, true));
        let room = longest.saturating_sub(line.len()).min(text.len());
        line.extend_from_slice(text.get(..room).unwrap_or_default());
        if !ends {
            continue;
        }
        let whole = std::mem::take(line);
        if let Some(parser) = to
            && parser.send(whole).await.is_err()
        {
            *to = None;
        }
    }
}
