//! What is known of objects that no listing shows: some 32 bytes for each that has a mark, and none for the others.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt, TryStreamExt, stream};
use storage::Error;
use storage_s3::Listed;
use tokio::time::Instant;

use super::mark::Mark;
use super::policy::FAILED;
use crate::args::Settings;
use crate::naming::Naming;

/// Objects whose tags are asked for at once.
const AT_ONCE: usize = 32;

/// How old an object must be for its tags to be believed for good. Where no version can be named, one that is written in the very
/// moment in which another of its key is tagged may have the tag until whoever set it looks again.
const SETTLED_AGE: Duration = Duration::from_secs(60);
/// How long the tags of a younger one are believed.
const YOUNG: Duration = Duration::from_secs(5);

/// Marks by key and content ([`Naming::content`]): 64 bits of them, seeded at random, so that nobody who writes objects can make two meet.
#[derive(Debug, Default)]
pub(super) struct Marks {
    hasher: RandomState,
    marked: Mutex<Marked>,
}

#[derive(Debug, Default)]
struct Marked {
    known: HashMap<u64, Known>,
    /// Looks at everything that have begun.
    looks: u64,
}

#[derive(Debug)]
struct Known {
    mark: Mark,
    until: Option<Instant>,
    /// The look at everything since which it was met last.
    met: u64,
}

impl Marks {
    pub(super) fn set(&self, key: &str, etag: &str, mark: Mark) {
        self.lock().insert(self.hash(key, etag), mark, None);
    }

    fn learn(&self, naming: &Naming, object: &Listed, now: SystemTime, mark: Mark) {
        let age = object.last_modified.and_then(|time| now.duration_since(time.0).ok()).unwrap_or_default();
        let until = (age < SETTLED_AGE).then(|| Instant::now() + YOUNG);
        let content = naming.content(&object.etag, object.version_id.as_deref());
        self.lock().insert(self.hash(&object.key, content), mark, until);
    }

    pub(super) fn of(&self, key: &str, etag: &str) -> Option<Mark> {
        let mut marked = self.lock();
        if marked.known.is_empty() {
            return None;
        }
        let looks = marked.looks;
        let known = marked.known.get_mut(&self.hash(key, etag))?;
        known.met = looks;
        known.until.is_none_or(|until| Instant::now() < until).then_some(known.mark)
    }

    /// A look at everything begins.
    pub(super) fn begin(&self) {
        self.lock().looks += 1;
    }

    /// It has met everything that is there: what was not met is gone, and its mark with it.
    pub(super) fn end(&self) {
        let mut marked = self.lock();
        let looks = marked.looks;
        marked.known.retain(|_, known| known.met == looks);
    }

    /// Asks for the tags of `objects`, and marks those that have this tag. One that is gone meanwhile has none.
    ///
    /// # Errors
    /// The store's, of any of them.
    pub(super) async fn ask<'a>(
        &self,
        settings: &Settings,
        objects: impl Iterator<Item = &'a Listed> + Send,
        tag: &str,
        done: &str,
    ) -> Result<(), Error> {
        let Settings { bucket, naming, .. } = settings;
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
                Some(value) if value == done => self.learn(naming, object, now, Mark::Done),
                Some(value) if value == FAILED => self.learn(naming, object, now, Mark::Failed),
                Some(_) | None => {}
            }
        }
        Ok(())
    }

    fn hash(&self, key: &str, etag: &str) -> u64 {
        self.hasher.hash_one((key, etag))
    }

    fn lock(&self) -> MutexGuard<'_, Marked> {
        self.marked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Marked {
    fn insert(&mut self, hash: u64, mark: Mark, until: Option<Instant>) {
        self.known.insert(hash, Known { mark, until, met: self.looks });
    }
}

#[cfg(test)]
mod tests {
    use ambassador_kit::Names;
    use contract::Timestamp;

    use super::*;
    use crate::naming::Identity;

    #[tokio::test(start_paused = true)]
    async fn tags_are_believed_for_a_moment_where_they_are_young_and_for_good_where_they_are_not() {
        let (marks, now) = (Marks::default(), SystemTime::now());
        let naming = Naming { names: Names::Label, identity: Identity::Etag, source_id: String::new() };
        let minute = Some(SETTLED_AGE);
        let ages =
            [("young", minute.map(|minute| minute - Duration::from_secs(1))), ("unknown", None), ("old", minute)];
        for (key, age) in ages {
            let last_modified = age.map(|age| Timestamp(now - age));
            let (key, etag) = (key.to_owned(), "e".to_owned());
            let object = Listed { key, size: 0, etag, version_id: None, last_modified, storage_class: None };
            marks.learn(&naming, &object, now, Mark::Done);
        }
        let known = || ["young", "unknown", "old"].map(|key| marks.of(key, "e").is_some());
        tokio::time::advance(YOUNG - Duration::from_millis(1)).await;
        assert_eq!(known(), [true; 3], "each look would ask anew");
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(known(), [false, false, true], "it may have had the tag for an instant only");
        tokio::time::advance(Duration::from_secs(24 * 3_600)).await;
        assert_eq!(known(), [false, false, true]);
    }

    #[test]
    fn a_look_at_everything_forgets_what_it_has_not_met() {
        let marks = Marks::default();
        marks.set("gone", "e", Mark::Done);
        marks.set("stays", "e", Mark::Stays);
        marks.begin();
        // One that failed has met less than there is.
        marks.begin();
        marks.set("settled meanwhile", "e", Mark::Failed);
        assert_eq!(marks.of("stays", "e"), Some(Mark::Stays));
        assert_eq!(marks.of("gone", "another"), None);
        marks.end();
        assert_eq!(marks.lock().known.len(), 2, "it would grow for as long as objects are settled and deleted");
        assert_eq!(marks.of("gone", "e"), None);
        assert_eq!(marks.of("settled meanwhile", "e"), Some(Mark::Failed));
    }
}
