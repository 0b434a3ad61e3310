//! What was seen of the bucket, put into the catalog.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use ambassador_kit::catalog::{Listing, Why};
use contract::ItemName;
use storage::Error;
use storage_s3::{Head, Listed};
use tracing::debug;

use super::{Keeper, Stamp};
use crate::filter::Verdict;

/// How many withheld objects are held one by one, of those that will not be listed by themselves.
const HELD: u64 = 100_000;
/// How many young objects are remembered until they are old enough; the others wait for the next look at everything.
const YOUNG: usize = 100_000;

/// What an object that is to be listed needs: made outside of the catalog's lock.
struct New {
    key: String,
    name: ItemName,
    stamp: Stamp,
}

impl Keeper {
    /// Takes in what a listing showed. How many of them are new.
    pub(super) fn take(&mut self, objects: Vec<Listed>) -> usize {
        let now = SystemTime::now();
        let catalog = Arc::clone(&self.shared.catalog);
        let mut candidates = Vec::with_capacity(objects.len());
        for object in objects {
            match self.shared.settings.filter.judge(&object, now) {
                Verdict::Item => candidates.push(object),
                Verdict::Withheld(why) => self.withhold(&object.key, why),
                Verdict::Later(why, wait) => {
                    catalog.withhold(object.key.as_bytes(), why);
                    if self.young.len() < YOUNG {
                        self.young.entry(Instant::now() + wait).or_default().push(object);
                    }
                }
            }
        }
        let stamps: Vec<_> = candidates.iter().map(|object| self.stamp(object)).collect();
        let known: Vec<bool> = catalog.batch(|batch| {
            let each = candidates.iter().zip(&stamps);
            each.map(|(object, stamp)| batch.confirm(object.key.as_bytes(), |kept| kept == stamp)).collect()
        });
        let unknown = candidates.into_iter().zip(stamps).zip(known).filter(|(_, known)| !known);
        let new: Vec<New> = unknown.filter_map(|((object, stamp), _)| self.name(object, stamp)).collect();
        let listings: Vec<Listing> =
            catalog.batch(|batch| new.iter().map(|new| batch.list(new.key.as_bytes(), &new.name, new.stamp)).collect());
        let mut count = 0;
        for (new, _) in new.iter().zip(listings).filter(|(_, listing)| *listing == Listing::Listed) {
            count += 1;
            debug!(name = %new.name, key = new.key, "listed");
            if self.shared.settler.remembers(&new.name) {
                // Fails only when the source has ended.
                let _ = self.late.send(new.name.clone());
            }
        }
        count
    }

    fn stamp(&self, object: &Listed) -> Stamp {
        let version = self.shared.settings.naming.version(&object.etag, object.version_id.as_deref());
        self.shared.stamps.of(version)
    }

    fn name(&mut self, object: Listed, stamp: Stamp) -> Option<New> {
        let named = self.shared.settings.naming.name(&object.key, &object.etag, object.version_id.as_deref());
        match named {
            Ok(name) => Some(New { key: object.key, name, stamp }),
            Err(error) => {
                let message = Arc::from(format!("it can have no raw name: {error}; give --names label"));
                self.withhold(&object.key, Why { reason: "unnameable", message, pending: false });
                None
            }
        }
    }

    /// Withholds what will stay withheld: one by one only so many.
    fn withhold(&mut self, key: &str, why: Why) {
        if self.held < HELD {
            self.held += 1;
            self.shared.catalog.withhold(key.as_bytes(), why);
        } else {
            self.not_held += 1;
            self.shared.catalog.forget(key.as_bytes());
        }
    }

    /// Says how many are withheld beside those that are held one by one.
    pub(super) fn note_not_held(&self) {
        self.shared.metrics.not_held.set(i64::try_from(self.not_held).unwrap_or(i64::MAX));
        if self.not_held > 0 {
            let message = format!("{} more are withheld and not shown one by one", self.not_held).into();
            self.shared.catalog.withhold(b"", Why { reason: "not-held", message, pending: false });
        }
    }

    /// Lists what has become old enough.
    pub(super) fn grow_up(&mut self) {
        let later = self.young.split_off(&(Instant::now() + std::time::Duration::from_nanos(1)));
        let due = std::mem::replace(&mut self.young, later);
        for objects in due.into_values() {
            self.take(objects);
        }
    }

    /// Looks at one key.
    pub(super) async fn look(&mut self, key: &str) {
        match self.shared.settings.bucket.head(key, None).await {
            Ok(head) => {
                self.take(vec![listed(key, head)]);
            }
            Err(Error::NotFound(_)) => {
                self.shared.catalog.forget(key.as_bytes());
            }
            // The next look at everything will tell.
            Err(error) => debug!(key, error = sidecar::chain(&error), "cannot look at a key"),
        }
    }
}

/// As a listing would show it.
pub(crate) fn listed(key: &str, head: Head) -> Listed {
    Listed {
        key: key.to_owned(),
        size: head.size,
        etag: head.etag,
        version_id: head.version_id,
        last_modified: head.last_modified,
        storage_class: head.storage_class,
    }
}
