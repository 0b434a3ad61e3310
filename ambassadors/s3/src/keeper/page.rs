//! What was seen of the bucket, put into the catalog.

use std::sync::Arc;
use std::time::Instant;

use ambassador_kit::catalog::{Known, Listing, Why};
use contract::ItemName;
use storage::Error;
use storage_s3::Listed;
use tracing::debug;

use super::{Keeper, Stamp};
use crate::filter::Verdict;
use crate::item::{find, listed};

/// How many withheld objects are held one by one, of those that will not be listed by themselves.
const HELD: u64 = 100_000;
/// How many young objects are remembered until they are old enough; the others wait for the next look at everything.
const YOUNG: usize = 100_000;
/// Items that are looked through before others get their turn.
const STEP: usize = 1_000;

/// What an object that is to be listed needs: made outside of the catalog's lock.
struct New {
    key: String,
    name: ItemName,
    stamp: Stamp,
}

impl Keeper {
    /// Takes in what a listing showed. How many of them are new.
    ///
    /// # Errors
    /// The store's, where each object's tags have to be asked for.
    pub(super) async fn take(&mut self, objects: Vec<Listed>) -> Result<usize, Error> {
        let now = self.shared.settings.bucket.s3().now();
        let catalog = Arc::clone(&self.shared.catalog);
        let mut candidates = Vec::with_capacity(objects.len());
        self.meet_outputs(&objects);
        for object in objects {
            match self.shared.settings.filter.judge(&object, now) {
                Verdict::Item if self.outputs.holds(&object.key) => {
                    let why = self.shared.settings.filter.is_output();
                    self.withhold(&object.key, why);
                }
                Verdict::Item => match self.shared.settler.withheld(&object) {
                    Some(why) => self.withhold(&object.key, why),
                    None => {
                        if self.shared.settings.filter.withholds_output() {
                            self.outputs.inhabit(&object.key);
                        }
                        candidates.push(object);
                    }
                },
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
        let unknown: Vec<_> = unknown.map(|(each, _)| each).collect();
        self.shared.settler.learn(unknown.iter().map(|(object, _)| object)).await?;
        let mut new = Vec::with_capacity(unknown.len());
        for (object, stamp) in unknown {
            match self.shared.settler.withheld(&object) {
                Some(why) => self.withhold(&object.key, why),
                None => new.extend(self.name(object, stamp)),
            }
        }
        // What is settled is said to be so before it is taken from the catalog: what is not confirmed for that reason is known here.
        let settled = &self.shared.settled;
        new.retain(|new| !settled.has(new.key.as_bytes(), new.stamp));
        let listings: Vec<Listing> =
            catalog.batch(|batch| new.iter().map(|new| batch.list(new.key.as_bytes(), &new.name, new.stamp)).collect());
        let mut count = 0;
        for (new, _) in new.iter().zip(listings).filter(|(_, listing)| *listing == Listing::Listed) {
            count += 1;
            if self.seen.is_some() {
                self.hot.learn(&new.key);
            }
            debug!(name = %new.name, key = new.key, "listed");
            self.shared.settler.turned_up(&new.name);
        }
        Ok(count)
    }

    /// Finds the markers first: mostly what they are about stands on the same page.
    fn meet_outputs(&mut self, objects: &[Listed]) {
        for object in objects {
            // Who serves what lies beside a marker means to.
            let dir = self.shared.settings.filter.output_of(&object.key);
            if let Some(dir) = dir.filter(|dir| !self.prefix.starts_with(dir)) {
                self.outputs.meet(dir);
            }
        }
    }

    /// Withholds what was listed before the marker was seen that makes it a worker's output.
    pub(super) async fn withhold_outputs(&mut self) {
        if !self.outputs.is_fresh() {
            return;
        }
        let shared = self.shared.clone();
        let mut from = None;
        loop {
            let page = shared.catalog.page(from, STEP);
            for entry in page.items.iter().filter_map(|name| shared.catalog.find(name).ok()) {
                if let Some(key) = str::from_utf8(&entry.key).ok().filter(|key| self.outputs.holds_fresh(key)) {
                    self.withhold(key, shared.settings.filter.is_output());
                }
            }
            from = page.next;
            if from.is_none() {
                break;
            }
            tokio::task::yield_now().await;
        }
        self.outputs.settle_fresh();
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
    pub(super) fn withhold(&mut self, key: &str, why: Why) {
        let catalog = &self.shared.catalog;
        let known = !self.sweeping && matches!(catalog.look(key.as_bytes()), Some(Known::Withheld(_)));
        if known || self.held < HELD {
            self.held += u64::from(!known);
            catalog.withhold(key.as_bytes(), why);
        } else {
            self.not_held += u64::from(self.sweeping);
            catalog.forget(key.as_bytes());
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
    pub(super) async fn grow_up(&mut self) {
        let later = self.young.split_off(&(Instant::now() + std::time::Duration::from_nanos(1)));
        let due = std::mem::replace(&mut self.young, later);
        for objects in due.into_values() {
            if let Err(error) = self.take(objects).await {
                // The next look at everything will tell.
                debug!(error = sidecar::chain(&error), "cannot look at objects that are old enough now");
            }
        }
    }

    /// Looks at one key.
    pub(super) async fn look(&mut self, key: &str) {
        self.shared.metrics.headed();
        let looked = match find(&self.shared.settings, key).await {
            Ok(Some(head)) => self.take(vec![listed(key, &head)]).await.map(drop),
            Ok(None) => {
                self.shared.catalog.forget(key.as_bytes());
                Ok(())
            }
            Err(error) => Err(error),
        };
        match looked {
            Ok(()) => {}
            // The next look at everything will tell.
            Err(error) => debug!(key, error = sidecar::chain(&error), "cannot look at a key"),
        }
    }
}
