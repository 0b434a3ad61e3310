//! Thousands of objects, as many at once as is worth it.

use std::path::PathBuf;

use storage::{Error, Meter};
use tokio::task::JoinSet;

use super::{Fetched, Upload, Wanted};
use crate::{Bucket, Written};

/// One object to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToFetch {
    /// Which.
    pub key: String,
    /// Which content of it.
    pub wanted: Wanted,
    /// To where.
    pub to: PathBuf,
}

/// One file to put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToUpload {
    /// Which.
    pub from: PathBuf,
    /// To where.
    pub key: String,
    /// How.
    pub how: Upload,
}

impl Bucket {
    /// Fetches all of `objects`, many at once, in the memory and with the requests that there are for all transfers. What
    /// was fetched comes in the order of `objects`.
    ///
    /// # Errors
    /// The first of [`fetch`](Self::fetch); what was under way ends then, and what has been fetched stays.
    pub async fn fetch_all(&self, objects: Vec<ToFetch>, meter: &Meter) -> Result<Vec<Fetched>, Error> {
        let work = objects.into_iter().map(|ToFetch { key, wanted, to }| {
            let (bucket, meter) = (self.clone(), meter.share());
            async move { bucket.fetch(&key, &wanted, &to, &meter).await }
        });
        self.at_once(work).await
    }

    /// Puts all of `files`, many at once, as [`fetch_all`](Self::fetch_all) fetches.
    ///
    /// # Errors
    /// The first of [`upload`](Self::upload); what was under way ends then, and what has been written stays.
    pub async fn upload_all(&self, files: Vec<ToUpload>, meter: &Meter) -> Result<Vec<Written>, Error> {
        let work = files.into_iter().map(|ToUpload { from, key, how }| {
            let (bucket, meter) = (self.clone(), meter.share());
            async move { bucket.upload(&from, &key, &how, &meter).await }
        });
        self.at_once(work).await
    }

    /// Runs all of `work`, twice as many at once as there may be requests: while some wait for the store, others are at the disk.
    async fn at_once<T: Send + 'static>(
        &self,
        work: impl Iterator<Item = impl Future<Output = Result<T, Error>> + Send + 'static>,
    ) -> Result<Vec<T>, Error> {
        let most = 2 * self.s3().limits().requests();
        let (mut running, mut done) = (JoinSet::new(), Vec::new());
        for (n, one) in work.enumerate() {
            if running.len() >= most {
                done.extend(ended(running.join_next().await)?);
            }
            running.spawn(async move { Ok((n, one.await?)) });
        }
        while !running.is_empty() {
            done.extend(ended(running.join_next().await)?);
        }
        done.sort_unstable_by_key(|(n, _)| *n);
        Ok(done.into_iter().map(|(_, one)| one).collect())
    }
}

fn ended<T>(ended: Option<Result<Result<T, Error>, tokio::task::JoinError>>) -> Result<Option<T>, Error> {
    ended.map(|ended| ended.expect("a transfer does not panic")).transpose()
}
