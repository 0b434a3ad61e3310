//! Notes of copies in parts: by them one who copies is told from one who was killed, and what the latter has left open is found.
//!
//! A store does not tell whose an upload is before it is completed, nor whether anybody is still at it. So whoever copies in parts
//! puts a note of the destination before an upload is begun, on the condition that there is none, renews it for as long as it is at
//! it, and removes it when no upload of its own is open. Whoever finds a note that was renewed not long ago leaves that copy
//! alone and comes again later. One that nobody renews is taken over, on the condition that it is still what was found; then
//! what was begun to that very key since it was first put is aborted, and nothing that was begun before: that is somebody else's.
//!
//! So an upload is only aborted when its process has not renewed its note for [`LEASE`]. One that was stopped for longer and goes on
//! finds that its note is another's, or that its upload is no more; it has written nothing then, and aborts nothing of others.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use contract::{STAGING_DIR, Timestamp};
use serde::{Deserialize, Serialize};
use storage::Error;
use tokio::sync::Notify;
use tracing::{info, warn};

use super::super::{Bucket, Condition, OpenUpload, Which, Written};

/// After how long a copy whose note nobody renews is taken for dead, by the store's clock.
pub(super) const LEASE: Duration = Duration::from_secs(120);
/// How often a note is renewed while it is good.
const RENEWALS: u32 = 6;
/// The largest note that is read.
const LARGEST: usize = 64 * 1024;

/// That a copy to a key is under way.
#[derive(Debug)]
pub(super) struct Note<'a> {
    bucket: &'a Bucket,
    key: String,
    to: &'a str,
    lease: Duration,
    content: Content,
    /// Of what was put last.
    etag: Mutex<String>,
    /// When the note of a copy that has not come to its end was first put, by the store's clock.
    found: Option<Timestamp>,
}

/// What a note says.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Content {
    /// Where to, for people.
    to: String,
    /// Who puts it, by a text that nobody else has; empty where nobody is at it any more.
    by: String,
    /// When it was first put, by the store's clock; without it, this is the first time.
    since: Option<Timestamp>,
}

impl<'a> Note<'a> {
    /// Puts one below `notes`, before an upload to `to` is begun. Where a dead copy has left one, what it has left open is aborted.
    ///
    /// # Errors
    /// [`Error::Busy`] while another copy to that key is under way, and as [`Bucket::put`].
    pub(super) async fn leave(bucket: &'a Bucket, notes: &str, to: &'a str, lease: Duration) -> Result<Self, Error> {
        let key = format!("{notes}{STAGING_DIR}/copy.{}", contract::name::hash(&[to.as_bytes()]));
        let by = format!("{:016x}", fastrand::u64(..));
        let content = Content { to: to.to_owned(), by, since: None };
        let mut note = Self { bucket, key, to, lease, content, etag: Mutex::default(), found: None };
        let condition = match note.dead().await? {
            Some((since, etag)) => {
                (note.found, note.content.since) = (Some(since), Some(since));
                Condition::Is(etag)
            }
            None => Condition::Absent,
        };
        if !note.put(&note.content, &condition).await? {
            return Err(note.busy());
        }
        if note.found.is_some() {
            note.close().await?;
        } else {
            // Renewed, it would look younger than it is.
            let put = bucket.head(&note.key, None).await?.last_modified;
            note.content.since = Some(put.unwrap_or_else(|| Timestamp(bucket.s3().now())));
        }
        Ok(note)
    }

    /// Renews it until the copy is over; [`Error::Busy`] once it is another's.
    pub(super) async fn keep(&self, over: &Notify) -> Option<Error> {
        loop {
            tokio::select! {
                () = over.notified() => return None,
                () = tokio::time::sleep((self.lease / RENEWALS).max(Duration::from_millis(100))) => {}
            }
            match self.put(&self.content, &Condition::Is(self.etag())).await {
                Ok(true) => {}
                Ok(false) => return Some(self.busy()),
                // It is good for a while yet, and the copy itself will tell.
                Err(error) => warn!(%error, "cannot renew the note of a copy in parts"),
            }
        }
    }

    /// Removes it, once the upload that it was put for is over. Where another was killed, what it has begun may have reached the store
    /// only since, and is looked for once more. What cannot be done stays for the next copy to that key.
    pub(super) async fn remove(self) {
        match self.close().await {
            Ok(true) => {}
            Ok(false) => return self.leave_open().await,
            // It is another's by now.
            Err(_) => return,
        }
        if let Err(error) = self.bucket.delete(&self.key, Which::Etag(&self.etag())).await {
            warn!(%error, "left the note of a copy in parts");
        }
    }

    /// Nobody is at it any more, and it is not known that no upload is open: the next copy to that key need not wait to look for it.
    pub(super) async fn leave_open(self) {
        let nobodys = Content { by: String::new(), ..self.content.clone() };
        if let Err(error) = self.put(&nobodys, &Condition::Is(self.etag())).await {
            warn!(%error, "the next copy to the same key has to wait for this one's note to grow old");
        }
    }

    /// Since when there is a note that nobody keeps, and its ETag; `None` where there is no note.
    async fn dead(&self) -> Result<Option<(Timestamp, String)>, Error> {
        let Some(head) = self.bucket.find(&self.key).await? else { return Ok(None) };
        let json = match self.bucket.read(&self.key, LARGEST).await {
            Ok((json, etag)) if etag == head.etag => json,
            Ok(_) | Err(Error::NotFound(_)) => return Err(self.busy()),
            Err(error) => return Err(error),
        };
        // What cannot be read is taken for somebody's, as long as it is young.
        let says = serde_json::from_slice::<Content>(&json).ok();
        let renewed = head.last_modified.unwrap_or(Timestamp(SystemTime::UNIX_EPOCH));
        let left = says.as_ref().is_some_and(|says| says.by.is_empty());
        let age = self.bucket.s3().now().duration_since(renewed.0).unwrap_or_default();
        if !left && age < self.lease {
            return Err(self.busy());
        }
        Ok(Some((says.and_then(|says| says.since).unwrap_or(renewed), head.etag)))
    }

    /// Whether it was put, on this condition.
    async fn put(&self, content: &Content, condition: &Condition) -> Result<bool, Error> {
        let json = serde_json::to_vec(content).expect("a note is JSON");
        match self.bucket.put(&self.key, Bytes::from(json), condition, &HashMap::new()).await? {
            Written::Yes { etag, .. } => {
                *self.etag.lock().unwrap_or_else(PoisonError::into_inner) = etag;
                Ok(true)
            }
            Written::Conflict => Ok(false),
        }
    }

    pub(super) fn busy(&self) -> Error {
        Error::Busy(format!(
            "something else is being copied to {} just now, or was less than {} s ago, as {} says",
            self.bucket.uri(self.to),
            self.lease.as_secs(),
            self.bucket.uri(&self.key)
        ))
    }

    /// Aborts what copies that were killed have left open; whether that was all.
    ///
    /// What is aborted is listed first, and then the note is renewed: that it still was ours says that nobody else had begun anything
    /// by then, however long this process may be stopped before it goes on.
    ///
    /// # Errors
    /// [`Error::Busy`] if the note is another's.
    async fn close(&self) -> Result<bool, Error> {
        let Some(since) = self.found else { return Ok(true) };
        let left = async {
            let uploads = self.bucket.list_uploads(self.to).await?.into_iter();
            // Both are told in whole seconds.
            let is_left = |begun: Timestamp| begun.0 >= since.0;
            let left = uploads.filter(|upload| upload.key == self.to && upload.initiated.is_some_and(is_left));
            Ok((left.collect::<Vec<_>>(), self.put(&self.content, &Condition::Is(self.etag())).await?))
        };
        let closed = match left.await {
            Ok((_, false)) => return Err(self.busy()),
            Ok((left, true)) => self.abort(&left).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &closed {
            warn!(%error, key = self.to, "what a copy that was killed has left open stays; a lifecycle rule can abort it");
        }
        Ok(closed.is_ok())
    }

    async fn abort(&self, uploads: &[OpenUpload]) -> Result<(), Error> {
        for upload in uploads {
            self.bucket.abort_upload(&upload.key, &upload.id).await?;
            info!(key = upload.key, "aborted the upload of a copy that had been killed");
        }
        Ok(())
    }

    fn etag(&self) -> String {
        self.etag.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
