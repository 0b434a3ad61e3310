//! The inputs of one item: where each may be had, made ready all at once, looked at again in the end.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use contract::{Key, Timestamp};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use storage::{Allowed, Error, Input, Inputs, Object, Uri};
use tracing::warn;

use crate::JobError;
use crate::item::WorkItem;

/// So many inputs of one item are made ready at once. What that takes of memory and requests is the stores' to bound.
const AT_ONCE: usize = 16;

/// The inputs of an item, each at every place it may be had from.
#[derive(Debug)]
pub(crate) struct Admitted<'a>(Vec<Vec<Place<'a>>>);

/// Where an input may be had.
#[derive(Debug)]
struct Place<'a> {
    root: &'a dyn Inputs,
    key: Key,
    object: Object,
    /// Until when, by the clock of who signed it.
    expires: Option<Timestamp>,
}

/// Inputs that lie ready, in the item's order, each with the number of the place it was had from.
#[derive(Debug)]
pub(crate) struct Ready(Vec<(usize, Box<dyn Input>)>);

/// An input as another process may look at it again. Says nothing of where it came from but which of the item's places that
/// was, since some of them are secrets.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Fetched {
    place: usize,
    path: PathBuf,
    seen: serde_json::Value,
}

impl<'a> Admitted<'a> {
    /// Keeps of each input the places that are allowed, in the item's order: `uri` before `url`.
    ///
    /// # Errors
    /// 77 for an input that may be had from none of its places.
    pub(crate) fn of(item: &WorkItem, allowed: &'a Allowed) -> Result<Self, JobError> {
        // Version and size are of the one input; an item with several cannot say them of each.
        let is_single = item.inputs.len() == 1;
        let place = |uri: &Uri| {
            let (root, key) = allowed.find(uri)?;
            let version = item.etag.clone().filter(|_| is_single);
            let version_id = item.version_id.clone().filter(|_| is_single);
            let object = Object { uri: uri.clone(), version, version_id, size: item.size.filter(|_| is_single) };
            // Only the URL is signed.
            let expires = item.url_expires.filter(|_| uri.scheme() == "https" || uri.scheme() == "http");
            Ok::<_, Error>(Place { root, key, object, expires })
        };
        let places = |uris: &Vec<Uri>| {
            let (mut admitted, mut refused) = (Vec::new(), None);
            for uri in uris {
                match place(uri) {
                    Ok(place) => admitted.push(place),
                    Err(error) => refused = refused.or(Some(error)),
                }
            }
            match refused {
                Some(error) if admitted.is_empty() => Err(crate::verdict::storage(error)),
                _ => Ok(admitted),
            }
        };
        item.inputs.iter().map(places).collect::<Result<_, _>>().map(Self)
    }

    /// The key of the first input below the root that allows it.
    pub(crate) fn key(&self) -> Option<Key> {
        self.0.first()?.first().map(|place| place.key.clone())
    }

    /// Makes all of them readable, several at a time, each at the first of its places where it can be had. What must be fetched
    /// for that lies in `root` then.
    ///
    /// # Errors
    /// [`Error::Changed`] where the item's version is there no longer; otherwise what was met at the last of its places, or
    /// before that, where it may pass.
    pub(crate) async fn fetch(&self, root: &Path) -> Result<Ready, Error> {
        let each = self.0.iter().enumerate().map(|(n, places)| {
            // Two may have one name.
            let dir = root.join(n.to_string());
            async move {
                let made = fs::create_dir(&dir);
                made.map_err(|source| Error::Io { doing: format!("create {}", dir.display()), source })?;
                fetch(places, &dir).await
            }
        });
        stream::iter(each).buffered(AT_ONCE).try_collect().await.map(Ready)
    }

    /// The same inputs, as another process has fetched them.
    ///
    /// # Errors
    /// [`Error::Invalid`] when they are not of this item.
    pub(crate) fn regard(&self, fetched: &[Fetched]) -> Result<Ready, Error> {
        if fetched.len() != self.0.len() {
            let (had, wanted) = (fetched.len(), self.0.len());
            return Err(Error::Invalid(format!("{had} inputs were fetched, and the item has {wanted}")));
        }
        let each = self.0.iter().zip(fetched).map(|(places, Fetched { place: n, path, seen })| {
            let place = places.get(*n).ok_or_else(|| Error::Invalid(format!("an input has no place number {n}")))?;
            Ok((*n, place.root.regard(&place.object, path, seen)?))
        });
        each.collect::<Result<_, Error>>().map(Ready)
    }
}

async fn fetch(places: &[Place<'_>], dir: &Path) -> Result<(usize, Box<dyn Input>), Error> {
    let mut refused: Option<Error> = None;
    for (n, place) in places.iter().enumerate() {
        let error = match place.root.fetch(&place.object, dir).await {
            Ok(ready) => return Ok((n, ready)),
            Err(error) => place.explain(error),
        };
        if !another_may_have_it(&error) {
            return Err(error);
        }
        if n + 1 < places.len() {
            let why = sidecar::chain(&error);
            warn!(uri = %place.object.uri, error = why, "an input cannot be had here; trying its next place");
        }
        refused = Some(match refused {
            Some(before) if may_pass(&before) || !may_pass(&error) => before,
            _ => error,
        });
    }
    Err(refused.expect("an admitted input has a place"))
}

impl Place<'_> {
    /// A refusal by a store that holds a URL to be signed no longer may be worded like any other; the item knows better.
    fn explain(&self, error: Error) -> Error {
        match (&error, self.expires) {
            (Error::Forbidden(why), Some(expires)) if expires < Timestamp::now() => {
                Error::Expired(format!("{why}; the URL was good until {expires}, and the item, read anew, has another"))
            }
            _ => error,
        }
    }
}

/// Whether this place is what is wrong, and not the input.
fn another_may_have_it(error: &Error) -> bool {
    matches!(error, Error::Forbidden(_) | Error::Unsupported(_) | Error::Unavailable { .. } | Error::Expired(_))
}

fn may_pass(error: &Error) -> bool {
    matches!(error, Error::Unavailable { .. } | Error::Expired(_))
}

impl Ready {
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.0.iter().map(|(_, input)| input.path().to_owned()).collect()
    }

    /// What another process needs to look at them again.
    pub(crate) fn fetched(&self) -> Vec<Fetched> {
        let note = |(place, input): &(usize, Box<dyn Input>)| Fetched {
            place: *place,
            path: input.path().to_owned(),
            seen: input.seen(),
        };
        self.0.iter().map(note).collect()
    }

    /// Whether every input still is what it was when it was fetched.
    ///
    /// # Errors
    /// Those of [`Input::verify`].
    pub(crate) async fn verify(&self) -> Result<(), Error> {
        let looks: Vec<_> = self.0.iter().map(|(_, input)| input.verify()).collect();
        stream::iter(looks).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// Puts into `dir` a link to each by its own name; where two have one, the later is numbered.
    pub(crate) fn link(&self, dir: &Path) -> io::Result<()> {
        for (n, path) in self.paths().iter().enumerate() {
            let name = path.file_name().unwrap_or_default();
            let mut link = dir.join(name);
            if link.symlink_metadata().is_ok() {
                let mut numbered = OsString::from(format!("{n}-"));
                numbered.push(name);
                link = dir.join(numbered);
            }
            symlink(path, link)?;
        }
        Ok(())
    }
}
