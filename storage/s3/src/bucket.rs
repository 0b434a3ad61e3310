//! What can be asked of a bucket; mostly one request each. Whole transfers are in `crate::transfer`.

mod copy;
mod delete;
mod presign;
mod tags;
mod uploads;
mod versions;
mod write;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::{ByteStream, ByteStreamError};
use aws_sdk_s3::types::{ChecksumMode, ChecksumType, EncodingType, ObjectStorageClass};
use bytes::{Bytes, BytesMut};
use contract::Timestamp;
use storage::Error;

pub use self::copy::{Copied, Destination, Origin};
pub use self::delete::Deleted;
pub use self::presign::Presigned;
pub use self::tags::Tagged;
pub use self::uploads::{OpenUpload, Versioning};
pub use self::write::{Condition, Written};
use crate::error::{Refusal, no_store};
use crate::transfer::Tries;
use crate::{Location, S3};

/// A bucket of a store.
#[derive(Clone, Debug)]
pub struct Bucket {
    s3: S3,
    name: Arc<str>,
    /// Whether the store was seen to honour `If-Match` on a DELETE.
    deletes_if_match: Arc<AtomicBool>,
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
    /// Known only where versions were listed, and only in a versioned bucket.
    pub version_id: Option<String>,
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
    /// What the store knows of the content.
    pub checksums: Checksums,
}

/// What a store says about an object's content, as base64; nothing where it does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checksums {
    /// `x-amz-checksum-sha256`.
    pub sha256: Option<String>,
    /// `x-amz-checksum-crc64nvme`.
    pub crc64nvme: Option<String>,
    /// `x-amz-checksum-crc32c`.
    pub crc32c: Option<String>,
    /// `x-amz-checksum-crc32`.
    pub crc32: Option<String>,
    /// Whether they are of the whole content. Those of an object that came in parts may be of the parts' checksums (`…-7`).
    pub whole: bool,
}

/// Which content of a key is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which<'a> {
    /// Whatever stands there.
    Current,
    /// What stands there, if it has this ETag (without quotes).
    Etag(&'a str),
    /// Exactly this version, in a bucket that keeps them.
    Version(&'a str),
}

impl<'a> Which<'a> {
    fn etag(self) -> Option<&'a str> {
        if let Self::Etag(etag) = self { Some(etag) } else { None }
    }

    fn version(self) -> Option<&'a str> {
        if let Self::Version(id) = self { Some(id) } else { None }
    }
}

impl Bucket {
    pub(crate) fn new(s3: S3, name: &str) -> Self {
        Self { s3, name: name.into(), deletes_if_match: Arc::default() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The store it belongs to.
    pub fn s3(&self) -> &S3 {
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
        let encoded = page.encoding_type() == Some(&EncodingType::Url);
        let plain = |text: &str| if encoded { decode(text) } else { text.to_owned() };
        let objects = page.contents().iter().map(|object| Listed {
            key: plain(object.key().unwrap_or_default()),
            size: unsigned(object.size()),
            etag: unquoted(object.e_tag()),
            version_id: None,
            last_modified: object.last_modified().map(timestamp),
            storage_class: object
                .storage_class()
                .filter(|class| **class != ObjectStorageClass::Standard)
                .map(|c| c.as_str().to_owned()),
        });
        let next = || page.next_continuation_token().filter(|token| !token.is_empty()).map(str::to_owned);
        Ok(ListPage {
            objects: objects.collect(),
            prefixes: page.common_prefixes().iter().filter_map(|p| p.prefix()).map(plain).collect(),
            next: rest(page.is_truncated(), next, || format!("list {}", self.uri(&query.prefix)))?,
        })
    }

    /// What stands at `key`; `None` where nothing does. To whom a bucket may not be listed as a whole, AWS says of what is not there
    /// that it may not be looked at; whether it is there, a listing of just that tells then, if that is allowed.
    ///
    /// # Errors
    /// As [`head`](Self::head), and never [`Error::NotFound`].
    pub async fn find(&self, key: &str) -> Result<Option<Head>, Error> {
        let refused = match self.head(key, None).await {
            Ok(head) => return Ok(Some(head)),
            Err(Error::NotFound(_)) => return Ok(None),
            Err(refused @ Error::Forbidden(_)) => refused,
            Err(error) => return Err(error),
        };
        let query = ListQuery { prefix: key.to_owned(), max: Some(1), ..ListQuery::default() };
        match self.list(&query).await {
            // In the order of keys it comes before all that begins so.
            Ok(page) if page.objects.first().is_none_or(|first| first.key != key) => Ok(None),
            Ok(_) | Err(Error::Forbidden(_)) => Err(refused),
            Err(error) => Err(error),
        }
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
            .checksum_mode(ChecksumMode::Enabled)
            .set_version_id(version.map(str::to_owned));
        let doing = format!("look at {}", self.uri(key));
        let head = match request.clone().send().await.map_err(Refusal::from) {
            Err(refusal) if refusal.is_mute() => {
                self.ask_why(key, version, &doing).await?;
                request.send().await.map_err(|error| Refusal::from(error).at(&doing))?
            }
            told => told.map_err(|refusal| refusal.at(&doing))?,
        };
        if head.e_tag().is_none() {
            return Err(no_store(&format!("cannot look at {}", self.uri(key)), "tells no ETag"));
        }
        Ok(Head {
            size: unsigned(head.content_length()),
            etag: unquoted(head.e_tag()),
            version_id: version_id(head.version_id()),
            last_modified: head.last_modified().map(timestamp),
            storage_class: head
                .storage_class()
                .map(|class| class.as_str().to_owned())
                .filter(|class| class != "STANDARD"),
            metadata: head.metadata().cloned().unwrap_or_default(),
            checksums: checksums(&head),
        })
    }

    /// Why a HEAD is refused, in the words that a GET of a byte is given; nothing where that one is not refused.
    async fn ask_why(&self, key: &str, version: Option<&str>, doing: &str) -> Result<(), Error> {
        let request = self.s3.client().await?.get_object().bucket(&*self.name).key(key).range("bytes=0-0");
        match request.set_version_id(version.map(str::to_owned)).send().await.map_err(Refusal::from) {
            // An empty object has no first byte.
            Err(refusal) if refusal.status != 416 => Err(refusal.at(doing)),
            _ => Ok(()),
        }
    }

    /// A small object at once, with its ETag: at most `max` bytes.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Invalid`] when it is larger, and as [`list`](Self::list).
    pub async fn read(&self, key: &str, max: usize) -> Result<(Bytes, String), Error> {
        let uri = self.uri(key);
        let doing = format!("read {uri}");
        let mut tries = Tries::default();
        loop {
            let request = self.s3.client().await?.get_object().bucket(&*self.name).key(key);
            let got = request.send().await.map_err(|error| Refusal::from(error).at(&doing))?;
            let etag = unquoted(got.e_tag());
            let fits = unsigned(got.content_length()) <= max as u64;
            match if fits { gather(got.body, max).await } else { Ok(None) } {
                Ok(Some(bytes)) => return Ok((bytes, etag)),
                Ok(None) => return Err(Error::Invalid(format!("{uri} has more than {max} bytes"))),
                Err(broke) => {
                    let source = std::io::Error::other(broke);
                    tries.endure(Error::Unavailable { doing: doing.clone(), source }).await?;
                }
            }
        }
    }
}

/// All of a body; `None` as soon as it is more than `max` bytes, whatever its head said of its length.
async fn gather(mut body: ByteStream, max: usize) -> Result<Option<Bytes>, ByteStreamError> {
    let mut all = BytesMut::new();
    while let Some(bytes) = body.next().await {
        let bytes = bytes?;
        if bytes.len() > max - all.len() {
            return Ok(None);
        }
        all.extend_from_slice(&bytes);
    }
    Ok(Some(all.freeze()))
}

/// Where the page after one that says whether it is `truncated` begins: `next`. A page that does not say so, or says that there is
/// more and not where, is no proof that what it does not show is not there.
fn rest<T>(
    truncated: Option<bool>,
    next: impl FnOnce() -> Option<T>,
    doing: impl FnOnce() -> String,
) -> Result<Option<T>, Error> {
    let why = match truncated {
        Some(false) => return Ok(None),
        Some(true) => match next() {
            Some(next) => return Ok(Some(next)),
            None => "the answer says that there is more, and not where it begins",
        },
        None => "the answer does not say whether there is more",
    };
    Err(Error::Unavailable { doing: doing(), source: std::io::Error::other(why) })
}

pub(crate) fn unsigned(number: Option<i64>) -> u64 {
    number.and_then(|number| u64::try_from(number).ok()).unwrap_or_default()
}

pub(crate) fn unquoted(etag: Option<&str>) -> String {
    etag.unwrap_or_default().trim_matches('"').to_owned()
}

/// Objects from before a bucket kept versions have the version `null`, which names nothing for good.
pub(crate) fn version_id(id: Option<&str>) -> Option<String> {
    id.filter(|id| *id != "null" && !id.is_empty()).map(str::to_owned)
}

fn checksums(head: &HeadObjectOutput) -> Checksums {
    let own = |text: Option<&str>| text.map(str::to_owned);
    let found = Checksums {
        sha256: own(head.checksum_sha256()),
        crc64nvme: own(head.checksum_crc64_nvme()),
        crc32c: own(head.checksum_crc32_c()),
        crc32: own(head.checksum_crc32()),
        whole: false,
    };
    let parts = [&found.sha256, &found.crc64nvme, &found.crc32c, &found.crc32]
        .iter()
        .any(|sum| sum.as_deref().is_some_and(|sum| sum.contains('-')));
    Checksums { whole: !parts && head.checksum_type() != Some(&ChecksumType::Composite), ..found }
}

pub(crate) fn timestamp(time: &aws_sdk_s3::primitives::DateTime) -> Timestamp {
    Timestamp::from_unix_nanos(time.as_nanos())
}

/// A key as a listing writes it: percent-encoded, a space as `+`.
fn decode(text: &str) -> String {
    String::from_utf8_lossy(&contract::item::decode_path(&text.replace('+', " "))).into_owned()
}
