//! Deleting what is meant, and nothing that has taken its place.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use contract::STAGING_DIR;
use storage::Error;

use super::{Bucket, Condition, Versioning, Which, Written};
use crate::error::Refusal;

/// How a delete went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// It is gone, or was so before.
    Yes {
        /// Whether nothing else can have been deleted in its place: a version was named, or the store is known to honour
        /// `If-Match` here ([`Bucket::deletes_if_match`]).
        exact: bool,
    },
    /// Something else stands there by now; it was left alone.
    Changed,
}

impl Bucket {
    /// Deletes what stands at `key`, if it is what is meant.
    ///
    /// An ETag is looked at first and sent along as `If-Match`: a store that ignores that on a DELETE (MinIO does) could still
    /// delete what was written within the milliseconds between. Deleting a version takes it away for good, and the one before
    /// it, if there is one, stands there again.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub async fn delete(&self, key: &str, which: Which<'_>) -> Result<Deleted, Error> {
        if let Some(etag) = which.etag() {
            match self.find(key).await? {
                Some(head) if head.etag != etag => return Ok(Deleted::Changed),
                Some(_) => {}
                None => return Ok(Deleted::Yes { exact: true }),
            }
        }
        match self.send_delete(key, which).await? {
            Ok(()) => {
                let exact = match which {
                    Which::Current => false,
                    Which::Etag(_) => self.deletes_if_match.load(Ordering::Relaxed),
                    Which::Version(_) => true,
                };
                Ok(Deleted::Yes { exact })
            }
            Err(refusal) if refusal.is_precondition() || (refusal.status == 409 && which.etag().is_some()) => {
                self.deletes_if_match.store(true, Ordering::Relaxed);
                Ok(Deleted::Changed)
            }
            Err(refusal) if refusal.is_absent() => Ok(Deleted::Yes { exact: true }),
            Err(refusal) => Err(refusal.at(&format!("delete {}", self.uri(key)))),
        }
    }

    /// Whether the store refuses to delete on an `If-Match` that does not hold. Found out by deleting something below `prefix`
    /// that cannot be there. A store that does not refuse that is given a thing of ours for a moment, `.longshore/probe`: some
    /// answer 204 or 404 where there is nothing to compare, and honour the header (Versity). Without the right to write it stays
    /// unproven; so it does where the bucket keeps versions, or does not say whether, since what is written and deleted there stays
    /// as versions and markers.
    ///
    /// # Errors
    /// As [`list`](Self::list): [`Error::Forbidden`] without the right to delete.
    pub async fn deletes_if_match(&self, prefix: &str) -> Result<bool, Error> {
        match self.versioning().await {
            Ok(Versioning::Never) => {}
            Ok(Versioning::Enabled | Versioning::Suspended) | Err(Error::Forbidden(_)) => return Ok(false),
            Err(error) => return Err(error),
        }
        // One name for all who ask: what one that was killed has left, the next takes away.
        let nobody = format!("{prefix}{STAGING_DIR}/probe");
        let honoured = match self.delete_wrong(&nobody).await? {
            true => {
                self.clear_probe(&nobody, None).await?;
                true
            }
            false => match self.put(&nobody, Bytes::new(), &Condition::Always, &HashMap::new()).await {
                Err(Error::Forbidden(_)) => false,
                Err(error) => return Err(error),
                Ok(written) => {
                    let honoured = self.delete_wrong(&nobody).await;
                    self.clear_probe(&nobody, Some(written)).await?;
                    honoured?
                }
            },
        };
        if honoured {
            self.deletes_if_match.store(true, Ordering::Relaxed);
        }
        Ok(honoured)
    }

    /// Asks for a delete that must not happen. Whether it was refused for its condition, and not since there is nothing.
    async fn delete_wrong(&self, key: &str) -> Result<bool, Error> {
        match self.send_delete(key, Which::Etag("00000000000000000000000000000000")).await? {
            Ok(()) => Ok(false),
            Err(refusal) if refusal.is_precondition() || refusal.status == 409 => Ok(true),
            Err(refusal) if refusal.is_absent() => Ok(false),
            Err(refusal) => Err(refusal.at(&format!("delete {}", self.uri(key)))),
        }
    }

    /// Removes what was written to find out, by this probe or one that was killed.
    async fn clear_probe(&self, key: &str, written: Option<Written>) -> Result<(), Error> {
        if let Some(Written::Yes { version_id: Some(id), .. }) = written {
            return self.delete(key, Which::Version(&id)).await.map(drop);
        }
        match self.head(key, None).await {
            Ok(_) => self.delete(key, Which::Current).await.map(drop),
            // Whoever may not look has nothing to clear: it was not let write either, or the store has just taken it.
            Err(Error::NotFound(_) | Error::Forbidden(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn send_delete(&self, key: &str, which: Which<'_>) -> Result<Result<(), Refusal>, Error> {
        let request = self
            .s3
            .client()
            .await?
            .delete_object()
            .bucket(&*self.name)
            .key(key)
            .set_version_id(which.version().map(str::to_owned))
            .set_if_match(which.etag().map(|etag| format!("\"{etag}\"")));
        Ok(request.send().await.map(drop).map_err(Refusal::from))
    }
}
