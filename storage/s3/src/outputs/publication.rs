//! The commit to a bucket: everything uploaded first, and then the marker that names it, on the condition that the marker seen
//! before the first upload still stands.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use contract::Marker;
use contract::marker::Output;
use sidecar::{fault, tree};
use storage::{BoxFuture, Claim, Committed, Draft, Error, Publication, Regard, Standing, Verify, marker_json};
use tracing::{debug, warn};

use super::judge::{Sight, is_as_seen, is_whole, judge, read_marker, refuse_above};
use super::label::Label;
use super::prune::{self, Left};
use super::run::Run;
use super::site::Site;
use super::upload::{Measured, Parcel, Sent, find, measure, note, send, still_there};
use crate::{Condition, PublishMode, Which, Written};

/// How often a run that meets another one of its item looks again before it leaves the item to a later attempt.
const TRIES: u32 = 5;

/// A run's output, gathered in a local directory.
#[derive(Debug)]
pub(super) struct S3Publication {
    site: Site,
    claim: Claim,
    dir: Gathered,
    /// What was seen at the place before the work began.
    seen: Option<Sight>,
    /// Each try to upload, and the keys at which it met nothing.
    runs: Vec<Run>,
    new: HashSet<String>,
}

/// The directory; removed when dropped.
#[derive(Debug)]
struct Gathered(PathBuf);

impl Gathered {
    /// Removes it where that may take its time: there may be any number of files.
    async fn remove(self) {
        // A runtime that is ending has no time for it: then it goes with the scratch directory.
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }
}

impl Drop for Gathered {
    fn drop(&mut self) {
        if let Err(error) = tree::remove(&self.0) {
            warn!(path = %self.0.display(), %error, "cannot remove gathered output; it goes with the scratch directory");
        }
    }
}

/// Output that lies in the bucket, named by nothing yet.
struct Uploaded {
    run: Run,
    outputs: Vec<Output>,
    /// The marker that it may replace.
    replaces: Option<String>,
    /// Of each object, by its key.
    etags: HashMap<String, String>,
    /// What else was there when all was uploaded.
    left: Vec<Left>,
}

/// What became of the uploads of a try.
enum Put {
    /// All is there and could be named now: the ETag of each object by its key, and what else is at the place.
    All {
        etags: HashMap<String, String>,
        left: Vec<Left>,
    },
    Clash,
    Stranger(Error),
}

/// What a try to upload came to.
enum Tried {
    Uploaded(Uploaded),
    Over(Committed),
    /// Another run of this item is at it too.
    Clash,
    /// So is another item, and what this run had put there is withdrawn: each may have met what is the other's, and if both
    /// were refused for it, nobody would have the place.
    Withdrawn(Error),
}

impl S3Publication {
    pub(super) fn begin(site: Site, claim: Claim, seen: Option<Sight>, scratch: &Path) -> Result<Self, Error> {
        let failed = |e| Error::io(format!("create a directory in {}", scratch.display()), e);
        let dir = tempfile::Builder::new().prefix("out.").tempdir_in(scratch).map_err(failed)?;
        Ok(Self { site, claim, dir: Gathered(dir.keep()), seen, runs: Vec::new(), new: HashSet::new() })
    }

    async fn publish(&mut self, draft: Draft, verify: Verify<'_>) -> Result<Committed, Error> {
        let measured = measure(&self.dir.0).await?;
        draft.admit(measured.len())?;
        let mut tries = 0;
        let mut seen = self.seen.take();
        loop {
            let met = match self.upload(&measured, seen.take(), verify).await? {
                Tried::Uploaded(uploaded) => {
                    if let Err(error) = verify().await {
                        self.discard(&uploaded.run).await;
                        return Err(error);
                    }
                    let marker = self.claim.marker(uploaded.outputs.clone(), draft.result.clone());
                    match self.commit_marker(uploaded, marker).await? {
                        Some(committed) => return Ok(committed),
                        None => self.busy(),
                    }
                }
                Tried::Over(committed) => return Ok(committed),
                Tried::Clash => self.busy(),
                // Whoever comes back finds the place the other's, or free.
                Tried::Withdrawn(error) => Error::Busy(error.to_string()),
            };
            tries += 1;
            if tries == TRIES {
                return Err(met);
            }
            pause(tries).await;
        }
    }

    /// Looks at the place, then uploads, then looks whether nobody was there meanwhile.
    async fn upload(&mut self, measured: &[Measured], seen: Option<Sight>, verify: Verify<'_>) -> Result<Tried, Error> {
        let (site, claim) = (&self.site, &self.claim);
        let sight = match seen {
            Some(seen) if is_as_seen(site, &seen).await? => seen,
            _ => judge(site, claim).await?,
        };
        match sight.standing {
            Standing::Free | Standing::Replaceable => {}
            Standing::Published(marker) => {
                prune::best_effort(site, claim, &marker).await;
                return Ok(Tried::Over(Committed::Already(marker)));
            }
            Standing::Superseded { revision } => return Ok(Tried::Over(Committed::Superseded { revision })),
        }
        let run = Run::new(claim.number, &claim.attempt, sight.etag.as_deref());
        let parcels = Parcel::pack(site, &run, measured)?;
        if parcels.iter().any(|parcel| parcel.replaces(&sight)) {
            // What is written over may be of a newer input than this output is, and whole. What comes after this look at the
            // input comes after the look at the place too, so that its ETags are others, and nothing is written over it.
            verify().await?;
        }
        self.runs.push(run.clone());
        self.new.extend(parcels.iter().filter(|parcel| !parcel.replaces(&sight)).map(|parcel| parcel.key().to_owned()));
        match self.upload_all(&run, &sight, &parcels).await {
            Ok(Put::All { etags, left }) => {
                let outputs = parcels.into_iter().map(|parcel| parcel.output).collect();
                Ok(Tried::Uploaded(Uploaded { run, outputs, replaces: sight.etag, etags, left }))
            }
            Ok(Put::Clash) => {
                self.discard(&run).await;
                Ok(Tried::Clash)
            }
            Ok(Put::Stranger(error)) => {
                debug!(%error, "another item is publishing here");
                self.discard(&run).await;
                // What an earlier try has put, and this one was to write over, too.
                prune::withdraw(site, claim, &self.runs, &self.new).await?;
                Ok(Tried::Withdrawn(error))
            }
            Err(error) => {
                self.discard(&run).await;
                Err(error)
            }
        }
    }

    /// What was uploaded and what else is at the place, if everything is there and could be named now.
    async fn upload_all(&self, run: &Run, sight: &Sight, parcels: &[Parcel<'_>]) -> Result<Put, Error> {
        let (site, claim) = (&self.site, &self.claim);
        note(site, claim, run, parcels).await?;
        let etags = match send(site, claim, run, sight, parcels).await? {
            Sent::All(etags) => etags,
            Sent::Clash => return Ok(Put::Clash),
            Sent::Stranger(error) => return Ok(Put::Stranger(error)),
        };
        let (found, ()) = futures_util::try_join!(find(site, &etags), refuse_above(site, claim))?;
        let (whole, unmarked) = (found.whole, found.marker == sight.etag);
        if !whole || !unmarked {
            debug!(whole, unmarked, "another run was here while this one uploaded");
            return Ok(Put::Clash);
        }
        Ok(Put::All { etags, left: found.left })
    }

    /// Writes the marker, once: a run whose condition did not hold never commits on another one. `None` where the marker that stands
    /// instead is to be replaced.
    async fn commit_marker(&self, uploaded: Uploaded, marker: Marker) -> Result<Option<Committed>, Error> {
        let Uploaded { run, replaces, etags, left, .. } = uploaded;
        let json = Bytes::from(marker_json(&marker));
        let condition = replaces.clone().map_or(Condition::Absent, Condition::Is);
        let key = self.site.marker();
        let label = Label::of_run(&self.site, &self.claim, &key, &run).metadata();
        let mut tries = 0;
        let etag = loop {
            fault::point("worker.commit.before").map_err(Error::fault)?;
            let written = self.site.bucket.put(&key, json.clone(), &condition, &label).await;
            fault::point("worker.commit.after").map_err(Error::fault)?;
            let error = match written {
                Ok(Written::Yes { etag, .. }) => break etag,
                Ok(Written::Conflict) => None,
                Err(error) => Some(error),
            };
            // Whatever was answered (nothing, or no to a repetition of what had been done): what stands there tells.
            let stands = match (read_marker(&self.site).await, error) {
                (Ok(stands), None) => stands,
                // What cannot be told apart from a write that is still on its way leaves all as it is.
                (Ok(stands), Some(error)) if stands.as_ref().map(|(_, etag)| etag) == replaces.as_ref() => {
                    return Err(error);
                }
                (Ok(stands), Some(_)) => stands,
                (Err(_), Some(error)) | (Err(error), None) => return Err(error),
            };
            match stands {
                Some((stands, etag)) if stands == marker => break etag,
                stands if stands.as_ref().map(|(_, etag)| etag) == replaces.as_ref() => {
                    // Refused, although it holds: another write was under way.
                    tries += 1;
                    if tries == TRIES {
                        return Err(self.busy());
                    }
                    pause(tries).await;
                }
                Some((stands, _)) => return self.outdone(stands).await,
                None => return Err(self.busy()),
            }
        };
        self.withdraw_unless_there(&run, replaces.as_deref(), &etags, &etag).await?;
        let stands = (marker, etag);
        prune::after_commit(&self.site, &self.claim, &run, &stands, left).await;
        Ok(Some(Committed::Published(Box::new(stands.0))))
    }

    /// Takes the marker away again if what it names was cleared away before it was written. No ETag of a marker comes twice, so
    /// that it replaced one says that no other run has cleared away anything. That there was none can be true twice: another run
    /// may have committed, cleared away, and its marker been deleted, while this process stood still.
    async fn withdraw_unless_there(
        &self,
        run: &Run,
        replaced: Option<&str>,
        etags: &HashMap<String, String>,
        marker: &str,
    ) -> Result<(), Error> {
        let site = &self.site;
        if site.mode == PublishMode::InPlace || replaced.is_some() || still_there(site, run, etags).await? {
            return Ok(());
        }
        site.bucket.delete(&site.marker(), Which::Etag(marker)).await?;
        Err(self.busy())
    }

    /// Another run's marker stands where ours was to be. In place it may name what this run has written over since the other looked, and
    /// nobody but this run knows it: what it says is true again once ours stands.
    async fn outdone(&self, stands: Marker) -> Result<Option<Committed>, Error> {
        let (site, claim) = (&self.site, &self.claim);
        match claim.regard(&stands, &site.bucket.uri(site.prefix()))? {
            Regard::Same if is_whole(site, &stands).await? => {
                prune::best_effort(site, claim, &stands).await;
                Ok(Some(Committed::Already(Box::new(stands))))
            }
            Regard::Newer { revision } => {
                prune::best_effort(site, claim, &stands).await;
                Ok(Some(Committed::Superseded { revision }))
            }
            Regard::Same => Ok(None),
            Regard::Older => Err(self.busy()),
        }
    }

    /// Takes back what a run has uploaded that no marker names or will name. In place it stays for the next run to write over or
    /// to clear away: another run may have written there since.
    async fn discard(&self, run: &Run) {
        // What was given up is aborted by then.
        self.site.bucket.s3().idle().await;
        if self.site.mode == PublishMode::Attempts
            && let Err(error) = prune::discard(&self.site, run).await
        {
            warn!(%error, "left what was uploaded; a later run of the item clears it away");
        }
    }

    fn busy(&self) -> Error {
        Error::Busy(format!(
            "another run published to {} in the same instant; run the item again",
            self.site.bucket.uri(self.site.prefix())
        ))
    }
}

impl Publication for S3Publication {
    fn dir(&self) -> &Path {
        &self.dir.0
    }

    fn commit<'a>(mut self: Box<Self>, draft: Draft, verify: Verify<'a>) -> BoxFuture<'a, Result<Committed, Error>> {
        Box::pin(async move {
            let committed = self.publish(draft, verify).await;
            self.dir.remove().await;
            committed
        })
    }
}

/// Lets the other run come to its end: a random part of a span that doubles.
async fn pause(tries: u32) {
    let span = Duration::from_millis(100).saturating_mul(1 << tries.min(6));
    tokio::time::sleep(span.mul_f64(fastrand::f64())).await;
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn what_was_gathered_is_removed_where_nobody_waits_for_a_disk() {
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().expect("a runtime");
        let dir = tempfile::tempdir().expect("a directory").keep();
        runtime.block_on(async {
            // The only thread that may block has something else to do.
            let (go, held) = mpsc::channel::<()>();
            let busy = tokio::task::spawn_blocking(move || held.recv());
            let mut removing = Box::pin(Gathered(dir.clone()).remove());
            assert!(futures_util::poll!(&mut removing).is_pending() && dir.exists(), "it was removed on this thread");
            go.send(()).expect("it waits");
            removing.await;
            assert!(!dir.exists());
            busy.await.expect("it ends").expect("it was let go");
        });
    }
}
