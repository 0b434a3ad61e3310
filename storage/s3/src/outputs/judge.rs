//! What stands at a place, seen with a claim's eyes.

use std::collections::{HashMap, HashSet};

use contract::marker::Output;
use contract::{MARKER_FILE, Marker};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use storage::{Claim, Error, Regard, Standing, in_turn};

use super::label::Label;
use super::site::Site;
use crate::{Listed, PublishMode};

/// The largest marker that is read: a million files.
const LARGEST_MARKER: usize = 256 * 1024 * 1024;
/// Small requests at once.
pub(super) const PARALLEL: usize = 32;

/// What stands at a place.
#[derive(Debug)]
pub(super) struct Sight {
    pub(super) standing: Standing,
    /// Of the marker, if there is one.
    pub(super) etag: Option<String>,
    /// Everything but what single runs have left, with its ETag. Looked at for publishing in place only.
    pub(super) objects: HashMap<String, String>,
    /// What the marker names, if it is this item's.
    pub(super) named: HashSet<String>,
}

/// Judges the place of `claim`.
///
/// # Errors
/// [`Error::Taken`] when it belongs to another item, or another item's output lies above or below it.
pub(super) async fn judge(site: &Site, claim: &Claim) -> Result<Sight, Error> {
    let (found, ()) = futures_util::try_join!(read_marker(site), refuse_above(site, claim))?;
    let mut objects = HashMap::new();
    let mut pages = site.outside_attempts();
    if found.is_none() || site.mode == PublishMode::InPlace {
        while let Some(page) = pages.try_next().await? {
            if found.is_none() {
                refuse_strangers(site, claim, &page).await?;
            }
            if site.mode == PublishMode::InPlace {
                objects.extend(page.into_iter().map(|object| (object.key, object.etag)));
            }
        }
    }
    let Some((marker, etag)) = found else {
        return Ok(Sight { standing: Standing::Free, etag: None, objects, named: HashSet::new() });
    };
    let regard = claim.regard(&marker, &site.bucket.uri(site.prefix()))?;
    let named = marker.outputs.iter().filter_map(|output| site.named(&output.path)).collect();
    let standing = match regard {
        Regard::Same if is_whole(site, &marker).await? => Standing::Published(Box::new(marker)),
        Regard::Same | Regard::Older => Standing::Replaceable,
        Regard::Newer { revision } => Standing::Superseded { revision },
    };
    Ok(Sight { standing, etag: Some(etag), objects, named })
}

/// Whether a place is as it was when it was judged: then it need not be judged again before something is uploaded.
pub(super) async fn is_as_seen(site: &Site, sight: &Sight) -> Result<bool, Error> {
    match site.mode {
        // Nothing but the marker is shared with other runs.
        PublishMode::Attempts => match site.bucket.head(&site.marker(), None).await {
            Ok(head) => Ok(Some(head.etag) == sight.etag),
            Err(Error::NotFound(_)) => Ok(sight.etag.is_none()),
            Err(error) => Err(error),
        },
        PublishMode::InPlace => {
            let pages: Vec<_> = site.outside_attempts().try_collect().await?;
            let objects: HashMap<_, _> = pages.into_iter().flatten().map(|object| (object.key, object.etag)).collect();
            Ok(objects.get(&site.marker()) == sight.etag.as_ref() && objects == sight.objects)
        }
    }
}

/// The marker and its ETag.
pub(super) async fn read_marker(site: &Site) -> Result<Option<(Marker, String)>, Error> {
    let key = site.marker();
    let (json, etag) = match site.bucket.read(&key, LARGEST_MARKER).await {
        Ok(read) => read,
        Err(Error::NotFound(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    let marker = serde_json::from_slice(&json).map_err(|error| {
        Error::Taken(format!(
            "{} cannot be read as a marker ({error}), so nobody can tell whose output this is; move it away and run the item \
             again",
            site.bucket.uri(&key)
        ))
    })?;
    Ok(Some((marker, etag)))
}

/// Refuses a place within another item's output.
pub(super) async fn refuse_above(site: &Site, claim: &Claim) -> Result<(), Error> {
    let above = stream::iter(site.markers_above()).map(|key| {
        let bucket = site.bucket.clone();
        async move {
            match bucket.head(&key, None).await {
                Ok(_) => Ok(Some(key)),
                Err(Error::NotFound(_)) => Ok(None),
                Err(error) => Err(error),
            }
        }
    });
    let above: Vec<_> = above.buffered(PARALLEL).try_collect().await?;
    match above.into_iter().flatten().next() {
        None => Ok(()),
        Some(key) => Err(Error::Taken(format!(
            "{} is itself the output of an item ({MARKER_FILE} stands there), so {} cannot have its output below it; choose an \
             --output that keeps them apart",
            site.bucket.uri(key.trim_end_matches(MARKER_FILE)),
            claim.item.key
        ))),
    }
}

/// Refuses a place with another item's output in it.
pub(super) fn refuse_below(site: &Site, page: &[Listed]) -> Result<(), Error> {
    match page.iter().find(|object| site.is_marker_below(&object.key)) {
        None => Ok(()),
        Some(object) => Err(Error::Taken(format!(
            "{} holds the output of an item below it ({}); choose an --output that keeps them apart",
            site.bucket.uri(site.prefix()),
            site.bucket.uri(&object.key)
        ))),
    }
}

/// Refuses a place without a marker that holds what is not the item's.
async fn refuse_strangers(site: &Site, claim: &Claim, page: &[Listed]) -> Result<(), Error> {
    refuse_below(site, page)?;
    if site.mode == PublishMode::Attempts {
        // Nothing of it can be touched.
        return Ok(());
    }
    // A marker may have come since; and what consoles show as a folder is in nobody's way.
    let ours = |object: &&Listed| object.key != site.marker() && !object.key.ends_with('/');
    let others = page.iter().filter(ours);
    let mut strangers = in_turn(others, PARALLEL, |object| Box::pin(stranger(site, claim, object.key.clone())));
    while let Some(stranger) = strangers.try_next().await? {
        if let Some(key) = stranger {
            return Err(stranger_at(site, claim, &key));
        }
    }
    Ok(())
}

/// A key, if what has it is not the item's.
async fn stranger(site: &Site, claim: &Claim, key: String) -> Result<Option<String>, Error> {
    match site.bucket.head(&key, None).await {
        Ok(head) => Ok((!Label::is_of(&head, site, claim, &key)).then_some(key)),
        Err(Error::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Refuses to write over what is not the item's.
pub(super) fn stranger_at(site: &Site, claim: &Claim, key: &str) -> Error {
    Error::Taken(format!(
        "{} is not of {}, whose output belongs at {}; move it away, or choose another --output",
        site.bucket.uri(key),
        claim.item.key,
        site.bucket.uri(site.prefix())
    ))
}

/// Whether all that a marker names is there as it says.
pub(super) async fn is_whole(site: &Site, marker: &Marker) -> Result<bool, Error> {
    let mut looks = in_turn(marker.outputs.iter(), PARALLEL, |output| Box::pin(look_at(site, output)));
    while let Some(holds) = looks.try_next().await? {
        if !holds {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn look_at(site: &Site, output: &Output) -> Result<bool, Error> {
    let Some(key) = site.named(&output.path) else { return Ok(false) };
    match site.bucket.head(&key, None).await {
        Ok(head) => Ok(Label::holds(&head, output)),
        Err(Error::NotFound(_)) => Ok(false),
        Err(error) => Err(error),
    }
}
