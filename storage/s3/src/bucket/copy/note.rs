//! Notes of copies in parts: by them whoever comes after a killed one finds the upload that it has left open.
//!
//! A store does not tell whose an upload is before it is completed. So a note of the destination is put where notes are kept before
//! an upload is begun, and removed when none is open. Whoever finds one there aborts what was begun to that very key since then, and
//! nothing that was begun before: that is somebody else's.

use std::collections::HashMap;

use bytes::Bytes;
use contract::{STAGING_DIR, Timestamp};
use storage::Error;
use tracing::{info, warn};

use super::super::{Bucket, Condition, Which};

/// That copies to a key are under way.
#[derive(Debug)]
pub(super) struct Note<'a> {
    bucket: &'a Bucket,
    key: String,
    to: &'a str,
    /// When the note of a copy that has not come to its end was put, by the store's clock.
    found: Option<Timestamp>,
}

impl<'a> Note<'a> {
    /// Puts one below `notes`, before an upload to `to` is begun. Where there is one already, what its writer has left open is aborted.
    ///
    /// # Errors
    /// As [`Bucket::put`].
    pub(super) async fn leave(bucket: &'a Bucket, notes: &str, to: &'a str) -> Result<Self, Error> {
        let key = format!("{notes}{STAGING_DIR}/copy.{}", contract::name::hash(&[to.as_bytes()]));
        let found = bucket.find(&key).await?.and_then(|note| note.last_modified);
        let note = Self { bucket, key, to, found };
        if found.is_some() {
            note.close().await;
        } else {
            let body = Bytes::copy_from_slice(to.as_bytes());
            bucket.put(&note.key, body, &Condition::Always, &HashMap::new()).await?;
        }
        Ok(note)
    }

    /// Removes it, once the upload that it was put for is over. Where another was killed, what it has begun may have reached the store
    /// only since, and is looked for once more. What cannot be done stays for the next copy to that key.
    pub(super) async fn remove(self) {
        if !self.close().await {
            return;
        }
        if let Err(error) = self.bucket.delete(&self.key, Which::Current).await {
            warn!(%error, "left the note of a copy in parts");
        }
    }

    /// Aborts what copies that were killed have left open; whether that was all.
    async fn close(&self) -> bool {
        let Some(since) = self.found else { return true };
        let closed = async {
            for upload in self.bucket.list_uploads(self.to).await? {
                // Both are told in whole seconds.
                if upload.key == self.to && upload.initiated.is_some_and(|begun| begun.0 >= since.0) {
                    self.bucket.abort_upload(&upload.key, &upload.id).await?;
                    info!(key = upload.key, "aborted the upload of a copy that had been killed");
                }
            }
            Ok::<_, Error>(())
        };
        match closed.await {
            Ok(()) => true,
            Err(error) => {
                warn!(%error, key = self.to, "what a copy that was killed has left open stays; a lifecycle rule can abort it");
                false
            }
        }
    }
}
