//! What a bucket holds beside its objects: uploads in parts that nobody has completed, and versions.

use aws_sdk_s3::types::{BucketVersioningStatus, EncodingType};
use contract::Timestamp;
use storage::Error;

use super::{Bucket, decode, rest, timestamp};
use crate::error::Refusal;

/// An upload in parts that is neither completed nor aborted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenUpload {
    /// What it would become.
    pub key: String,
    /// The store's name for it.
    pub id: String,
    /// By the store's clock.
    pub initiated: Option<Timestamp>,
}

/// Whether a bucket keeps what is overwritten and deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versioning {
    /// Every write makes a version.
    Enabled,
    /// It did once; writes replace the version `null`.
    Suspended,
    /// It never did, or the store cannot.
    Never,
}

impl Bucket {
    /// Whether it keeps versions.
    ///
    /// # Errors
    /// As [`list`](Self::list); needs `s3:GetBucketVersioning`.
    pub async fn versioning(&self) -> Result<Versioning, Error> {
        let request = self.s3.client().await?.get_bucket_versioning().bucket(&*self.name);
        match request.send().await.map_err(Refusal::from) {
            Ok(found) => Ok(match found.status() {
                Some(BucketVersioningStatus::Enabled) => Versioning::Enabled,
                Some(BucketVersioningStatus::Suspended) => Versioning::Suspended,
                _ => Versioning::Never,
            }),
            // Stores without versions say so in their own ways.
            Err(refusal) if refusal.is_unimplemented() => Ok(Versioning::Never),
            Err(refusal) => Err(refusal.at(&format!("ask whether {} keeps versions", self.uri("")))),
        }
    }

    /// The uploads under way to keys that begin with `prefix`. A store may tell those of one whole key only (MinIO).
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub async fn list_uploads(&self, prefix: &str) -> Result<Vec<OpenUpload>, Error> {
        let mut uploads = Vec::new();
        let (mut key_marker, mut id_marker) = (None, None);
        loop {
            let request = self
                .s3
                .client()
                .await?
                .list_multipart_uploads()
                .bucket(&*self.name)
                .prefix(prefix)
                .encoding_type(EncodingType::Url)
                .set_key_marker(key_marker.clone())
                .set_upload_id_marker(id_marker.clone());
            let page = request.send().await;
            let page =
                page.map_err(|error| Refusal::from(error).at(&format!("list the uploads to {}", self.uri(prefix))))?;
            let encoded = page.encoding_type() == Some(&EncodingType::Url);
            let plain = |text: &str| if encoded { decode(text) } else { text.to_owned() };
            uploads.extend(page.uploads().iter().filter_map(|upload| {
                let (key, id) = (plain(upload.key()?), upload.upload_id()?.to_owned());
                key.starts_with(prefix).then_some(OpenUpload { key, id, initiated: upload.initiated().map(timestamp) })
            }));
            let doing = || format!("list the uploads to {}", self.uri(prefix));
            let next = || {
                let key = page.next_key_marker().filter(|key| !key.is_empty()).map(plain)?;
                let next = (Some(key), page.next_upload_id_marker().map(str::to_owned));
                // A store that does not move on would keep us for ever.
                (next != (key_marker, id_marker)).then_some(next)
            };
            match rest(page.is_truncated(), next, doing)? {
                Some(next) => (key_marker, id_marker) = next,
                None => return Ok(uploads),
            }
        }
    }

    /// Ends an upload in parts and frees what it holds. One that is over already is no error.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub async fn abort_upload(&self, key: &str, id: &str) -> Result<(), Error> {
        let request = self.s3.client().await?.abort_multipart_upload().bucket(&*self.name).key(key).upload_id(id);
        match request.send().await.map_err(Refusal::from) {
            Ok(_) => Ok(()),
            Err(refusal) if refusal.code == "NoSuchUpload" || (refusal.status == 404 && refusal.code.is_empty()) => {
                Ok(())
            }
            Err(refusal) => Err(refusal.at(&format!("abort the upload to {}", self.uri(key)))),
        }
    }
}
