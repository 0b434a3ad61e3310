//! Whole objects to files and back, as fast as the store and the machine allow, in bounded memory.

mod meter;

use std::collections::HashMap;
use std::io;
use std::path::Path;

use aws_sdk_s3::primitives::ByteStream;
use storage::Error;
use tokio::io::AsyncWriteExt;

pub use self::meter::Meter;
use crate::error::Refusal;
use crate::{Bucket, Condition, Head, Written};

/// Which content of a key is wanted; any, where nothing is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Its ETag, without quotes.
    pub etag: Option<String>,
    /// In a versioned bucket.
    pub version_id: Option<String>,
    /// Bytes.
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
    /// `x-amz-meta-…`, the names without that.
    pub metadata: HashMap<String, String>,
    /// The store's own default without it.
    pub content_type: Option<String>,
}

impl Default for Upload {
    fn default() -> Self {
        Self { condition: Condition::Always, metadata: HashMap::new(), content_type: None }
    }
}

impl Bucket {
    /// Fetches exactly the version wanted to `to`, which is replaced when all of it is there and holds.
    ///
    /// # Errors
    /// [`Error::Changed`] when another version is there, [`Error::NotFound`] when none is, [`Error::Io`] when the disk is full,
    /// and as [`list`](Self::list).
    pub async fn fetch(&self, key: &str, wanted: &Wanted, to: &Path, meter: &Meter) -> Result<Fetched, Error> {
        let uri = self.uri(key);
        let doing = format!("fetch {uri}");
        let request = self.s3().client().await?.get_object().bucket(self.name()).key(key);
        let request = request
            .set_version_id(wanted.version_id.clone())
            .set_if_match(wanted.etag.as_ref().map(|etag| format!("\"{etag}\"")));
        let mut got = match request.send().await.map_err(Refusal::from) {
            Ok(got) => got,
            Err(refusal) if refusal.is_precondition() => {
                let found = self.head(key, None).await?.etag;
                return Err(Error::Changed { uri, wanted: wanted.etag.clone().unwrap_or_default(), found });
            }
            Err(refusal) => return Err(refusal.at(&doing)),
        };
        let local = |source: io::Error| Error::Io { doing: format!("write {}", to.display()), source };
        let dir = to.parent().unwrap_or(Path::new("."));
        let partial = tempfile::Builder::new().prefix(".partial-").tempfile_in(dir).map_err(local)?;
        let mut file = tokio::fs::File::from_std(partial.reopen().map_err(local)?);
        let mut size = 0;
        while let Some(chunk) = got.body.next().await {
            let chunk =
                chunk.map_err(|error| Error::Unavailable { doing: doing.clone(), source: io::Error::other(error) })?;
            file.write_all(&chunk).await.map_err(local)?;
            size += chunk.len() as u64;
            meter.add(chunk.len() as u64);
        }
        file.flush().await.map_err(local)?;
        partial.persist(to).map_err(|error| local(error.error))?;
        meter.finish_one();
        let head = Head {
            size,
            etag: got.e_tag().unwrap_or_default().trim_matches('"').to_owned(),
            version_id: got.version_id().filter(|id| *id != "null").map(str::to_owned),
            metadata: got.metadata().cloned().unwrap_or_default(),
            ..Head::default()
        };
        Ok(Fetched { head })
    }

    /// Puts a local file.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read, and as [`put`](Self::put).
    pub async fn upload(&self, from: &Path, key: &str, how: &Upload, meter: &Meter) -> Result<Written, Error> {
        let local = |source: io::Error| Error::Io { doing: format!("read {}", from.display()), source };
        let body = tokio::fs::read(from).await.map_err(local)?;
        let size = body.len() as u64;
        let request = self.s3().client().await?.put_object().bucket(self.name()).key(key);
        let request = request
            .set_metadata(Some(how.metadata.clone()))
            .set_content_type(how.content_type.clone())
            .body(ByteStream::from(body));
        let request = match &how.condition {
            Condition::Always => request,
            Condition::Absent => request.if_none_match("*"),
            Condition::Is(etag) => request.if_match(format!("\"{etag}\"")),
        };
        match request.send().await.map_err(Refusal::from) {
            Ok(put) => {
                meter.add(size);
                meter.finish_one();
                let etag = put.e_tag().unwrap_or_default().trim_matches('"').to_owned();
                Ok(Written::Yes { etag, version_id: put.version_id().map(str::to_owned) })
            }
            Err(refusal)
                if how.condition != Condition::Always && (refusal.is_precondition() || refusal.status == 409) =>
            {
                Ok(Written::Conflict)
            }
            Err(refusal) => Err(refusal.at(&format!("write {}", self.uri(key)))),
        }
    }
}
