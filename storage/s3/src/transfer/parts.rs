//! An upload in parts: they are sent at once, completed on a condition, and aborted on every way that does not end there.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;
use sidecar::{chain, fault};
use storage::{Count, Error, Meter};
use tokio::task::{JoinHandle, JoinSet};
use tracing::warn;

use super::limits::BUFFER;
use super::local::Local;
use super::part_size;
use super::tries::Tries;
use super::upload::{Sending, is_about_checksums, is_spoilt};
use crate::Written;
use crate::bucket::{unquoted, version_id};
use crate::error::Refusal;

/// How long a failure waits for its upload to be aborted before it is told; it is aborted all the same.
const ABORT_WAIT: Duration = Duration::from_secs(10);
/// What one part under way needs: a piece being read, one at hand, and what the HTTP client holds.
const MEMORY: u64 = 4 * BUFFER as u64;

/// An upload in parts. Dropped before it is completed, it is aborted by itself; [`S3::idle`](crate::S3::idle) waits for that.
#[derive(Debug)]
pub(super) struct OpenUpload {
    sending: Sending,
    id: Arc<str>,
    checksums: bool,
    running: JoinSet<Result<CompletedPart, Error>>,
    open: bool,
}

/// How often a request was sent, with what the client itself has repeated.
#[derive(Clone, Debug, Default)]
struct Sends(Arc<AtomicU32>);

#[dyn_dispatch_hint]
impl Intercept for Sends {
    fn name(&self) -> &'static str {
        "Sends"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

impl OpenUpload {
    /// Begins one.
    ///
    /// # Errors
    /// As [`Bucket::upload`](crate::Bucket::upload).
    pub(super) async fn begin(sending: Sending) -> Result<Self, Error> {
        let limits = sending.bucket.s3().limits();
        // Some stores date uploads in whole seconds.
        let since = sending.bucket.s3().now() - Duration::from_secs(1);
        let sends = Sends::default();
        loop {
            let checksums = limits.has_checksums();
            let request = sending.bucket.s3().client().await?.create_multipart_upload();
            let request = request
                .bucket(sending.bucket.name())
                .key(&*sending.key)
                .set_metadata(Some(sending.metadata.clone()))
                .set_content_type(sending.how.content_type.clone())
                .set_checksum_algorithm(checksums.then_some(ChecksumAlgorithm::Crc64Nvme))
                .set_checksum_type(checksums.then_some(ChecksumType::FullObject));
            match request.customize().interceptor(sends.clone()).send().await.map_err(Refusal::from) {
                Ok(created) => {
                    let id = created.upload_id().unwrap_or_default().into();
                    let begun = Self { sending, id, checksums, running: JoinSet::new(), open: true };
                    if sends.0.load(Ordering::Relaxed) > 1 {
                        begun.end_doubles(since).await;
                    }
                    return Ok(begun);
                }
                Err(refusal) if checksums && is_about_checksums(&refusal) => limits.give_up_checksums(),
                Err(refusal) => return Err(sending.refused(refusal)),
            }
        }
    }

    /// Where it took several requests to begin it, the answer to one may have been lost, and nobody knows what that has begun: it is
    /// aborted, with whatever else was begun for this key since. A run of the same item that lives finds its own gone then, and begins
    /// anew.
    async fn end_doubles(&self, since: SystemTime) {
        let (bucket, key) = (&self.sending.bucket, &*self.sending.key);
        let ended = async {
            for upload in bucket.list_uploads(key).await? {
                let is_since = upload.initiated.is_some_and(|begun| begun.0 >= since);
                if upload.key == key && *upload.id != *self.id && is_since {
                    bucket.abort_upload(key, &upload.id).await?;
                }
            }
            Ok::<_, Error>(())
        };
        if let Err(error) = ended.await {
            warn!(key, error = chain(&error), "an upload whose beginning was never answered may be left open");
        }
    }

    /// Sends all parts and completes it.
    ///
    /// # Errors
    /// As [`Bucket::upload`](crate::Bucket::upload); it is aborted then.
    pub(super) async fn send(mut self, local: &Arc<Local>, meter: &Meter) -> Result<Written, Error> {
        let size = local.digest.size();
        let sent = match self.parts(local, size, meter).await {
            Ok(parts) => match local.is_unchanged() {
                Ok(()) => self.complete(parts, local).await,
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        match sent {
            Ok(Some(written)) => {
                self.open = false;
                meter.count().add(size);
                Ok(written)
            }
            not => {
                // What went wrong is told even where the abort goes wrong too.
                let _ = tokio::time::timeout(ABORT_WAIT, self.abort()).await;
                not.map(|_| Written::Conflict)
            }
        }
    }

    async fn parts(&mut self, local: &Arc<Local>, size: u64, meter: &Meter) -> Result<Vec<CompletedPart>, Error> {
        let (part, limits) = (part_size(size), Arc::clone(self.sending.bucket.s3().limits()));
        let starts = (1..).zip((0..size).step_by(usize::try_from(part).unwrap_or(usize::MAX)));
        let (sending, id, checksums) = (&self.sending, &self.id, self.checksums);
        let sent = limits.carry(MEMORY, starts, &mut self.running, |(number, start)| {
            let range = start..size.min(start + part);
            let part = Part { sending: sending.clone(), id: Arc::clone(id), checksums, number, range };
            part.send(Arc::clone(local), meter.count())
        });
        let mut parts = sent.await?;
        parts.sort_unstable_by_key(CompletedPart::part_number);
        Ok(parts)
    }

    /// Makes the parts an object; `None` where the condition does not hold.
    async fn complete(&self, parts: Vec<CompletedPart>, local: &Local) -> Result<Option<Written>, Error> {
        let sending = &self.sending;
        // Not every store looks at a condition here. A look before leaves such a store only a moment for another's object.
        if !sending.holds().await? {
            return Ok(None);
        }
        let whole = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let (mut if_none_match, mut if_match) = sending.how.condition.headers();
        fault::point("worker.complete.before").map_err(Error::fault)?;
        loop {
            let request = sending.bucket.s3().client().await?.complete_multipart_upload();
            let request = request
                .bucket(sending.bucket.name())
                .key(&*sending.key)
                .upload_id(&*self.id)
                .multipart_upload(whole.clone())
                .set_if_none_match(if_none_match.clone())
                .set_if_match(if_match.clone())
                .set_checksum_crc64_nvme(self.checksums.then(|| local.digest.crc64nvme()))
                .set_checksum_type(self.checksums.then_some(ChecksumType::FullObject));
            let refusal = match request.send().await.map_err(Refusal::from) {
                Ok(done) => {
                    fault::point("worker.complete.after").map_err(Error::fault)?;
                    let (etag, version_id) = (unquoted(done.e_tag()), version_id(done.version_id()));
                    return Ok(Some(Written::Yes { etag, version_id }));
                }
                Err(refusal) => refusal,
            };
            // Whatever it says: it may be the answer to a second try of which the first one's answer was lost.
            if let Some(written) = sending.landed().await? {
                return Ok(Some(written));
            }
            if sending.how.condition.is_refused(&refusal) {
                return Ok(None);
            }
            if self.checksums && is_of_none(&refusal) {
                return Err(Error::NotFound(format!(
                    "the upload to {}: {}",
                    sending.bucket.uri(&sending.key),
                    refusal
                )));
            }
            // A store may not know conditions here: then the look before has to do.
            if !refusal.is_unimplemented() || (if_none_match.is_none() && if_match.is_none()) {
                return Err(sending.refused(refusal));
            }
            (if_none_match, if_match) = (None, None);
        }
    }

    /// Ends what is under way, then the upload: a part that arrives afterwards would stay.
    fn abort(&mut self) -> JoinHandle<()> {
        self.open = false;
        let unfinished = self.sending.bucket.s3().limits().unfinished();
        let (mut running, sending, id) =
            (std::mem::take(&mut self.running), self.sending.clone(), Arc::clone(&self.id));
        tokio::spawn(async move {
            let _unfinished = unfinished;
            running.shutdown().await;
            if let Err(error) = sending.bucket.abort_upload(&sending.key, &id).await {
                warn!(%error, upload = &*id, "an upload in parts is left open");
            }
        })
    }
}

/// One part of an upload.
struct Part {
    sending: Sending,
    id: Arc<str>,
    checksums: bool,
    number: i32,
    range: Range<u64>,
}

impl Part {
    async fn send(self, local: Arc<Local>, count: Arc<Count>) -> Result<CompletedPart, Error> {
        let Self { sending, id, checksums, number, range } = self;
        let limits = sending.bucket.s3().limits();
        let crc = local.digest.crc64_of(range.start, range.end - range.start).base64();
        let mut tries = Tries::default();
        loop {
            let body = local.part(range.clone(), limits.buffers(), &count);
            let request = sending.bucket.s3().client().await?.upload_part();
            let request = request
                .bucket(sending.bucket.name())
                .key(&*sending.key)
                .upload_id(&*id)
                .part_number(number)
                .content_length(i64::try_from(range.end - range.start).unwrap_or(i64::MAX))
                .set_checksum_crc64_nvme(checksums.then(|| crc.clone()))
                .body(ByteStream::new(body))
                .customize()
                .disable_payload_signing();
            match request.send().await.map_err(Refusal::from) {
                Ok(sent) => {
                    return Ok(CompletedPart::builder()
                        .part_number(number)
                        .set_e_tag(sent.e_tag().map(str::to_owned))
                        .set_checksum_crc64_nvme(checksums.then_some(crc))
                        .build());
                }
                Err(refusal) => {
                    // A body that cannot be what was announced is not worth another try.
                    local.is_unchanged()?;
                    if !is_spoilt(&refusal) {
                        return Err(sending.refused(refusal));
                    }
                    tries.endure(sending.spoilt(refusal)).await?;
                }
            }
        }
    }
}

/// Whether a store says that the upload was begun without checksums. Ours was not: somebody has aborted it, and a part that arrived in
/// that instant has brought it back as an upload that knows nothing of itself, neither its checksums nor whose it is (Versity).
fn is_of_none(refusal: &Refusal) -> bool {
    refusal.message.contains("null checksum mode")
}

impl Drop for OpenUpload {
    fn drop(&mut self) {
        if self.open && tokio::runtime::Handle::try_current().is_ok() {
            drop(self.abort());
        }
    }
}
