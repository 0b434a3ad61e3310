//! What is known of objects that no listing shows: some 32 bytes for each that has a mark, and none for the others.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use futures_util::{StreamExt, TryStreamExt, stream};
use storage::Error;
use storage_s3::{Bucket, Listed};

use super::mark::Mark;
use super::policy::FAILED;

/// Objects whose tags are asked for at once.
const AT_ONCE: usize = 32;

/// How old an object must be for its tags to be believed for good. Where no version can be named, one that is written in the very
/// moment in which another of its key is tagged may have the tag until whoever set it looks again.
const SETTLED_AGE: Duration = Duration::from_secs(60);
/// How long the tags of a younger one are believed.
const YOUNG: Duration = Duration::from_secs(5);

/// Marks by key and ETag: 64 bits of them, seeded at random, so that nobody who writes objects can make two meet.
#[derive(Debug, Default)]
pub(super) struct Marks {
    hasher: RandomState,
    known: Mutex<HashMap<u64, (Mark, Option<Instant>)>>,
}

impl Marks {
    pub(super) fn set(&self, key: &str, etag: &str, mark: Mark) {
        let hash = self.hash(key, etag);
        self.lock().insert(hash, (mark, None));
    }

    fn learn(&self, object: &Listed, now: SystemTime, mark: Mark) {
        let age = object.last_modified.and_then(|time| now.duration_since(time.0).ok()).unwrap_or_default();
        let until = (age < SETTLED_AGE).then(|| Instant::now() + YOUNG);
        let hash = self.hash(&object.key, &object.etag);
        self.lock().insert(hash, (mark, until));
    }

    pub(super) fn of(&self, key: &str, etag: &str) -> Option<Mark> {
        let known = self.lock();
        if known.is_empty() {
            return None;
        }
        let (mark, until) = known.get(&self.hash(key, etag))?;
        until.is_none_or(|until| Instant::now() < until).then_some(*mark)
    }

    /// Asks for the tags of `objects`, and marks those that have this tag. One that is gone meanwhile has none.
    ///
    /// # Errors
    /// The store's, of any of them.
    pub(super) async fn ask<'a>(
        &self,
        bucket: &Bucket,
        objects: impl Iterator<Item = &'a Listed> + Send,
        tag: &str,
        done: &str,
    ) -> Result<(), Error> {
        let now = bucket.s3().now();
        let asked = stream::iter(objects.map(Ok)).map_ok(|object: &Listed| async move {
            match bucket.tags(&object.key, object.version_id.as_deref()).await {
                Ok(tags) => Ok((object, tags.get(tag).cloned())),
                Err(Error::NotFound(_)) => Ok((object, None)),
                Err(error) => Err(error),
            }
        });
        let mut answers = asked.try_buffer_unordered(AT_ONCE).boxed();
        while let Some((object, value)) = answers.try_next().await? {
            match value {
                Some(value) if value == done => self.learn(object, now, Mark::Done),
                Some(value) if value == FAILED => self.learn(object, now, Mark::Failed),
                Some(_) | None => {}
            }
        }
        Ok(())
    }

    fn hash(&self, key: &str, etag: &str) -> u64 {
        self.hasher.hash_one((key, etag))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, (Mark, Option<Instant>)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
