//! What can be asked of a bucket, one request each. Whole transfers are in [`crate::transfer`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{EncodingType, ObjectStorageClass};
use bytes::Bytes;
use contract::Timestamp;
use storage::Error;

use crate::error::Refusal;
use crate::{Location, S3};

/// A bucket of a store.
#[derive(Clone, Debug)]
pub struct Bucket {
    s3: S3,
    name: Arc<str>,
}

/// Which part of a listing is wanted.
#[derive(Clone, Debug, Default)]
pub struct ListQuery {
    /// What every key begins with.
    pub prefix: String,
    /// Only keys after this one, in the order of UTF-8 bytes.
    pub start_after: Option<String>,
    /// Groups what has the same beginning up to here into [`ListPage::prefixes`].
    pub delimiter: Option<String>,
    /// Where the page before ended; overrules `start_after`.
    pub token: Option<String>,
    /// The most keys in the answer; the store's own limit (mostly 1,000) without it.
    pub max: Option<u16>,
}

/// A part of a listing.
#[derive(Clone, Debug, Default)]
pub struct ListPage {
    /// In the order of UTF-8 bytes.
    pub objects: Vec<Listed>,
    /// What the delimiter grouped, each with the delimiter at its end.
    pub prefixes: Vec<String>,
    /// Where the next page begins; `None` when this is the last. A page may be empty and not the last.
    pub next: Option<String>,
}

/// An object as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Byte for byte.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// Without the quotes.
    pub etag: String,
    /// By the store's clock.
    pub last_modified: Option<Timestamp>,
    /// `GLACIER` and the like; `None` for the ordinary one.
    pub storage_class: Option<String>,
}

/// An object as a HEAD shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Bytes.
    pub size: u64,
    /// Without the quotes.
    pub etag: String,
    /// In a versioned bucket.
    pub version_id: Option<String>,
    /// By the store's clock.
    pub last_modified: Option<Timestamp>,
    /// `GLACIER` and the like; `None` for the ordinary one.
    pub storage_class: Option<String>,
    /// `x-amz-meta-…`, the names without that.
    pub metadata: HashMap<String, String>,
}

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
    /// Done; the new ETag, without quotes.
    Yes {
        /// Of what was written.
        etag: String,
    },
    /// The condition did not hold (412, or 409 where another write was under way): look at what stands there.
    Conflict,
}

impl Bucket {
    pub(crate) fn new(s3: S3, name: &str) -> Self {
        Self { s3, name: name.into() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn s3(&self) -> &S3 {
        &self.s3
    }

    /// The URI of a key, percent-encoded.
    pub fn uri(&self, key: &str) -> String {
        Location { bucket: self.name.to_string(), key: key.to_owned() }.to_string()
    }

    /// A page of its listing.
    ///
    /// # Errors
    /// As every request: [`Error::Forbidden`], [`Error::Unsupported`] (no such bucket, another region),
    /// [`Error::Unavailable`] once retries are used up.
    pub async fn list(&self, query: &ListQuery) -> Result<ListPage, Error> {
        let client = self.s3.client().await?;
        let request = client
            .list_objects_v2()
            .bucket(&*self.name)
            .prefix(&query.prefix)
            // Keys may hold what XML cannot.
            .encoding_type(EncodingType::Url)
            .set_delimiter(query.delimiter.clone())
            .set_start_after(query.start_after.clone().filter(|_| query.token.is_none()))
            .set_continuation_token(query.token.clone())
            .set_max_keys(query.max.map(i32::from));
        let page = request
            .send()
            .await
            .map_err(|error| Refusal::from(error).at(&format!("list {}", self.uri(&query.prefix))))?;
        let encoded = page.encoding_type().is_some();
        let plain = |text: &str| if encoded { decode(text) } else { text.to_owned() };
        let objects = page.contents().iter().map(|object| Listed {
            key: plain(object.key().unwrap_or_default()),
            size: unsigned(object.size()),
            etag: unquoted(object.e_tag()),
            last_modified: object.last_modified().map(timestamp),
            storage_class: object
                .storage_class()
                .filter(|class| **class != ObjectStorageClass::Standard)
                .map(|c| c.as_str().to_owned()),
        });
        let more = page.is_truncated().unwrap_or_default();
        Ok(ListPage {
            objects: objects.collect(),
            prefixes: page.common_prefixes().iter().filter_map(|p| p.prefix()).map(plain).collect(),
            next: page.next_continuation_token().filter(|_| more).map(str::to_owned),
        })
    }

    /// What stands at `key` now, or one version of it.
    ///
    /// # Errors
    /// [`Error::NotFound`], and as [`list`](Self::list).
    pub async fn head(&self, key: &str, version: Option<&str>) -> Result<Head, Error> {
        let request = self
            .s3
            .client()
            .await?
            .head_object()
            .bucket(&*self.name)
            .key(key)
            .set_version_id(version.map(str::to_owned));
        let head =
            request.send().await.map_err(|error| Refusal::from(error).at(&format!("look at {}", self.uri(key))))?;
        Ok(Head {
            size: unsigned(head.content_length()),
            etag: unquoted(head.e_tag()),
            version_id: head.version_id().filter(|id| *id != "null").map(str::to_owned),
            last_modified: head.last_modified().map(timestamp),
            storage_class: head
                .storage_class()
                .map(|class| class.as_str().to_owned())
                .filter(|class| class != "STANDARD"),
            metadata: head.metadata().cloned().unwrap_or_default(),
        })
    }

    /// A small object at once, with its ETag: at most `max` bytes.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Invalid`] when it is larger, and as [`list`](Self::list).
    pub async fn read(&self, key: &str, max: usize) -> Result<(Bytes, String), Error> {
        let uri = self.uri(key);
        let doing = format!("read {uri}");
        let request = self.s3.client().await?.get_object().bucket(&*self.name).key(key);
        let got = request.send().await.map_err(|error| Refusal::from(error).at(&doing))?;
        if unsigned(got.content_length()) > max as u64 {
            return Err(Error::Invalid(format!("{uri} has more than {max} bytes")));
        }
        let etag = unquoted(got.e_tag());
        let body = got.body.collect().await;
        let body = body.map_err(|error| Error::Unavailable { doing, source: std::io::Error::other(error) })?;
        Ok((body.into_bytes(), etag))
    }

    /// Writes a small object in one request.
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
        let request = self
            .s3
            .client()
            .await?
            .put_object()
            .bucket(&*self.name)
            .key(key)
            .set_metadata(Some(metadata.clone()).filter(|metadata| !metadata.is_empty()))
            .body(ByteStream::from(body));
        let request = match condition {
            Condition::Always => request,
            Condition::Absent => request.if_none_match("*"),
            Condition::Is(etag) => request.if_match(format!("\"{etag}\"")),
        };
        match request.send().await.map_err(Refusal::from) {
            Ok(put) => Ok(Written::Yes { etag: unquoted(put.e_tag()) }),
            Err(refusal) if *condition != Condition::Always && (refusal.is_precondition() || refusal.status == 409) => {
                Ok(Written::Conflict)
            }
            Err(refusal) => Err(refusal.at(&format!("write {}", self.uri(key)))),
        }
    }

    /// A URL by which anybody can read `key` (or one version of it) for a while.
    ///
    /// # Errors
    /// [`Error::Invalid`] for more than a week, and those of the credentials.
    pub async fn presign_get(&self, key: &str, version: Option<&str>, life: Duration) -> Result<String, Error> {
        let config = PresigningConfig::expires_in(life).map_err(|error| Error::Invalid(error.to_string()))?;
        let request = self
            .s3
            .client()
            .await?
            .get_object()
            .bucket(&*self.name)
            .key(key)
            .set_version_id(version.map(str::to_owned));
        let signed = request.presigned(config).await;
        let signed = signed.map_err(|error| Refusal::from(error).at(&format!("sign a URL of {}", self.uri(key))))?;
        Ok(signed.uri().to_owned())
    }
}

fn unsigned(number: Option<i64>) -> u64 {
    number.and_then(|number| u64::try_from(number).ok()).unwrap_or_default()
}

fn unquoted(etag: Option<&str>) -> String {
    etag.unwrap_or_default().trim_matches('"').to_owned()
}

fn timestamp(time: &aws_sdk_s3::primitives::DateTime) -> Timestamp {
    Timestamp::from_unix_nanos(time.as_nanos())
}

/// A key as a listing writes it: percent-encoded, a space as `+`.
fn decode(text: &str) -> String {
    String::from_utf8_lossy(&contract::item::decode_path(&text.replace('+', " "))).into_owned()
}
