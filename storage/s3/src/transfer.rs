//! Whole objects to files and back, as fast as the store and the machine allow, in bounded memory.
//!
//! Nothing here is made durable on this machine: what is fetched belongs to one run, and what is sent is the store's to keep.

mod checksum;
mod fetch;
mod limits;
mod local;
mod many;
mod partial;
mod parts;
mod tries;
mod upload;

use std::collections::HashMap;
use std::path::Path;

use storage::{Error, Meter};

pub use self::checksum::Digest;
pub(crate) use self::limits::Limits;
pub use self::many::{ToFetch, ToUpload};
pub(crate) use self::tries::Tries;
pub(crate) use self::upload::is_about_checksums;
use crate::{Bucket, Condition, Head, S3, Written};

/// How large a part is, unless there would be too many; what is not larger is carried in one request.
const PART: u64 = 16 * 1024 * 1024;
/// The most parts of an upload (the API's own limit), and the most ranges of which an object is fetched.
const MOST_PARTS: u64 = 10_000;

/// The metadata by which whoever fetches an object of ours can prove it: the SHA-256 of its content, in hexadecimal digits.
pub const SHA256_METADATA: &str = "longshore-sha256";
/// The metadata by which an upload knows itself again when its reply was lost.
const NONCE_METADATA: &str = "longshore-upload";

/// Which content of a key is wanted; any, where nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Its ETag, without quotes.
    pub etag: Option<String>,
    /// In a versioned bucket.
    pub version_id: Option<String>,
    /// Bytes. With it and one of the others no answer has to be waited for before all of a large object is asked for.
    pub size: Option<u64>,
}

/// An object that lies in a local file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// What the store says of it.
    pub head: Head,
}

/// How to put a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// On what it depends.
    pub condition: Condition,
    /// `x-amz-meta-…`, the names without that. [`SHA256_METADATA`] and a nonce are added.
    pub metadata: HashMap<String, String>,
    /// The store's own default without it.
    pub content_type: Option<String>,
    /// Of this file, where it has been read already.
    pub digest: Option<Digest>,
}

impl Default for Upload {
    fn default() -> Self {
        Self { condition: Condition::Always, metadata: HashMap::new(), content_type: None, digest: None }
    }
}

impl Bucket {
    /// Fetches exactly the version wanted to `to`, which is replaced when all of it is there and holds: its size, and the
    /// checksum that the store tells, or whoever wrote it. Small objects take one request, large ones are read in ranges at once;
    /// what breaks off goes on from there. Until then it is a file `.partial-…` beside `to`, which is gone however this ends;
    /// only a process that is killed leaves it, to whoever sweeps that directory.
    ///
    /// # Errors
    /// [`Error::Changed`] when another version is there, [`Error::NotFound`] when none is, [`Error::Io`] when the disk is full,
    /// which is found before anything is fetched, [`Error::Unsupported`] for a store that sends something else than it was asked
    /// for, [`Error::Unavailable`] when what comes breaks off time after time or does not hold against its checksum; and as [`list`](Self::list).
    pub async fn fetch(&self, key: &str, wanted: &Wanted, to: &Path, meter: &Meter) -> Result<Fetched, Error> {
        // On the heap: it is large, and whoever awaits it is nested deep enough.
        Box::pin(fetch::fetch(self, key, wanted, to, meter)).await
    }

    /// Puts a local file, in one request or in parts at once. It is read once before (see [`Digest`]), and what is sent is held
    /// against that. An upload in parts that does not come to its end is aborted, also when the future is dropped.
    ///
    /// # Errors
    /// [`Error::Unpublishable`] when the file changes meanwhile, [`Error::Io`] when it cannot be read, and as [`put`](Self::put).
    pub async fn upload(&self, from: &Path, key: &str, how: &Upload, meter: &Meter) -> Result<Written, Error> {
        Box::pin(upload::upload(self, from, key, how, meter)).await
    }
}

impl S3 {
    /// Waits until uploads that were given up are aborted. A program that ends sooner leaves them to the store.
    pub async fn idle(&self) {
        self.limits().idle().await;
    }
}

/// The size of the parts of an object of so many bytes: a multiple of [`PART`].
fn part_size(size: u64) -> u64 {
    size.div_ceil(MOST_PARTS).div_ceil(PART).max(1) * PART
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_parts_suffice_for_the_largest_object() {
        for (size, want) in [(0, PART), (PART, PART), (PART * MOST_PARTS, PART), (PART * MOST_PARTS + 1, 2 * PART)] {
            assert_eq!(part_size(size), want, "{size}");
        }
        for size in [1_u64 << 40, 5 << 40] {
            assert!(size.div_ceil(part_size(size)) <= MOST_PARTS);
        }
    }
}
