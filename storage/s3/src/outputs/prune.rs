//! Clearing away what no marker names and none ever will.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use contract::Marker;
use futures_util::TryStreamExt;
use sidecar::{chain, fault};
use storage::{Claim, Error, in_turn};
use tracing::{info, warn};

use super::judge::{PARALLEL, read_marker};
use super::label::Label;
use super::run::{Base, Run};
use super::site::Site;
use super::upload::noted;
use crate::{Deleted, Head, Listed, Which};

/// The largest note of uploads that is read.
const LARGEST_NOTE: usize = 16 * 1024 * 1024;

/// Clears away what dead runs have left at a place where this marker was seen; what cannot be cleared away is no reason to
/// fail.
pub(super) async fn best_effort(site: &Site, claim: &Claim, marker: &Marker) {
    tell(prune(site, claim, marker).await);
}

/// The same after a run has committed this marker, of what it had found at the place before: all its uploads are over.
pub(super) async fn after_commit(site: &Site, claim: &Claim, run: &Run, marker: &(Marker, String), left: Vec<Left>) {
    tell(clear(site, claim, left, marker, Some(run)).await);
}

fn tell(cleared: Result<usize, Error>) {
    match cleared {
        Ok(0) => {}
        Ok(removed) => info!(removed, "cleared away what earlier runs of the item had left"),
        Err(error) => warn!(error = chain(&error), "left what earlier runs of the item have left"),
    }
}

/// Removes what a run of ours has uploaded and will not name.
pub(super) async fn discard(site: &Site, run: &Run) -> Result<(), Error> {
    let mut pages = site.below(site.run(run));
    while let Some(page) = pages.try_next().await? {
        let removals = in_turn(page.iter(), PARALLEL, |object| Box::pin(remove(site, &object.key, Which::Current)));
        removals.try_for_each(|_| std::future::ready(Ok(()))).await?;
    }
    Ok(())
}

/// Removes of these keys, at which nothing was when the place was looked at, what one of these runs of ours has put there in place.
pub(super) async fn withdraw(site: &Site, claim: &Claim, runs: &[Run], keys: &HashSet<String>) -> Result<(), Error> {
    let mut pages = site.outside_attempts();
    while let Some(page) = pages.try_next().await? {
        let put = page.iter().map(|object| object.key.as_str()).filter(|key| keys.contains(*key));
        let removals = in_turn(put, PARALLEL, |key| Box::pin(withdraw_one(site, claim, runs, key)));
        removals.try_for_each(|_| std::future::ready(Ok(()))).await?;
    }
    Ok(())
}

async fn withdraw_one(site: &Site, claim: &Claim, runs: &[Run], key: &str) -> Result<usize, Error> {
    match site.bucket.head(key, None).await {
        Ok(head)
            if Label::is_of(&head, site, claim, key) && Label::run(&head).is_some_and(|run| runs.contains(&run)) =>
        {
            remove(site, key, Which::Etag(&head.etag)).await
        }
        Ok(_) | Err(Error::NotFound(_)) => Ok(0),
        Err(error) => Err(error),
    }
}

/// Removes what earlier runs have left, and says how many objects and uploads that were.
///
/// First all is listed, then the marker is read. Whoever had uploaded something by then and set out from another marker than the
/// one that stands now can never commit any more: it would replace a marker with an ETag that does not come back. So what bears
/// its name may be removed, now or by a process that was stopped here and goes on tomorrow.
///
/// A run that has committed has written that marker itself, and has listed all before: that is as good.
async fn prune(site: &Site, claim: &Claim, seen: &Marker) -> Result<usize, Error> {
    let keys = named(site, seen);
    let mut left = Vec::new();
    let mut pages = site.all();
    while let Some(page) = pages.try_next().await? {
        let ours = |key: &String| *key == site.marker() || keys.contains(key);
        left.extend(page.into_iter().filter(|object| !ours(&object.key)).filter_map(|object| Left::of(site, object)));
    }
    if left.is_empty() {
        return Ok(0);
    }
    match read_marker(site).await? {
        Some(stands) if stands.0.item.key == claim.item.key => clear(site, claim, left, &stands, None).await,
        _ => Ok(0),
    }
}

/// Removes of what was listed before this marker stood, or was read, what is dead now.
async fn clear(
    site: &Site,
    claim: &Claim,
    mut left: Vec<Left>,
    (stands, etag): &(Marker, String),
    own: Option<&Run>,
) -> Result<usize, Error> {
    let own_note = own.map(|run| site.note(run));
    let sweep = Sweep { site, claim, keys: named(site, stands), current: Base::of(Some(etag)), own_note };
    let others: HashSet<_> = left.iter().filter_map(|left| site.place_below(left.key())).map(str::to_owned).collect();
    left.retain(|left| !is_within(left.key(), &others));
    // Notes go last: while one is there, somebody comes back for the uploads that it names.
    left.sort_by_key(Left::is_note);
    let mut removed = 0;
    for left in left.chunk_by(|a, b| a.is_note() == b.is_note()) {
        let mut removals = in_turn(left.iter(), PARALLEL, |left| Box::pin(sweep.clear(left)));
        while let Some(gone) = removals.try_next().await? {
            removed += gone;
        }
    }
    Ok(removed)
}

/// Something that no marker names, and where it is.
#[derive(Debug)]
pub(super) enum Left {
    /// Below the prefix of a run.
    Object(Run, String),
    /// The note of what a run uploads in parts.
    Note(Run, String),
    /// At a name of its own, where a run in place may have put it.
    InPlace(String),
}

impl Left {
    /// What was listed, unless it is to stay: reports, and what nobody of ours has put there.
    pub(super) fn of(site: &Site, object: Listed) -> Option<Self> {
        let key = object.key;
        match key.strip_prefix(&site.attempts()) {
            None => Some(Self::InPlace(key)),
            Some(inside) => {
                let run = Run::parse(inside.split('/').next()?)?;
                Some(if key == site.note(&run) { Self::Note(run, key) } else { Self::Object(run, key) })
            }
        }
    }

    fn key(&self) -> &str {
        let (Self::Object(_, key) | Self::Note(_, key) | Self::InPlace(key)) = self;
        key
    }

    fn is_note(&self) -> bool {
        matches!(self, Self::Note(..))
    }
}

/// What is known when the clearing begins.
struct Sweep<'a> {
    site: &'a Site,
    claim: &'a Claim,
    /// What the marker that stands names.
    keys: HashSet<String>,
    /// What whoever may still commit set out from.
    current: Base,
    own_note: Option<String>,
}

impl Sweep<'_> {
    async fn clear(&self, left: &Left) -> Result<usize, Error> {
        match left {
            Left::Object(_, key) | Left::Note(_, key) | Left::InPlace(key) if self.keys.contains(key) => Ok(0),
            Left::Object(run, _) | Left::Note(run, _) if run.base() == self.current => Ok(0),
            Left::Object(_, key) => remove(self.site, key, Which::Current).await,
            Left::Note(_, key) if self.own_note.as_ref() == Some(key) => {
                remove(self.site, key, Which::Current).await.map(|_| 0)
            }
            Left::Note(_, key) => self.abort_noted(key).await,
            Left::InPlace(key) => match self.site.bucket.head(key, None).await {
                Ok(head) if self.is_dead(&head, key) => remove(self.site, key, Which::Etag(&head.etag)).await,
                Ok(_) | Err(Error::NotFound(_)) => Ok(0),
                Err(error) => Err(error),
            },
        }
    }

    /// Whether a dead run of this item has put it there.
    fn is_dead(&self, head: &Head, key: &str) -> bool {
        Label::is_of(head, self.site, self.claim, key) && Label::run(head).is_some_and(|run| run.base() != self.current)
    }

    /// Aborts what a dead run was uploading in parts, and removes its note of it.
    async fn abort_noted(&self, note: &str) -> Result<usize, Error> {
        let bucket = &self.site.bucket;
        let json = match bucket.read(note, LARGEST_NOTE).await {
            Ok((json, _)) => json,
            Err(Error::NotFound(_)) => return Ok(0),
            Err(error) => return Err(error),
        };
        // In place a living run may be uploading to the same key; it set out from the marker that stands, so it began later.
        let before = match bucket.head(&self.site.marker(), None).await?.last_modified {
            // A HEAD tells whole seconds only.
            Some(committed) => committed.0 + Duration::from_secs(1),
            None => SystemTime::UNIX_EPOCH,
        };
        let mut aborted = 0;
        for key in noted(&json).into_iter().filter(|key| key.starts_with(self.site.prefix())) {
            let of_run = key.starts_with(&self.site.attempts());
            let uploads = bucket.list_uploads(&key).await?;
            let dead = uploads.into_iter().filter(|upload| {
                upload.key == key && (of_run || upload.initiated.is_some_and(|begun| begun.0 < before))
            });
            for upload in dead {
                fault::point("worker.abort.before").map_err(Error::fault)?;
                bucket.abort_upload(&upload.key, &upload.id).await?;
                fault::point("worker.abort.after").map_err(Error::fault)?;
                aborted += 1;
            }
        }
        remove(self.site, note, Which::Current).await?;
        Ok(aborted)
    }
}

/// Whether a key is in one of these places, each with a slash at its end.
fn is_within(key: &str, places: &HashSet<String>) -> bool {
    !places.is_empty() && key.match_indices('/').any(|(at, _)| key.get(..=at).is_some_and(|dir| places.contains(dir)))
}

fn named(site: &Site, marker: &Marker) -> HashSet<String> {
    marker.outputs.iter().filter_map(|output| site.named(&output.path)).collect()
}

async fn remove(site: &Site, key: &str, which: Which<'_>) -> Result<usize, Error> {
    fault::point("worker.prune.before").map_err(Error::fault)?;
    let deleted = site.bucket.delete(key, which).await?;
    fault::point("worker.prune.after").map_err(Error::fault)?;
    Ok(match deleted {
        Deleted::Yes { .. } => 1,
        Deleted::Changed => 0,
    })
}
