//! What all transfers of a store share: the memory their buffers take, the requests at once, and what must still be tidied up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use storage::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinError, JoinSet};

use crate::TransferArgs;

/// What a byte budget is counted in: a semaphore counts no further than `u32`.
const UNIT: u64 = 64 * 1024;
/// How large a buffer is through which a file is read.
pub(crate) const BUFFER: usize = 512 * 1024;
/// The most buffers that are kept for the next transfer.
const KEPT: usize = 16;

/// What all transfers of a store share.
#[derive(Debug)]
pub(crate) struct Limits {
    memory: Arc<Semaphore>,
    units: u32,
    requests: Arc<Semaphore>,
    most_requests: usize,
    buffers: Buffers,
    without_checksums: AtomicBool,
    without_sha256: AtomicBool,
    unfinished: watch::Sender<usize>,
}

/// The right to have one request under way, and the memory it needs.
#[derive(Debug)]
pub(crate) struct Slot {
    _request: OwnedSemaphorePermit,
    _memory: OwnedSemaphorePermit,
}

impl Limits {
    pub(crate) fn new(args: &TransferArgs) -> Self {
        let units = u32::try_from(args.transfer_memory.as_u64() / UNIT).unwrap_or(u32::MAX).max(1);
        Self {
            memory: Arc::new(Semaphore::new(units as usize)),
            units,
            most_requests: usize::from(args.transfer_concurrency),
            requests: Arc::new(Semaphore::new(usize::from(args.transfer_concurrency))),
            buffers: Buffers::default(),
            without_checksums: AtomicBool::new(false),
            without_sha256: AtomicBool::new(false),
            unfinished: watch::Sender::new(0),
        }
    }

    /// Waits for a request's turn, and for `bytes` of memory: all there is, when that is less.
    pub(crate) async fn slot(&self, bytes: u64) -> Slot {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).clamp(1, self.units);
        // Always in this order, so that nobody waits for a turn with memory in hand.
        let request = Arc::clone(&self.requests).acquire_owned().await.expect("it is never closed");
        let memory = Arc::clone(&self.memory).acquire_many_owned(units).await.expect("it is never closed");
        Slot { _request: request, _memory: memory }
    }

    /// Carries the parts of a transfer in `running`, each of which needs `bytes` of memory. What carries a part is made when its slot
    /// is there, so that ten thousand parts take no more memory and tasks than as many as there may be requests.
    ///
    /// # Errors
    /// The first of a part; the others still are in `running` then.
    pub(crate) async fn carry<P, T, F>(
        &self,
        bytes: u64,
        parts: impl Iterator<Item = P> + Send,
        running: &mut JoinSet<Result<T, Error>>,
        each: impl Fn(P) -> F + Send,
    ) -> Result<Vec<T>, Error>
    where
        P: Send,
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let mut done = Vec::new();
        for part in parts {
            // Its place in the queue is kept while others end.
            let mut slot = std::pin::pin!(self.slot(bytes));
            let slot = loop {
                tokio::select! {
                    slot = &mut slot => break slot,
                    Some(ended) = running.join_next() => done.push(of_part(ended)?),
                }
            };
            let carrying = each(part);
            running.spawn(async move {
                let _slot = slot;
                carrying.await
            });
        }
        while let Some(ended) = running.join_next().await {
            done.push(of_part(ended)?);
        }
        Ok(done)
    }

    /// How many requests there may be at once.
    pub(crate) fn requests(&self) -> usize {
        self.most_requests
    }

    pub(crate) fn buffers(&self) -> &Buffers {
        &self.buffers
    }

    /// Whether uploads carry a checksum for the store to check: until it was seen not to know any.
    pub(crate) fn has_checksums(&self) -> bool {
        !self.without_checksums.load(Ordering::Relaxed)
    }

    pub(crate) fn give_up_checksums(&self) {
        self.without_checksums.store(true, Ordering::Relaxed);
    }

    /// Whether small objects carry their SHA-256: a store may know that and no other checksum, or others and not that.
    pub(crate) fn has_sha256(&self) -> bool {
        !self.without_sha256.load(Ordering::Relaxed)
    }

    pub(crate) fn give_up_sha256(&self) {
        self.without_sha256.store(true, Ordering::Relaxed);
    }

    /// Something that goes on by itself; [`idle`](Self::idle) waits until it is dropped.
    pub(crate) fn unfinished(self: &Arc<Self>) -> Unfinished {
        self.unfinished.send_modify(|count| *count += 1);
        Unfinished(Arc::clone(self))
    }

    /// Waits until nothing goes on by itself.
    pub(crate) async fn idle(&self) {
        let _ = self.unfinished.subscribe().wait_for(|count| *count == 0).await;
    }
}

fn of_part<T>(ended: Result<Result<T, Error>, JoinError>) -> Result<T, Error> {
    ended.expect("a part does not panic, and nobody aborts it while it is waited for")
}

/// Something that goes on by itself, until this is dropped.
#[derive(Debug)]
pub(crate) struct Unfinished(Arc<Limits>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.0.unfinished.send_modify(|count| *count -= 1);
    }
}

/// Buffers that have been used: fresh memory costs a page fault every 4 KiB.
#[derive(Clone, Debug, Default)]
pub(crate) struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

impl Buffers {
    /// One of [`BUFFER`] bytes; whatever was in it still is.
    pub(crate) fn take(&self) -> Buffer {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Buffer { bytes: kept.unwrap_or_else(|| vec![0; BUFFER]), filled: 0, home: self.clone() }
    }
}

/// A buffer, which goes back when it is dropped.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    /// How much of it means anything.
    pub(crate) filled: usize,
    home: Buffers,
}

impl Buffer {
    pub(crate) fn space(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.filled).unwrap_or_default()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut kept = self.home.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT {
            kept.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use bytesize::ByteSize;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn slots_never_take_more_memory_or_requests_than_there_are() {
        let limits = Limits::new(&TransferArgs { transfer_memory: ByteSize::mib(16), transfer_concurrency: 3 });
        let waits = Duration::from_secs(1);
        let _six = limits.slot(6 << 20).await;
        let ten = limits.slot(10 << 20).await;
        assert!(tokio::time::timeout(waits, limits.slot(1)).await.is_err(), "no memory is left");
        drop(ten);
        let _small = [limits.slot(1).await, limits.slot(1).await];
        assert!(tokio::time::timeout(waits, limits.slot(1)).await.is_err(), "three requests are under way");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_larger_than_all_memory_takes_all_of_it() {
        let limits = Limits::new(&TransferArgs { transfer_memory: ByteSize::mib(16), transfer_concurrency: 3 });
        let all = limits.slot(1 << 40).await;
        assert!(tokio::time::timeout(Duration::from_secs(1), limits.slot(1)).await.is_err());
        drop(all);
        limits.slot(1).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_for_its_slot_is_not_made_yet() {
        let limits = Limits::new(&TransferArgs { transfer_memory: ByteSize::mib(16), transfer_concurrency: 3 });
        let (made, mut running) = (AtomicUsize::new(0), JoinSet::new());
        let each = |part| {
            made.fetch_add(1, Ordering::Relaxed);
            async move { if part < 100 { Ok(part) } else { std::future::pending().await } }
        };
        let carried = limits.carry(1, 0..10_000, &mut running, each);
        let ended = tokio::time::timeout(Duration::from_secs(1), carried).await;
        assert!(ended.is_err(), "the hundredth never ends");
        assert_eq!((made.into_inner(), running.len()), (103, 3), "a hundred have ended, three are under way");
    }

    #[tokio::test]
    async fn the_first_part_that_fails_ends_all() {
        let limits = Limits::new(&TransferArgs { transfer_memory: ByteSize::mib(16), transfer_concurrency: 3 });
        let mut running = JoinSet::new();
        let each = |part| async move {
            match part {
                2 => Err(Error::Busy("no".to_owned())),
                _ => std::future::pending::<Result<(), _>>().await,
            }
        };
        let ended = limits.carry(1, 0..10_000, &mut running, each).await;
        assert!(matches!(ended, Err(Error::Busy(_))), "{ended:?}");
    }

    #[test]
    fn buffers_come_back() {
        let buffers = Buffers::default();
        let mut first = buffers.take();
        first.space().fill(7);
        first.filled = 3;
        assert_eq!(first.as_ref(), [7, 7, 7]);
        drop(first);
        assert_eq!(buffers.take().space().first(), Some(&7), "the same memory again");
    }
}
