//! Looks at the bucket: at everything, or, between those, at as much as is cheap.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use storage::Error;
use storage_s3::{ListPage, ListQuery, Listing, Walk};
use tracing::{debug, info};

use super::Keeper;
use super::hot::{Newest, Tail};
use crate::naming::Identity;
use crate::narrowed;
use crate::trouble::within;

/// Part of the requests of a poll that looks where keys grew before; the others go through the whole key space in turn.
const TAILS_SHARE: usize = 2;

/// What the last look at everything cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    at: Instant,
    took: Duration,
    requests: u64,
}

impl Keeper {
    /// Looks, as much as is due; and says how long to rest then.
    pub(super) async fn scan(&mut self) -> Result<Duration, Error> {
        let when = &self.shared.settings.when;
        let (poll, budget) = (when.poll, u64::from(when.poll_requests));
        let everything = self
            .seen
            .is_none_or(|seen| seen.requests <= budget || seen.at.elapsed() >= when.reconcile_after(seen.requests));
        if everything {
            self.reconcile().await?;
        } else {
            self.poll().await?;
        }
        // Who needs long for a look is left alone for as long.
        Ok(poll.max(self.seen.filter(|_| everything).map_or(Duration::ZERO, |seen| seen.took)))
    }

    /// Looks at everything. What is not there is forgotten, and only here: whatever fails, fails before that.
    async fn reconcile(&mut self) -> Result<(), Error> {
        let began = Instant::now();
        let shared = self.shared.clone();
        let when = &shared.settings.when;
        let walk = Walk {
            prefix: self.prefix.clone(),
            parallelism: when.list_concurrency.into(),
            of: self.listing(),
            patience: when.stall_after.mul_f64(0.75),
            ..Walk::default()
        };
        let mut pages = shared.settings.bucket.walk(walk);
        let sweep = shared.catalog.start_sweep();
        (self.held, self.not_held, self.sweeping) = (0, 0, true);
        self.young.clear();
        self.outputs.begin();
        shared.settler.begin_look();
        let (mut objects, mut requests, mut newest) = (0, 0, Newest::default());
        loop {
            let page = tokio::select! {
                page = within(&shared.settings, pages.next()) => page?,
                Some(key) = self.asks.recv() => {
                    self.look(&key).await;
                    continue;
                }
            };
            let Some(page) = page else { break };
            let page = page.inspect_err(|_| shared.metrics.listed(requests + 1, 0))?;
            requests += u64::from(page.requests);
            shared.metrics.listed(page.requests.into(), page.failed.into());
            objects += page.objects.len() as u64;
            for object in &page.objects {
                newest.see(&object.key, object.last_modified);
            }
            self.take(page.objects).await?;
            shared.vitals.indexing(format!("it is read for the first time: {objects} objects so far"));
        }
        self.withhold_outputs().await;
        self.outputs.end();
        shared.settler.end_look();
        self.note_not_held();
        let gone = shared.catalog.end_sweep(sweep, |_| false);
        shared.catalog.set_complete(true);
        self.hot.seed(newest);
        let took = began.elapsed();
        if self.seen.is_none() {
            info!(objects, requests, ?took, "read the bucket");
            if objects == 0 {
                narrowed::warn(&shared.settings).await;
            }
            if requests > when.poll_requests.into() {
                info!(
                    poll = ?when.poll, poll_requests = when.poll_requests, reconcile = ?when.reconcile_after(requests),
                    requests_a_day = when.requests_a_day(requests),
                    "too many objects to look at all of them at each poll: those that appear where none did lately are found at the \
                     latest by the next reconcile"
                );
            }
        }
        debug!(objects, requests, gone, ?took, "looked at everything");
        shared.metrics.reconciled(took, objects);
        // Where nothing is, one request has said so.
        self.seen = Some(Seen { at: began, took, requests: requests.max(1) });
        Ok(())
    }

    /// Looks for new objects, at no more than the price of a poll.
    async fn poll(&mut self) -> Result<(), Error> {
        let began = Instant::now();
        let shared = self.shared.clone();
        let budget = usize::from(shared.settings.when.poll_requests);
        let (mut left, mut found) = (budget, 0);
        let most = (budget / TAILS_SHARE).max(1);
        for tail in self.hot.tails(most) {
            // One that grows by pages at a time is followed; the others are not left out for it.
            let mut tail = tail;
            for _ in 0..most {
                if left == 0 {
                    break;
                }
                left -= 1;
                let (new, more) = match self.look_behind(&tail).await {
                    Err(Error::Forbidden(why)) if tail.prefix != self.prefix => {
                        debug!(why, "prefixes within the one that is served may not be listed by themselves");
                        self.hot.only_root();
                        break;
                    }
                    looked => looked?,
                };
                found += new;
                match more.filter(|_| new > 0) {
                    Some(after) => tail.after = Some(after),
                    None => break,
                }
            }
        }
        while left > 0 {
            left -= 1;
            let from = Tail::of(&self.prefix, self.turn.take());
            let page = self.list(&from).await?;
            self.turn = page.objects.last().map(|last| last.key.clone()).filter(|_| page.next.is_some());
            found += self.take(page.objects).await?;
            if self.turn.is_none() {
                break;
            }
        }
        self.withhold_outputs().await;
        shared.metrics.polled(began.elapsed());
        debug!(requests = budget - left, found, took = ?began.elapsed(), "looked for new objects");
        Ok(())
    }

    /// A page of what follows a tail: how many are new, and where it goes on.
    async fn look_behind(&mut self, tail: &Tail) -> Result<(usize, Option<String>), Error> {
        let page = self.list(tail).await?;
        let keys: Vec<String> = page.objects.iter().map(|object| object.key.clone()).collect();
        let new = self.take(page.objects).await?;
        self.hot.looked(tail, &keys, new > 0);
        Ok((new, keys.into_iter().next_back().filter(|_| page.next.is_some())))
    }

    async fn list(&self, tail: &Tail) -> Result<ListPage, Error> {
        let settings = &self.shared.settings;
        let query = ListQuery { prefix: tail.prefix.clone(), start_after: tail.after.clone(), ..ListQuery::default() };
        let asked = async {
            match self.listing() {
                Listing::Objects => settings.bucket.list(&query).await,
                Listing::Versions => settings.bucket.list_versions(&query).await,
            }
        };
        let page = within(settings, asked).await?;
        self.shared.metrics.listed(1, page.is_err().into());
        page
    }

    fn listing(&self) -> Listing {
        match self.shared.settings.naming.identity {
            Identity::VersionId => Listing::Versions,
            Identity::Etag | Identity::Key => Listing::Objects,
        }
    }
}
