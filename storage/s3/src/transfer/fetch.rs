//! Fetching: one request for what is small, ranges at once for what is large, each resumed from where it broke.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumType, ServerSideEncryption};
use bytes::Bytes;
use storage::{Count, Error, Meter};
use tokio::task::JoinSet;

use super::checksum::{Crc64, Proof, Running};
use super::partial::{Partial, Writer, Writing};
use super::tries::Tries;
use super::{Fetched, Wanted, part_size};
use crate::bucket::{timestamp, unquoted, unsigned, version_id};
use crate::error::Refusal;
use crate::{Bucket, Checksums, Head};

/// So much of a body is gathered for one write. While it is written, as much again comes in.
const WRITE: usize = 1024 * 1024;
/// What the HTTP client reads at once, at most.
const READ: u64 = 512 * 1024;

/// The largest range, unless there would be too many.
const RANGE: u64 = 64 * 1024 * 1024;
/// So much is progress: a store that breaks off sooner every time is not endured for ever.
const PROGRESS: u64 = 64 * 1024;

/// Where the CRC of a range is: with us, or with a write that is under way.
enum At {
    Hand(Running),
    Work(Writing),
}

impl At {
    async fn hand(self) -> Result<Running, Error> {
        match self {
            Self::Hand(crc) => Ok(crc),
            Self::Work(writing) => writing.end().await,
        }
    }
}

/// What is fetched, as far as it is known.
#[derive(Clone, Debug)]
struct Source {
    bucket: Bucket,
    key: Arc<str>,
    version_id: Option<Arc<str>>,
    etag: Option<Arc<str>>,
    /// Whether whoever wants it named a version; otherwise it is that of the first answer.
    named: bool,
}

/// An answer that has begun.
struct Opened {
    head: Head,
    /// Whether the ETag is the MD5 of the content, if it looks like one.
    etag_is_md5: bool,
    body: ByteStream,
}

pub(super) async fn fetch(
    bucket: &Bucket,
    key: &str,
    wanted: &Wanted,
    to: &Path,
    meter: &Meter,
) -> Result<Fetched, Error> {
    let source = Source {
        bucket: bucket.clone(),
        key: key.into(),
        version_id: wanted.version_id.as_deref().map(Into::into),
        etag: wanted.etag.as_deref().map(Into::into),
        named: wanted.version_id.is_some() || wanted.etag.is_some(),
    };
    let carried = Carried::new(meter);
    match wanted.size {
        Some(size) if size > part_size(size) && (source.etag.is_some() || source.version_id.is_some()) => {
            source.in_ranges(size, to, carried).await
        }
        size => source.opening(size, to, carried).await,
    }
}

/// What has been told to the meter, and is taken back unless all of it arrives.
#[derive(Clone, Debug)]
struct Carried(Arc<Told>);

#[derive(Debug)]
struct Told {
    count: Arc<Count>,
    bytes: AtomicU64,
}

impl Carried {
    fn new(meter: &Meter) -> Self {
        Self(Arc::new(Told { count: meter.count(), bytes: AtomicU64::new(0) }))
    }

    fn add(&self, bytes: u64) {
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.0.count.add(bytes);
    }

    /// All of it has arrived.
    fn keep(&self) {
        self.0.bytes.store(0, Ordering::Relaxed);
        self.0.count.finish_one();
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.count.take_back(self.bytes.load(Ordering::Relaxed));
    }
}

impl Source {
    fn uri(&self) -> String {
        self.bucket.uri(&self.key)
    }

    /// A large object of which all is known that keeps its ranges together.
    async fn in_ranges(&self, size: u64, to: &Path, carried: Carried) -> Result<Fetched, Error> {
        let partial = Partial::make(to, size).await?;
        self.rest(size, 0, Crc64::default(), partial, carried).await
    }

    /// An object of which the first answer tells the rest: it is all, if the object is small.
    async fn opening(&self, size: Option<u64>, to: &Path, carried: Carried) -> Result<Fetched, Error> {
        let part = part_size(size.unwrap_or(0));
        let slot = self.bucket.s3().limits().slot(memory(size.unwrap_or(part).min(part))).await;
        // A whole object is asked for without a range: only then does a store tell its checksum.
        let ranged = size.is_none_or(|size| size > part);
        let mut opened = self.open(ranged.then_some(0..part), size).await?;
        let total = opened.head.size;
        let partial = Partial::make(to, total).await?;
        // The rest must be of what the first answer was.
        let known = self.of(&opened.head);
        let first = 0..total.min(if ranged { part } else { total });
        let body = std::mem::take(&mut opened.body);
        let crc = known.range(first.clone(), size.or(Some(total)), Some(body), &partial.writer(), &carried).await?;
        drop(slot);
        if first.end < total {
            return known.rest(total, first.end, crc, partial, carried).await;
        }
        let proof = Proof::of(&opened.head, opened.etag_is_md5);
        partial.finish(self.uri(), proof, crc).await?;
        carried.keep();
        Ok(Fetched { head: opened.head })
    }

    /// Everything from `start` on, in ranges at once, and meanwhile what the store says of the whole.
    async fn rest(
        &self,
        size: u64,
        start: u64,
        front: Crc64,
        partial: Partial,
        carried: Carried,
    ) -> Result<Fetched, Error> {
        // As few requests as keep half of the connections busy: more of them cost the store and us more than they bring.
        let limits = self.bucket.s3().limits();
        let at_once = limits.requests().div_ceil(2) as u64;
        let part = part_size(size).max(size.div_ceil(at_once)).min(part_size(size).max(RANGE));
        let begins = (start..size).step_by(usize::try_from(part).unwrap_or(usize::MAX));
        // Dropping the set ends what is under way.
        let mut running = JoinSet::new();
        let ranges = limits.carry(memory(part), begins, &mut running, |begin| {
            let range = begin..size.min(begin + part);
            let (this, writer, carried) = (self.clone(), partial.writer(), carried.clone());
            async move { Ok((begin, this.range(range, Some(size), None, &writer, &carried).await?)) }
        });
        let (mut crcs, (head, etag_is_md5)) = futures_util::future::try_join(ranges, self.head(size)).await?;
        crcs.sort_unstable_by_key(|(begin, _)| *begin);
        let crc = crcs.into_iter().fold(front, |all, (_, next)| all.then(next));
        let proof = Proof::of(&head, etag_is_md5);
        partial.finish(self.uri(), proof, crc).await?;
        carried.keep();
        Ok(Fetched { head })
    }

    /// What the store says of the whole: ranges do not tell.
    async fn head(&self, size: u64) -> Result<(Head, bool), Error> {
        let head = self.bucket.head(&self.key, self.version_id.as_deref()).await?;
        if self.etag.as_deref().is_some_and(|etag| etag != head.etag) || head.size != size {
            return Err(self.other(Some(size), &head));
        }
        Ok((head, false))
    }

    /// The same source, pinned to what an answer told.
    fn of(&self, head: &Head) -> Self {
        let etag =
            self.etag.clone().or_else(|| Some(head.etag.as_str().into()).filter(|etag: &Arc<str>| !etag.is_empty()));
        let version_id = self.version_id.clone().or_else(|| head.version_id.as_deref().map(Into::into));
        Self { etag, version_id, ..self.clone() }
    }

    /// Brings one range home, beginning with `body` where there is one.
    async fn range(
        &self,
        range: Range<u64>,
        size: Option<u64>,
        body: Option<ByteStream>,
        writer: &Writer,
        carried: &Carried,
    ) -> Result<Crc64, Error> {
        let (mut crc, mut body) = (Running::new(), body);
        let mut tries = Tries::default();
        loop {
            let at = range.start + crc.length();
            let open = match body.take() {
                Some(body) => body,
                None => self.open(Some(at..range.end), size).await?.body,
            };
            let ended;
            (crc, ended) = self.drain(open, at, range.end, crc, writer, carried).await?;
            let Err(broke) = ended else { return Ok(crc.crc()) };
            if range.start + crc.length() >= at + PROGRESS {
                tries.renew();
            }
            tries.endure(broke).await?;
        }
    }

    /// Writes what comes until `end`, or until it breaks off: then what has come is written, and counted in too.
    async fn drain(
        &self,
        mut body: ByteStream,
        start: u64,
        end: u64,
        crc: Running,
        writer: &Writer,
        carried: &Carried,
    ) -> Result<(Running, Result<(), Error>), Error> {
        let (mut at, mut gathered, mut many) = (start, Vec::<Bytes>::new(), 0);
        let mut crc = At::Hand(crc);
        let ended = loop {
            let came = body.next().await;
            let over = !matches!(came, Some(Ok(_)));
            if let Some(Ok(bytes)) = &came {
                if bytes.len() as u64 > end - at - many as u64 {
                    break Err(self.broken("the store sent more than it was asked for"));
                }
                carried.add(bytes.len() as u64);
                many += bytes.len();
                gathered.push(bytes.clone());
            }
            if many >= WRITE || (over && many > 0) {
                let before = crc.hand().await?;
                crc = At::Work(writer.write(std::mem::take(&mut gathered), at, before));
                at += std::mem::take(&mut many) as u64;
            }
            match came {
                Some(Ok(_)) => {}
                Some(Err(error)) => break Err(self.broken(error)),
                None if at < end => break Err(self.broken(format!("{} bytes are missing at its end", end - at))),
                None => break Ok(()),
            }
        };
        Ok((crc.hand().await?, ended))
    }

    fn broken(&self, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::Unavailable { doing: format!("fetch {}", self.uri()), source: io::Error::other(why) }
    }

    /// Asks for a range, or for all, and looks at whether that is what is answered.
    async fn open(&self, range: Option<Range<u64>>, size: Option<u64>) -> Result<Opened, Error> {
        let asked = range.clone().filter(|range| !range.is_empty());
        let request = self.bucket.s3().client().await?.get_object().bucket(self.bucket.name()).key(&*self.key);
        let request = request
            .set_version_id(self.version_id.as_deref().map(str::to_owned))
            .set_if_match(self.etag.as_ref().map(|etag| format!("\"{etag}\"")))
            .set_range(asked.map(|range| format!("bytes={}-{}", range.start, range.end - 1)))
            .customize()
            // Not by the SDK's own switch, which would have it look at the body too.
            .mutate_request(|request| {
                request.headers_mut().insert("x-amz-checksum-mode", "ENABLED");
            });
        let got = match request.send().await.map_err(Refusal::from) {
            Ok(got) => got,
            Err(refusal) => return self.refused(refusal, range, size).await,
        };
        let etag = unquoted(got.e_tag());
        if self.etag.as_deref().is_some_and(|wanted| wanted != etag && !etag.is_empty()) {
            let length = size.unwrap_or_default();
            return Err(self.other(size, &head_of(&got, etag, length)));
        }
        let length = unsigned(got.content_length());
        let (begins, ends, total) = match got.content_range().map(content_range) {
            Some(Some(told)) => told,
            Some(None) => return Err(self.lies(&format!("answers with {:?} bytes", got.content_range()))),
            None => (0, length, length),
        };
        if ends.checked_sub(begins) != Some(length) {
            return Err(self.lies(&format!("announces {length} bytes as {:?}", got.content_range())));
        }
        if size.is_some_and(|size| size != total) && (got.content_range().is_some() || range.is_none()) {
            return Err(self.other(size, &head_of(&got, etag, total)));
        }
        let want = range.unwrap_or(0..total);
        if (begins, ends) != (want.start, want.end.min(total)) {
            let what =
                if got.content_range().is_some() { "another range" } else { "all of it, as one that knows no ranges," };
            return Err(self.lies(&format!(
                "sends {what} when asked for bytes {}-{}",
                want.start,
                want.end.saturating_sub(1)
            )));
        }
        let encrypted = matches!(got.server_side_encryption(), Some(sse) if *sse != ServerSideEncryption::Aes256);
        let etag_is_md5 = !encrypted && got.sse_customer_algorithm().is_none();
        let head = head_of(&got, etag, total);
        Ok(Opened { head, etag_is_md5, body: got.body })
    }

    /// What a refusal means here.
    async fn refused(&self, refusal: Refusal, range: Option<Range<u64>>, size: Option<u64>) -> Result<Opened, Error> {
        match refusal.status {
            // An empty object has no first byte to ask for.
            416 if size.is_none() && range.is_some_and(|range| range.start == 0) => {
                Box::pin(self.open(None, None)).await
            }
            412 | 416 => {
                let found = self.bucket.head(&self.key, self.version_id.as_deref()).await?;
                Err(self.other(size, &found))
            }
            // The version asked for is the mark of a deletion.
            405 => Err(Error::NotFound(format!("{} was deleted", self.uri()))),
            _ => Err(refusal.at(&format!("fetch {}", self.uri()))),
        }
    }

    /// What is `found` is not what is wanted: another version, which is nobody's fault, or a version that is not as the item says.
    fn other(&self, size: Option<u64>, found: &Head) -> Error {
        let uri = self.uri();
        let now = found.version_id.as_deref().unwrap_or(&found.etag);
        let wanted = match (self.version_id.as_deref(), self.etag.as_deref()) {
            (Some(id), _) if found.version_id.is_some() => Some(id).filter(|id| *id != now),
            (id, Some(etag)) => Some(id.unwrap_or(etag)).filter(|_| etag != found.etag && !found.etag.is_empty()),
            _ => None,
        };
        let size = size.filter(|size| *size != found.size);
        match (self.named, wanted, size) {
            (true, Some(wanted), _) => Error::Changed { uri, wanted: wanted.to_owned(), found: now.to_owned() },
            (true, None, Some(size)) => {
                Error::Invalid(format!("{uri} has {} bytes in version {now}, and the item says {size}", found.size))
            }
            (false, None, Some(size)) => Error::Busy(format!(
                "{uri} has {} bytes, and the item, which names no version, says {size}; has it been replaced?",
                found.size
            )),
            _ => Error::Busy(format!("{uri} changed while it was fetched; it is {now} now")),
        }
    }

    fn lies(&self, how: &str) -> Error {
        Error::Unsupported(format!("cannot fetch {}: the store {how}", self.uri()))
    }
}

/// What one request for so many bytes needs: one write under way, one being gathered, and what the client reads.
fn memory(bytes: u64) -> u64 {
    (bytes + 16 * 1024).min(2 * WRITE as u64 + READ)
}

/// `bytes 0-99/1000` as the first, the one behind the last, and all.
fn content_range(text: &str) -> Option<(u64, u64, u64)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    Some((first.parse().ok()?, last.parse::<u64>().ok()?.checked_add(1)?, total.parse().ok()?))
}

fn head_of(got: &GetObjectOutput, etag: String, size: u64) -> Head {
    let own = |text: Option<&str>| text.map(str::to_owned);
    let length = got.content_length().and_then(|length| u64::try_from(length).ok());
    Head {
        size,
        etag,
        version_id: version_id(got.version_id()),
        last_modified: got.last_modified().map(timestamp),
        storage_class: got.storage_class().map(|class| class.as_str().to_owned()).filter(|class| class != "STANDARD"),
        metadata: got.metadata().cloned().unwrap_or_else(HashMap::new),
        checksums: Checksums {
            sha256: own(got.checksum_sha256()),
            crc64nvme: own(got.checksum_crc64_nvme()),
            crc32c: own(got.checksum_crc32_c()),
            crc32: own(got.checksum_crc32()),
            // With a range they may be of a part, or of all.
            whole: length == Some(size) && got.checksum_type() != Some(&ChecksumType::Composite),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_range_is_read_strictly() {
        assert_eq!(content_range("bytes 0-99/1000"), Some((0, 100, 1000)));
        for wrong in ["bytes */1000", "bytes 0-99/*", "0-99/1000", "bytes 0-/5", "bytes 0-18446744073709551615/5"] {
            assert_eq!(content_range(wrong), None, "{wrong}");
        }
    }
}
