//! An output root in a bucket.

mod check;
mod judge;
mod label;
mod prune;
mod publication;
mod run;
mod site;
mod upload;

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use contract::MARKER_FILE;
use futures_util::TryStreamExt;
use sidecar::{chain, fault};
use storage::{BoxFuture, Claim, Error, Outputs, Place, Publication, Standing, in_turn};
use tracing::{info, warn};

use self::judge::{PARALLEL, Sight, judge};
use self::label::Label;
use self::publication::S3Publication;
use self::run::{Base, Run};
use self::site::Site;
use crate::{Bucket, Condition, Location, OpenUpload, PublishMode, Written};

/// Uploads in parts of no living run, even where the marker that they set out from still stands. No object takes this long to carry,
/// and AWS advises buckets to abort after as long.
const DEAD_AFTER: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What died a week ago may wait a little longer: one run of so many looks for it, and the others save the request.
const SWEEP_ONE_IN: u32 = 64;

/// Outputs below a prefix of a bucket.
#[derive(Debug)]
pub(crate) struct S3Outputs {
    bucket: Bucket,
    /// Empty, or with a slash at its end.
    root: String,
    mode: PublishMode,
    /// What the last look saw, for the publication that follows it: a worker looks, works, and publishes.
    seen: Mutex<Option<(Claim, Sight)>>,
}

impl S3Outputs {
    pub(crate) fn new(bucket: Bucket, root: String, mode: PublishMode) -> Self {
        let root = if root.is_empty() || root.ends_with('/') { root } else { format!("{root}/") };
        Self { bucket, root, mode, seen: Mutex::default() }
    }

    fn site(&self, place: &Place) -> Result<Site, Error> {
        Site::new(self.bucket.clone(), &self.root, place, self.mode)
    }

    /// What the last look saw, if it was with this claim's eyes.
    fn seen(&self, claim: &Claim) -> Option<Sight> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).take();
        let same = |by: &Claim| (&by.place, &by.item, by.revision) == (&claim.place, &claim.item, claim.revision);
        seen.filter(|(by, _)| same(by)).map(|(_, sight)| sight)
    }

    /// Aborts the uploads that runs which died long ago have left open, of items that nobody has come back to.
    async fn abort_forgotten(&self) -> Result<(), Error> {
        // By the clock of the store, which has dated the uploads: ours may be years away.
        let long_ago = self.bucket.s3().now() - DEAD_AFTER;
        let uploads = self.bucket.list_uploads(&self.root).await?;
        let aborts =
            in_turn(uploads.into_iter(), PARALLEL, |upload| Box::pin(self.abort_if_forgotten(upload, long_ago)));
        aborts.try_collect().await
    }

    /// One that was begun long ago, or one of a run that can never commit any more, since another marker stands than it set out from:
    /// it may have been asked for by a process that was dead already, and have reached the store after everybody had looked.
    async fn abort_if_forgotten(&self, upload: OpenUpload, long_ago: SystemTime) -> Result<(), Error> {
        // In a bucket that others use too, only what bears a name that nobody else gives.
        let Some((place, run)) = Run::above(&upload.key) else { return Ok(()) };
        let is_old = upload.initiated.is_some_and(|begun| begun.0 < long_ago);
        if is_old || run.base() != self.base(place).await? {
            self.bucket.abort_upload(&upload.key, &upload.id).await?;
            info!(key = upload.key, "aborted an upload that a dead run had left open");
        }
        Ok(())
    }

    /// What a run would set out from now.
    async fn base(&self, place: &str) -> Result<Base, Error> {
        match self.bucket.head(&format!("{place}{MARKER_FILE}"), None).await {
            Ok(marker) => Ok(Base::of(Some(&marker.etag))),
            Err(Error::NotFound(_)) => Ok(Base::of(None)),
            Err(error) => Err(error),
        }
    }
}

impl Outputs for S3Outputs {
    fn uri(&self, place: &Place) -> String {
        let key = format!("{}{}", self.root, place.as_path().display());
        let key = self.site(place).map_or(key, |site| site.prefix().to_owned());
        Location { bucket: self.bucket.name().to_owned(), key }.to_string()
    }

    fn sweep(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            if fastrand::u32(..SWEEP_ONE_IN) != 0 {
                return Ok(());
            }
            if let Err(error) = self.abort_forgotten().await {
                info!(error = chain(&error), "uploads left open cannot be looked for; a lifecycle rule can abort them");
            }
            Ok(())
        })
    }

    fn look<'a>(&'a self, claim: &'a Claim) -> BoxFuture<'a, Result<Standing, Error>> {
        Box::pin(async {
            let site = self.site(&claim.place)?;
            let sight = judge(&site, claim).await?;
            let standing = sight.standing.clone();
            if let Standing::Published(marker) = &standing {
                // Whoever committed it may have been killed before it had cleared away what dead runs left.
                prune::best_effort(&site, claim, marker).await;
            }
            if let Standing::Free | Standing::Replaceable = &standing {
                *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some((claim.clone(), sight));
            }
            Ok(standing)
        })
    }

    fn begin<'a>(&'a self, claim: Claim, scratch: &'a Path) -> BoxFuture<'a, Result<Box<dyn Publication>, Error>> {
        Box::pin(async move {
            let site = self.site(&claim.place)?;
            let seen = self.seen(&claim);
            Ok(Box::new(S3Publication::begin(site, claim, seen, scratch)?) as Box<dyn Publication>)
        })
    }

    fn record<'a>(&'a self, claim: &'a Claim, account: &'a [u8]) -> BoxFuture<'a, Result<Option<String>, Error>> {
        Box::pin(async {
            let site = self.site(&claim.place)?;
            let key = site.report(claim.number)?;
            let label = Label::of_report(&site, claim, &key).metadata();
            let body = Bytes::copy_from_slice(account);
            fault::point("worker.record.before").map_err(Error::fault)?;
            let mut written = site.bucket.put(&key, body.clone(), &Condition::Absent, &label).await?;
            if written == Written::Conflict {
                let stands = site.bucket.head(&key, None).await?;
                if !Label::is_of(&stands, &site, claim, &key) {
                    return Err(Error::Taken(format!("{} is of another item", site.bucket.uri(&key))));
                }
                written = site.bucket.put(&key, body, &Condition::Is(stands.etag), &label).await?;
            }
            fault::point("worker.record.after").map_err(Error::fault)?;
            match written {
                Written::Yes { .. } => Ok(Some(site.bucket.uri(&key))),
                Written::Conflict => {
                    warn!(key, "another attempt of the same number keeps its report");
                    Ok(None)
                }
            }
        })
    }

    fn idle(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.bucket.s3().idle())
    }

    fn check(&self) -> BoxFuture<'_, Result<Vec<String>, Error>> {
        Box::pin(check::check(&self.bucket, &self.root))
    }
}
