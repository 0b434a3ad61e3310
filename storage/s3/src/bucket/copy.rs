//! Copying within a bucket, by the store itself.

mod note;

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, MetadataDirective, StorageClass, TaggingDirective};
use futures_util::{StreamExt, TryStreamExt, stream};
use storage::Error;
use tokio::sync::Notify;

use self::note::{LEASE, Note};
use super::{Bucket, Condition, Head, Which, Written, unquoted, version_id};
use crate::error::Refusal;

/// The most that one request copies; more goes in parts. The API's own limit.
const AT_ONCE: u64 = 5 << 30;
/// A part of a copy: a store copies it in seconds, and 10,000 of them hold 5 TiB.
const PART: u64 = 1 << 29;
/// Parts copied at once.
const PARALLEL: usize = 8;

/// How a copy is made; of another size and haste in tests.
#[derive(Clone, Copy, Debug)]
struct How {
    /// The most that one request copies, in bytes.
    at_once: u64,
    /// Of a part, in bytes.
    part: u64,
    /// After how long a copy in parts that gives no sign of life is taken for dead.
    lease: Duration,
}

/// What is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    /// Its key.
    pub key: &'a str,
    /// Which content of it.
    pub which: Which<'a>,
}

/// Where a copy goes.
#[derive(Clone, Copy, Debug)]
pub struct Destination<'a> {
    /// Its key.
    pub key: &'a str,
    /// On what may stand there.
    pub condition: &'a Condition,
    /// Metadata beside what the object has, by which the copy is known again.
    pub marks: &'a HashMap<String, String>,
    /// What the keys of our notes begin with while a copy in parts is under way: empty, or with a slash at its end.
    pub notes: &'a str,
}

/// How a copy went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Copied {
    /// Done: exactly the content that was meant lies there, with its metadata and tags.
    Yes {
        /// Of the copy, without quotes.
        etag: String,
        /// Of the copy, in a versioned bucket.
        version_id: Option<String>,
    },
    /// What was to be copied has been replaced; nothing was written.
    Changed,
    /// The condition on the destination did not hold; nothing was written.
    Conflict,
}

impl Bucket {
    /// Copies an object to another key, with its metadata and tags. The store compares the ETag itself
    /// (`x-amz-copy-source-if-match`, which MinIO, Versity and AWS do). Where it ignores the condition on the destination (MinIO
    /// does on a copy), what is written within the milliseconds after a look at it may be overwritten.
    ///
    /// What is larger than 5 GiB is copied in parts, by one at a time to each destination. If that is killed, the next copy to the same
    /// destination aborts what it has left open, for which it needs the rights to list and abort uploads.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is nothing to copy, [`Error::Busy`] while another copies to that key in parts, or was killed at that
    /// less than two minutes ago, and as [`list`](Self::list). Nothing is left of a copy in parts that failed.
    pub async fn copy(&self, from: Origin<'_>, to: Destination<'_>) -> Result<Copied, Error> {
        self.copy_by(from, to, How { at_once: AT_ONCE, part: PART, lease: LEASE }).await
    }

    async fn copy_by(&self, from: Origin<'_>, to: Destination<'_>, how: How) -> Result<Copied, Error> {
        let mut head = self.head(from.key, from.which.version()).await?;
        head.metadata.extend(to.marks.clone());
        if from.which.etag().is_some_and(|etag| etag != head.etag) {
            return Ok(Copied::Changed);
        }
        if !self.holds(to.key, to.condition).await? {
            return Ok(Copied::Conflict);
        }
        let source = Source {
            path: self.source(from.key, from.which.version()),
            // Whatever was looked at is what is copied, however long it takes.
            etag: format!("\"{}\"", head.etag),
        };
        let copied = if head.size > how.at_once {
            // Rare, and large: it is no part of every other copy's future.
            Box::pin(self.copy_in_parts(from, &head, &source, to, how)).await?
        } else {
            self.copy_whole(from, &head, &source, to).await?
        };
        match copied {
            Ok(Written::Yes { etag, version_id }) => Ok(Copied::Yes { etag, version_id }),
            Ok(Written::Conflict) => Ok(Copied::Conflict),
            // Both conditions are refused in the same words: which of them it was, the source tells.
            Err(refusal) if refusal.is_precondition() || refusal.status == 409 => {
                match self.head(from.key, from.which.version()).await {
                    Ok(now) if now.etag == head.etag => Ok(Copied::Conflict),
                    Ok(_) | Err(Error::NotFound(_)) => Ok(Copied::Changed),
                    Err(error) => Err(error),
                }
            }
            Err(refusal) => Err(refusal.at(&format!("copy {} to {}", self.uri(from.key), self.uri(to.key)))),
        }
    }

    /// Whether a condition holds now: for the stores that do not look themselves.
    async fn holds(&self, key: &str, condition: &Condition) -> Result<bool, Error> {
        Ok(match condition {
            Condition::Always => true,
            Condition::Absent => self.find(key).await?.is_none(),
            Condition::Is(etag) => self.find(key).await?.is_some_and(|now| now.etag == *etag),
        })
    }

    /// `x-amz-copy-source`: some servers take a `+` in it for a space.
    fn source(&self, key: &str, version: Option<&str>) -> String {
        let key = contract::item::encode_path(key.as_bytes()).replace('+', "%2B");
        let version = version.map(|id| format!("?versionId={id}")).unwrap_or_default();
        format!("{}/{key}{version}", self.name)
    }

    async fn copy_whole(
        &self,
        from: Origin<'_>,
        head: &Head,
        source: &Source,
        to: Destination<'_>,
    ) -> Result<Result<Written, Refusal>, Error> {
        let (if_none_match, if_match) = to.condition.headers();
        let request = self.s3.client().await?.copy_object();
        let request = if to.marks.is_empty() {
            request.metadata_directive(MetadataDirective::Copy)
        } else {
            // Whoever says the metadata says all that is known of the content.
            let got = self.look(from, to.key).await?;
            request
                .metadata_directive(MetadataDirective::Replace)
                .set_metadata(Some(head.metadata.clone()))
                .set_content_type(got.content_type().map(str::to_owned))
                .set_content_encoding(got.content_encoding().map(str::to_owned))
                .set_content_language(got.content_language().map(str::to_owned))
                .set_content_disposition(got.content_disposition().map(str::to_owned))
                .set_cache_control(got.cache_control().map(str::to_owned))
        };
        let request = request
            .bucket(&*self.name)
            .key(to.key)
            .copy_source(&source.path)
            .copy_source_if_match(&source.etag)
            .tagging_directive(TaggingDirective::Copy)
            // Otherwise the copy would be of the ordinary class.
            .set_storage_class(head.storage_class.as_deref().map(StorageClass::from))
            .set_if_none_match(if_none_match)
            .set_if_match(if_match);
        Ok(request.send().await.map_err(Refusal::from).map(|copied| Written::Yes {
            etag: unquoted(copied.copy_object_result().and_then(|result| result.e_tag())),
            version_id: version_id(copied.version_id()),
        }))
    }

    async fn copy_in_parts(
        &self,
        from: Origin<'_>,
        head: &Head,
        source: &Source,
        to: Destination<'_>,
        how: How,
    ) -> Result<Result<Written, Refusal>, Error> {
        let note = Note::leave(self, to.notes, to.key, how.lease).await?;
        let id = match self.begin_copy(from, head, to.key).await {
            Ok(id) => id,
            // It may have been begun all the same.
            Err(error) => {
                note.leave_open().await;
                return Err(error);
            }
        };
        let copied = {
            let over = Notify::new();
            let (copying, keeping) = (self.copy_parts(head, source, to, &id, how.part), note.keep(&over));
            tokio::pin!(copying, keeping);
            tokio::select! {
                copied = &mut copying => {
                    // A renewal under way is waited for: one that nobody heard of would make the note look like another's.
                    over.notify_one();
                    keeping.await;
                    copied
                }
                lost = &mut keeping => Err(lost.unwrap_or_else(|| note.busy())),
            }
        };
        if !matches!(copied, Ok(Ok(_)))
            && let Err(error) = self.abort_upload(to.key, &id).await
        {
            tracing::warn!(%error, "an upload is left open");
            note.leave_open().await;
            return copied;
        }
        note.remove().await;
        copied
    }

    /// An upload that becomes what a copy in one request would: the same type, metadata and tags.
    async fn begin_copy(&self, from: Origin<'_>, head: &Head, to: &str) -> Result<String, Error> {
        let tags = match self.tags(from.key, from.which.version()).await {
            Ok(tags) => tags,
            // A store without tags, or a right that nobody needs for objects that have none.
            Err(Error::Unsupported(_) | Error::Invalid(_) | Error::Forbidden(_)) => Default::default(),
            Err(error) => return Err(error),
        };
        let tagging = tags.iter().map(|(name, value)| format!("{}={}", form(name), form(value))).collect::<Vec<_>>();
        let got = self.look(from, to).await?;
        let client = self.s3.client().await?;
        let doing = format!("copy {} to {}", self.uri(from.key), self.uri(to));
        let request = client
            .create_multipart_upload()
            .bucket(&*self.name)
            .key(to)
            .set_metadata(Some(head.metadata.clone()).filter(|metadata| !metadata.is_empty()))
            .set_storage_class(head.storage_class.as_deref().map(StorageClass::from))
            .set_tagging(Some(tagging.join("&")).filter(|tagging| !tagging.is_empty()))
            .set_content_type(got.content_type().map(str::to_owned))
            .set_content_encoding(got.content_encoding().map(str::to_owned))
            .set_content_language(got.content_language().map(str::to_owned))
            .set_content_disposition(got.content_disposition().map(str::to_owned))
            .set_cache_control(got.cache_control().map(str::to_owned));
        let begun = request.send().await.map_err(|error| Refusal::from(error).at(&doing))?;
        Ok(begun.upload_id().unwrap_or_default().to_owned())
    }

    /// All that is known of what is copied.
    async fn look(&self, from: Origin<'_>, to: &str) -> Result<HeadObjectOutput, Error> {
        let request = self.s3.client().await?.head_object().bucket(&*self.name).key(from.key);
        let got = request.set_version_id(from.which.version().map(str::to_owned)).send().await;
        let doing = || format!("copy {} to {}", self.uri(from.key), self.uri(to));
        got.map_err(|error| Refusal::from(error).at(&doing()))
    }

    async fn copy_parts(
        &self,
        head: &Head,
        source: &Source,
        to: Destination<'_>,
        id: &str,
        part: u64,
    ) -> Result<Result<Written, Refusal>, Error> {
        let client = self.s3.client().await?;
        let ranges = (0..head.size.div_ceil(part)).map(|n| (n, n * part, ((n + 1) * part).min(head.size) - 1));
        let parts = stream::iter(ranges).map(|(n, first, last)| async move {
            let number = i32::try_from(n + 1).unwrap_or(i32::MAX);
            let request = client
                .upload_part_copy()
                .bucket(&*self.name)
                .key(to.key)
                .upload_id(id)
                .part_number(number)
                .copy_source(&source.path)
                .copy_source_if_match(&source.etag)
                .copy_source_range(format!("bytes={first}-{last}"));
            let copied = request.send().await.map_err(Refusal::from)?;
            let etag = copied.copy_part_result().and_then(|result| result.e_tag()).map(str::to_owned);
            Ok::<_, Refusal>(CompletedPart::builder().part_number(number).set_e_tag(etag).build())
        });
        let parts = match parts.buffered(PARALLEL).try_collect::<Vec<_>>().await {
            Ok(parts) => parts,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let (if_none_match, if_match) = to.condition.headers();
        let request = client
            .complete_multipart_upload()
            .bucket(&*self.name)
            .key(to.key)
            .upload_id(id)
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts)).build())
            .set_if_none_match(if_none_match)
            .set_if_match(if_match);
        Ok(request
            .send()
            .await
            .map_err(Refusal::from)
            .map(|whole| Written::Yes { etag: unquoted(whole.e_tag()), version_id: version_id(whole.version_id()) }))
    }
}

/// What is copied, in the words of the API.
struct Source {
    path: String,
    etag: String,
}

/// As in the query of a URL.
fn form(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
