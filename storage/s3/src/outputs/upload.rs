//! A run's files on their way into the bucket.

use std::collections::HashMap;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bytes::Bytes;
use contract::item::{decode_path, encode_path};
use contract::marker::Output;
use futures_util::TryStreamExt;
use sidecar::fault;
use storage::{Claim, Error, Meter, blocking, in_turn};
use tracing::debug;

use super::judge::{Sight, refuse_below, stranger_at};
use super::label::Label;
use super::prune::Left;
use super::run::Run;
use super::site::Site;
use crate::{Condition, Digest, PublishMode, Upload, Written};

/// What is smaller is never uploaded in parts: no store takes smaller ones.
const SMALLEST_IN_PARTS: u64 = 5 * 1024 * 1024;

/// A file that a run wrote, and what it holds.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    from: PathBuf,
    /// By the name it has in the directory.
    output: Output,
    digest: Digest,
}

/// A file on its way.
#[derive(Clone, Debug)]
pub(super) struct Parcel<'a> {
    measured: &'a Measured,
    key: String,
    /// As the marker names it.
    pub(super) output: Output,
}

/// How the uploads of a run ended.
#[derive(Debug)]
pub(super) enum Sent {
    /// All are there; the ETag of each by its key.
    All(HashMap<String, String>),
    /// Another run of this item is at it too: look again.
    Clash,
    /// So is another item, at a place where it was not when this was looked at.
    Stranger(Error),
}

/// Every file below `dir`, sorted by path.
pub(super) async fn measure(dir: &Path) -> Result<Vec<Measured>, Error> {
    let walked = dir.to_owned();
    let files = blocking(move || storage::output_files(&walked)).await?;
    let parallel = std::thread::available_parallelism().map_or(1, usize::from);
    let measured = in_turn(files.into_iter(), parallel, |file| Box::pin(measure_one(dir, file)));
    let mut measured: Vec<_> = measured.try_collect().await?;
    measured.sort_by(|a, b| a.output.path.cmp(&b.output.path));
    Ok(measured)
}

async fn measure_one(dir: &Path, file: PathBuf) -> Result<Measured, Error> {
    let from = dir.join(&file);
    let digest = Digest::of(&from).await.map_err(|error| match error {
        Error::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
            Error::Unpublishable(format!("{} was written so that it cannot be read: check its mode", from.display()))
        }
        error => error,
    })?;
    let path = encode_path(file.as_os_str().as_bytes());
    let output = Output { path, size: digest.size(), sha256: digest.sha256() };
    Ok(Measured { from, output, digest })
}

impl<'a> Parcel<'a> {
    /// What of `measured` goes where.
    pub(super) fn pack(site: &Site, run: &Run, measured: &'a [Measured]) -> Result<Vec<Self>, Error> {
        let pack = |measured: &'a Measured| {
            let (output, key) = site.publish(run, &measured.output)?;
            Ok(Self { measured, key, output })
        };
        measured.iter().map(pack).collect()
    }

    /// Whether it is to be written over something that was seen.
    pub(super) fn replaces(&self, sight: &Sight) -> bool {
        sight.objects.contains_key(&self.key)
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }
}

/// Notes what a run is about to upload in parts, where whoever comes after its death finds it: not every store lists the
/// uploads below a prefix.
pub(super) async fn note(site: &Site, claim: &Claim, run: &Run, parcels: &[Parcel<'_>]) -> Result<(), Error> {
    let large = parcels.iter().filter(|parcel| parcel.output.size >= SMALLEST_IN_PARTS);
    let keys: Vec<_> = large.map(|parcel| encode_path(parcel.key.as_bytes())).collect();
    if keys.is_empty() {
        return Ok(());
    }
    fault::point("worker.note.before").map_err(Error::fault)?;
    let json = serde_json::to_vec(&keys).expect("a list of strings is JSON");
    let key = site.note(run);
    let label = Label::of_run(site, claim, &key, run).metadata();
    site.bucket.put(&key, Bytes::from(json), &Condition::Always, &label).await?;
    fault::point("worker.note.after").map_err(Error::fault)
}

/// The keys that [`note`] wrote down.
pub(super) fn noted(json: &[u8]) -> Vec<String> {
    let keys: Vec<String> = serde_json::from_slice(json).unwrap_or_default();
    keys.iter().filter_map(|key| String::from_utf8(decode_path(key)).ok()).collect()
}

/// Uploads everything, several at once, each on the condition that what is at its key still is what was seen there.
pub(super) async fn send(
    site: &Site,
    claim: &Claim,
    run: &Run,
    sight: &Sight,
    parcels: &[Parcel<'_>],
) -> Result<Sent, Error> {
    let meter = Meter::publishing(parcels.len() as u64, parcels.iter().map(|parcel| parcel.output.size).sum());
    // Twice as many as there may be requests: while some wait for the store, others are at the disk.
    let parallel = 2 * usize::from(site.bucket.s3().transfer().transfer_concurrency);
    let met = OnceLock::new();
    let mut uploads = in_turn(parcels.iter(), parallel, |parcel| {
        let (meter, met) = (&meter, &met);
        Box::pin(async move {
            match met.get() {
                None => send_one(site, claim, run, sight, parcel, meter).await,
                Some(_) => Ok(SentOne::Clash),
            }
        })
    });
    let mut etags = HashMap::with_capacity(parcels.len());
    while let Some(sent) = uploads.try_next().await? {
        match sent {
            SentOne::Yes { key, etag } => drop(etags.insert(key, etag)),
            // What is under way then comes to its end: what reached the store only after all was withdrawn would stay there.
            SentOne::Stranger(error) => drop(met.set(error)),
            SentOne::Clash if met.get().is_none() => return Ok(Sent::Clash),
            SentOne::Clash => {}
        }
    }
    drop(uploads);
    Ok(met.into_inner().map_or(Sent::All(etags), Sent::Stranger))
}

/// How the upload of one file ended.
enum SentOne {
    Yes { key: String, etag: String },
    Clash,
    Stranger(Error),
}

/// Uploads one file.
async fn send_one(
    site: &Site,
    claim: &Claim,
    run: &Run,
    sight: &Sight,
    parcel: &Parcel<'_>,
    meter: &Meter,
) -> Result<SentOne, Error> {
    let key = &parcel.key;
    let condition = match sight.objects.get(key) {
        None => Condition::Absent,
        // The label may have been lost where outputs were copied from elsewhere.
        Some(etag) if sight.named.contains(key) => Condition::Is(etag.clone()),
        Some(etag) => match site.bucket.head(key, None).await {
            Ok(head) if !Label::is_of(&head, site, claim, key) => return Err(stranger_at(site, claim, key)),
            Ok(head) if head.etag == *etag => Condition::Is(head.etag),
            Ok(_) | Err(Error::NotFound(_)) => return Ok(SentOne::Clash),
            Err(error) => return Err(error),
        },
    };
    let label = Label::of_run(site, claim, key, run);
    let digest = Some(parcel.measured.digest.clone());
    let how = Upload { condition, metadata: label.metadata(), digest, ..Upload::default() };
    fault::point("worker.upload.before").map_err(Error::fault)?;
    let uploaded = site.bucket.upload(&parcel.measured.from, key, &how, meter).await;
    fault::point("worker.upload.after").map_err(Error::fault)?;
    match uploaded {
        Ok(Written::Yes { etag, .. }) => Ok(SentOne::Yes { key: key.clone(), etag }),
        // An upload that somebody aborted, since it seemed dead, is not found.
        Ok(Written::Conflict) | Err(Error::NotFound(_)) => {
            debug!(key, "another run came between");
            if site.mode == PublishMode::Attempts {
                return Ok(SentOne::Clash);
            }
            match site.bucket.head(key, None).await {
                Ok(head) if !Label::is_of(&head, site, claim, key) && !sight.named.contains(key) => {
                    Ok(SentOne::Stranger(stranger_at(site, claim, key)))
                }
                Ok(_) | Err(Error::NotFound(_)) => Ok(SentOne::Clash),
                Err(error) => Err(error),
            }
        }
        Err(error) => Err(error),
    }
}

/// What was found at a place once a run had uploaded everything.
#[derive(Debug)]
pub(super) struct Found {
    /// Whether all of it still is there as it was put.
    pub(super) whole: bool,
    /// The ETag of the marker.
    pub(super) marker: Option<String>,
    /// What is neither.
    pub(super) left: Vec<Left>,
}

/// Looks at everything that is at the place now.
///
/// # Errors
/// [`Error::Taken`] when an item has published below it meanwhile.
pub(super) async fn find(site: &Site, etags: &HashMap<String, String>) -> Result<Found, Error> {
    let (mut intact, mut marker, mut left) = (0, None, Vec::new());
    let mut pages = site.all();
    while let Some(page) = pages.try_next().await? {
        refuse_below(site, &page)?;
        for object in page {
            match etags.get(&object.key) {
                Some(etag) => intact += usize::from(*etag == object.etag),
                None if object.key == site.marker() => marker = Some(object.etag),
                None => left.extend(Left::of(site, object)),
            }
        }
    }
    Ok(Found { whole: intact == etags.len(), marker, left })
}

/// Whether all that a run has uploaded below its own prefix still is there.
pub(super) async fn still_there(site: &Site, run: &Run, etags: &HashMap<String, String>) -> Result<bool, Error> {
    let mut pages = site.below(site.run(run));
    let mut intact = 0;
    while intact < etags.len()
        && let Some(page) = pages.try_next().await?
    {
        intact += page.iter().filter(|object| etags.get(&object.key) == Some(&object.etag)).count();
    }
    Ok(intact == etags.len())
}
