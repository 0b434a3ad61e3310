//! Putting a local file: one request for what is small, parts at once for what is large, and nothing of them left on failure.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use aws_sdk_s3::primitives::ByteStream;
use storage::{Error, Meter};

use super::local::Local;
use super::parts::OpenUpload;
use super::tries::Tries;
use super::{NONCE_METADATA, PART, SHA256_METADATA, Upload};
use crate::bucket::{unquoted, version_id};
use crate::error::Refusal;
use crate::{Bucket, Condition, Head, Written};

/// An upload, with all that it needs to say of itself.
#[derive(Clone, Debug)]
pub(super) struct Sending {
    pub(super) bucket: Bucket,
    pub(super) key: Arc<str>,
    pub(super) how: Arc<Upload>,
    pub(super) metadata: HashMap<String, String>,
    nonce: Arc<str>,
}

pub(super) async fn upload(
    bucket: &Bucket,
    from: &Path,
    key: &str,
    how: &Upload,
    meter: &Meter,
) -> Result<Written, Error> {
    let local = Local::open(from, how.digest.clone()).await?;
    let nonce = format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
    let mut metadata = how.metadata.clone();
    metadata.insert(SHA256_METADATA.to_owned(), local.digest.sha256());
    metadata.insert(NONCE_METADATA.to_owned(), nonce.clone());
    let sending =
        Sending { bucket: bucket.clone(), key: key.into(), how: Arc::new(how.clone()), metadata, nonce: nonce.into() };
    let written = if local.digest.size() <= PART {
        sending.at_once(&local, meter).await?
    } else {
        OpenUpload::begin(sending).await?.send(&local, meter).await?
    };
    meter.count().finish_one();
    Ok(written)
}

impl Sending {
    fn doing(&self) -> String {
        format!("write {}", self.bucket.uri(&self.key))
    }

    /// `refusal`, as an error.
    pub(super) fn refused(&self, refusal: Refusal) -> Error {
        refusal.at(&self.doing())
    }

    /// `refusal` of bytes that were spoilt on their way, as an error: they may come through next time.
    pub(super) fn spoilt(&self, refusal: Refusal) -> Error {
        Error::Unavailable { doing: self.doing(), source: io::Error::other(refusal.message) }
    }

    async fn at_once(&self, local: &Arc<Local>, meter: &Meter) -> Result<Written, Error> {
        let limits = self.bucket.s3().limits();
        let size = local.digest.size();
        let _slot = limits.slot(size + 16 * 1024).await;
        let body = local.bytes().await?;
        let mut tries = Tries::default();
        loop {
            let (if_none_match, if_match) = self.how.condition.headers();
            let checksum = limits.has_checksums();
            let client = self.bucket.s3().client().await?;
            let request = client
                .put_object()
                .bucket(self.bucket.name())
                .key(&*self.key)
                .set_metadata(Some(self.metadata.clone()))
                .set_content_type(self.how.content_type.clone())
                .set_if_none_match(if_none_match)
                .set_if_match(if_match)
                .set_checksum_crc64_nvme(checksum.then(|| local.digest.crc64nvme()))
                .body(ByteStream::from(body.clone()))
                .customize()
                .disable_payload_signing();
            match request.send().await.map_err(Refusal::from) {
                Ok(put) => {
                    meter.count().add(size);
                    return Ok(Written::Yes { etag: unquoted(put.e_tag()), version_id: version_id(put.version_id()) });
                }
                Err(refusal) if self.how.condition.is_refused(&refusal) => return self.conflict().await,
                Err(refusal) if checksum && is_about_checksums(&refusal) => limits.give_up_checksums(),
                Err(refusal) if is_spoilt(&refusal) => tries.endure(self.spoilt(refusal)).await?,
                Err(refusal) => return Err(self.refused(refusal)),
            }
        }
    }

    /// The condition does not hold; unless what stands there is this very upload, of which the reply was lost.
    pub(super) async fn conflict(&self) -> Result<Written, Error> {
        Ok(self.landed().await?.unwrap_or(Written::Conflict))
    }

    /// Whether this very upload stands there already.
    pub(super) async fn landed(&self) -> Result<Option<Written>, Error> {
        match self.bucket.head(&self.key, None).await {
            Ok(Head { metadata, etag, version_id, .. }) => {
                let ours = metadata.get(NONCE_METADATA).is_some_and(|nonce| **nonce == *self.nonce);
                Ok(ours.then_some(Written::Yes { etag, version_id }))
            }
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the condition holds now, as far as a look can tell.
    pub(super) async fn holds(&self) -> Result<bool, Error> {
        let found = match &self.how.condition {
            Condition::Always => return Ok(true),
            Condition::Absent | Condition::Is(_) => self.bucket.head(&self.key, None).await,
        };
        match (&self.how.condition, found) {
            (Condition::Absent, Err(Error::NotFound(_))) => Ok(true),
            (Condition::Is(_), Err(Error::NotFound(_))) => Ok(false),
            (_, Err(error)) => Err(error),
            (Condition::Is(etag), Ok(head)) => Ok(*etag == head.etag),
            (Condition::Always | Condition::Absent, Ok(_)) => Ok(false),
        }
    }
}

/// Whether what arrived is not what its checksum says.
pub(super) fn is_spoilt(refusal: &Refusal) -> bool {
    matches!(refusal.code.as_str(), "BadDigest" | "XAmzContentChecksumMismatch")
}

/// Whether a store refuses the checksum itself, as one that does not know it.
pub(crate) fn is_about_checksums(refusal: &Refusal) -> bool {
    let unknown = refusal.is_unimplemented() || matches!(refusal.code.as_str(), "InvalidArgument" | "InvalidRequest");
    unknown && refusal.message.to_ascii_lowercase().contains("checksum")
}
