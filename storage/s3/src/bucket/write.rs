//! Writing small objects, on a condition.

use std::collections::HashMap;

use aws_sdk_s3::operation::put_object::PutObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use data_encoding::BASE64;
use md5::Md5;
use sha2::{Digest, Sha256};
use storage::Error;

use super::{Bucket, unquoted, version_id};
use crate::error::{Refusal, no_store};
use crate::transfer::is_about_checksums;

/// On what a write depends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    Always,
    /// Nothing stands there: `If-None-Match: *`.
    Absent,
    /// This ETag (without quotes) stands there: `If-Match`.
    Is(String),
}

/// How a conditional write went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// Done.
    Yes {
        /// Of what was written, without quotes.
        etag: String,
        /// In a versioned bucket.
        version_id: Option<String>,
    },
    /// The condition did not hold (412, or 409 where another write was under way, or 404 where what was to be replaced is gone):
    /// look at what stands there.
    Conflict,
}

impl Condition {
    /// The values of `If-None-Match` and `If-Match`.
    pub(crate) fn headers(&self) -> (Option<String>, Option<String>) {
        match self {
            Self::Always => (None, None),
            Self::Absent => (Some("*".to_owned()), None),
            Self::Is(etag) => (None, Some(format!("\"{etag}\""))),
        }
    }

    /// Whether `refusal` only says that this condition does not hold.
    pub(crate) fn is_refused(&self, refusal: &Refusal) -> bool {
        match self {
            Self::Always => false,
            Self::Absent => refusal.is_precondition() || refusal.status == 409,
            Self::Is(_) => refusal.is_precondition() || refusal.status == 409 || refusal.code == "NoSuchKey",
        }
    }
}

impl Bucket {
    /// Writes a small object in one request, which carries what proves its bytes to the store: `Content-MD5`, which every store
    /// checks, and a SHA-256, which many also keep and tell again; a store that refuses that is given it no more.
    ///
    /// # Errors
    /// As [`list`](Self::list). After [`Error::Unavailable`] it may have been written all the same.
    pub async fn put(
        &self,
        key: &str,
        body: Bytes,
        condition: &Condition,
        metadata: &HashMap<String, String>,
    ) -> Result<Written, Error> {
        let limits = self.s3.limits();
        let proven = limits.has_sha256();
        let mut put = self.put_once(key, &body, condition, metadata, proven).await?;
        if put.as_ref().is_err_and(|refusal| proven && is_about_checksums(refusal)) {
            limits.give_up_sha256();
            put = self.put_once(key, &body, condition, metadata, false).await?;
        }
        match put {
            // Only the headers tell a store from a web page that is glad to see us.
            Ok(put) if put.e_tag().is_none() => {
                Err(no_store(&format!("cannot write {}", self.uri(key)), "tells no ETag"))
            }
            Ok(put) => Ok(Written::Yes { etag: unquoted(put.e_tag()), version_id: version_id(put.version_id()) }),
            Err(refusal) if condition.is_refused(&refusal) => Ok(Written::Conflict),
            Err(refusal) => Err(refusal.at(&format!("write {}", self.uri(key)))),
        }
    }

    async fn put_once(
        &self,
        key: &str,
        body: &Bytes,
        condition: &Condition,
        metadata: &HashMap<String, String>,
        proven: bool,
    ) -> Result<Result<PutObjectOutput, Refusal>, Error> {
        let (if_none_match, if_match) = condition.headers();
        let request = self.s3.client().await?.put_object();
        let request = request
            .bucket(&*self.name)
            .key(key)
            .set_metadata(Some(metadata.clone()).filter(|metadata| !metadata.is_empty()))
            .set_if_none_match(if_none_match)
            .set_if_match(if_match)
            .content_md5(BASE64.encode(&Md5::digest(body)))
            .set_checksum_sha256(proven.then(|| BASE64.encode(&Sha256::digest(body))))
            .body(ByteStream::from(body.clone()));
        Ok(request.send().await.map_err(Refusal::from))
    }
}
