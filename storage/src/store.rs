//! The seam: what a store of one URI scheme offers to workers, and the set of stores a program has.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Component, Path};
use std::pin::Pin;

use contract::marker::{ApiV1, MarkedItem, MarkerKind, Output};
use contract::{Key, MARKER_FILE, Marker, Timestamp};

use crate::{Error, FileStore, Place, Uri};

/// A future behind a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Looks whether the inputs still are what the output was made of, each time that it is called.
pub type Verify<'a> = &'a (dyn Fn() -> BoxFuture<'a, Result<(), Error>> + Send + Sync);

/// A kind of store, by URI scheme.
pub trait Store: fmt::Debug + Send + Sync {
    /// In lower case, without the colon.
    fn scheme(&self) -> &'static str;

    /// Inputs below `root`, and nothing beside it. Does no I/O.
    ///
    /// # Errors
    /// [`Error::Invalid`] or [`Error::Unsupported`] when `root` cannot be one.
    fn inputs(&self, root: &Uri) -> Result<Box<dyn Inputs>, Error>;

    /// Outputs below `root`. Does no I/O.
    ///
    /// # Errors
    /// As [`inputs`](Self::inputs).
    fn outputs(&self, root: &Uri) -> Result<Box<dyn Outputs>, Error>;
}

/// What may be read: everything below one root.
pub trait Inputs: fmt::Debug + Send + Sync {
    /// The key of `uri` relative to the root; `None` when it lies outside. Says nothing about whether it exists.
    fn key(&self, uri: &Uri) -> Option<Key>;

    /// Makes an object readable as a local file: where it lies, if that is a local file; otherwise fetched into `scratch`.
    fn fetch<'a>(&'a self, object: &'a Object, scratch: &'a Path) -> BoxFuture<'a, Result<Box<dyn Input>, Error>>;

    /// The input that another process has fetched to `path`, to be looked at again: `seen` is what [`Input::seen`] said there of
    /// the same object. Does no I/O.
    ///
    /// # Errors
    /// [`Error::Invalid`] when `seen` is not this store's word, [`Error::Forbidden`] when the object lies outside of the root.
    fn regard(&self, object: &Object, path: &Path, seen: &serde_json::Value) -> Result<Box<dyn Input>, Error>;

    /// Whether the root can be reached and read now.
    fn check(&self) -> BoxFuture<'_, Result<(), Error>>;
}

/// What to fetch.
#[derive(Clone, Debug)]
pub struct Object {
    /// Where it is.
    pub uri: Uri,
    /// The version of the content that the item stands for (an ETag, a file's size and time); any, without one.
    pub version: Option<String>,
    /// The store's own name for exactly this version, in a bucket that keeps them all.
    pub version_id: Option<String>,
    /// Its size, where the item says it.
    pub size: Option<u64>,
}

/// An input that lies ready.
pub trait Input: fmt::Debug + Send + Sync {
    /// The local file.
    fn path(&self) -> &Path;

    /// Which version was fetched, in the store's own words, for [`Inputs::regard`] in another process.
    fn seen(&self) -> serde_json::Value;

    /// Looks again: [`Error::Changed`] when the store no longer has the version that was fetched, [`Error::NotFound`] when
    /// it has none any more.
    fn verify(&self) -> BoxFuture<'_, Result<(), Error>>;
}

/// Where output goes: one root, below which every item has a [`Place`].
pub trait Outputs: fmt::Debug + Send + Sync {
    /// The place as a URI.
    fn uri(&self, place: &Place) -> String;

    /// Clears away what runs that died have left below this root. Costs next to nothing when there is nothing.
    fn sweep(&self) -> BoxFuture<'_, Result<(), Error>>;

    /// What stands at the claim's place now.
    fn look<'a>(&'a self, claim: &'a Claim) -> BoxFuture<'a, Result<Standing, Error>>;

    /// A fresh place to write into, which nobody sees until it is committed. Dropped without a commit it is removed. A store
    /// that is no file system gathers the output in `scratch`, a directory of this run's own.
    fn begin<'a>(&'a self, claim: Claim, scratch: &'a Path) -> BoxFuture<'a, Result<Box<dyn Publication>, Error>>;

    /// Keeps the account of an attempt that failed where people find it, and never where output belongs. Says where, or
    /// that nothing is kept here: on a machine's own disk `--report` does that.
    fn record<'a>(&'a self, claim: &'a Claim, account: &'a [u8]) -> BoxFuture<'a, Result<Option<String>, Error>> {
        let _ = (claim, account);
        Box::pin(async { Ok(None) })
    }

    /// Waits until whatever a publication that was dropped still does to clear up after itself is done.
    fn idle(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    /// Whether the root can be written, and what people should know about how commits work there.
    fn check(&self) -> BoxFuture<'_, Result<Vec<String>, Error>>;
}

/// Output in the making.
pub trait Publication: fmt::Debug + Send {
    /// Where to write: what lies here is published. A local directory, empty at first.
    fn dir(&self) -> &Path;

    /// Publishes all or nothing: everything is made durable, `verify` is asked as late as can be, the marker standing
    /// there is looked at, and the place is taken in one step. A store that must write over what stands there before that
    /// asks `verify` before it does, too: what stands may be of a newer input.
    ///
    /// # Errors
    /// What `verify` says; [`Error::Unpublishable`]; [`Error::Taken`]; and those of any I/O. Nothing is visible then.
    fn commit<'a>(self: Box<Self>, draft: Draft, verify: Verify<'a>) -> BoxFuture<'a, Result<Committed, Error>>;
}

/// Who wants a place, and as what.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Which place.
    pub place: Place,
    /// For which item.
    pub item: MarkedItem,
    /// Under which revision.
    pub revision: u64,
    /// The attempt's nonce.
    pub attempt: String,
    /// Which attempt at the item this is, from 1.
    pub number: u32,
    /// Signed URLs to PUT to that the item brought, by the path below the place that each is for, percent-encoded as in a
    /// marker; `_SUCCESS.json` is the marker's own. For stores where a worker has no right of its own to write. They bring
    /// signatures and choose nothing: whither output goes is said by the root and the place.
    pub uploads: BTreeMap<String, Uri>,
}

/// What a marker that stands at a claim's place is to the claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Regard {
    /// Of this item and revision. Whether what it names is there, only the store can tell.
    Same,
    /// Of the same thing, in another version or of a lower revision: to be replaced.
    Older,
    /// Of the same key, of a higher revision.
    Newer {
        /// Which.
        revision: u64,
    },
}

impl Claim {
    /// Compares the claim with the marker that stands at its place, which is called `place` in what is said of it.
    ///
    /// # Errors
    /// [`Error::Taken`] when it is the marker of another key, or of the same key in another source.
    pub fn regard(&self, marker: &Marker, place: &dyn fmt::Display) -> Result<Regard, Error> {
        if marker.item.key != self.item.key {
            return Err(Error::Taken(format!(
                "{place} holds the output of {}, so {} cannot have it; choose an --output that keeps them apart, such as \
                 {{key}}",
                marker.item.key, self.item.key
            )));
        }
        if let (Some(theirs), Some(ours)) = (&marker.item.source, &self.item.source)
            && theirs != ours
        {
            return Err(Error::Taken(format!(
                "{place} holds the output of {theirs}, so {ours} cannot have it, though both have the key {}; give each source an \
                 --output of its own, or, if that is where the input was before it was moved, delete {MARKER_FILE} there",
                self.item.key
            )));
        }
        if marker.revision > self.revision {
            return Ok(Regard::Newer { revision: marker.revision });
        }
        let same = marker.revision == self.revision && marker.item.version == self.item.version;
        Ok(if same { Regard::Same } else { Regard::Older })
    }

    /// The marker of an output of these files, committed now by this claim's attempt.
    pub fn marker(&self, outputs: Vec<Output>, result: Option<serde_json::Value>) -> Marker {
        Marker {
            kind: MarkerKind::Success,
            api_version: ApiV1::V1,
            item: self.item.clone(),
            revision: self.revision,
            attempt: self.attempt.clone(),
            committed_at: Timestamp::now(),
            outputs,
            result,
        }
    }
}

/// A marker as every store keeps it: JSON that people can read, with an end of line.
pub fn marker_json(marker: &Marker) -> Vec<u8> {
    let mut json = serde_json::to_vec_pretty(marker).expect("a marker is JSON");
    json.push(b'\n');
    json
}

/// What only the end of the work tells.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// For the marker's `result`.
    pub result: Option<serde_json::Value>,
    /// Whether no file at all is an output too.
    pub allow_empty: bool,
}

impl Draft {
    /// Whether so many files are an output.
    ///
    /// # Errors
    /// [`Error::Unpublishable`] for none, unless that was said to be right.
    pub fn admit(&self, files: usize) -> Result<(), Error> {
        if files == 0 && !self.allow_empty {
            return Err(Error::Unpublishable(
                "nothing was written to OUTPUT_DIR; if that is right for some items, say --allow-empty".to_owned(),
            ));
        }
        Ok(())
    }
}

/// What stands at a place, seen with a claim's eyes. A place taken by something else is [`Error::Taken`].
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// Nothing.
    Free,
    /// The same key's output, of another version, of a lower revision, or no longer whole: to be replaced.
    Replaceable,
    /// This item's output of this revision, whole.
    Published(Box<Marker>),
    /// The same key's output of a higher revision.
    Superseded {
        /// Which.
        revision: u64,
    },
}

/// How a commit ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Committed {
    /// By this publication.
    Published(Box<Marker>),
    /// Another attempt had committed the same item and revision before.
    Already(Box<Marker>),
    /// A higher revision stands there; nothing was changed.
    Superseded {
        /// Which.
        revision: u64,
    },
}

/// The stores a program has.
#[derive(Debug)]
pub struct Stores(Vec<Box<dyn Store>>);

impl Default for Stores {
    fn default() -> Self {
        Self(vec![Box::new(FileStore)])
    }
}

impl Stores {
    /// One store more.
    #[must_use]
    pub fn with(mut self, store: impl Store + 'static) -> Self {
        self.0.push(Box::new(store));
        self
    }

    /// Inputs below any of `roots`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a scheme without a store.
    pub fn allow(&self, roots: &[Uri]) -> Result<Allowed, Error> {
        let roots = roots.iter().map(|root| Ok((root.clone(), self.of(root)?.inputs(root)?)));
        Ok(Allowed(roots.collect::<Result<_, Error>>()?))
    }

    /// Outputs below `root`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a scheme without a store.
    pub fn outputs(&self, root: &Uri) -> Result<Box<dyn Outputs>, Error> {
        self.of(root)?.outputs(root)
    }

    fn of(&self, uri: &Uri) -> Result<&dyn Store, Error> {
        let store = self.0.iter().find(|store| store.scheme() == uri.scheme());
        store.map(AsRef::as_ref).ok_or_else(|| {
            let known: Vec<_> = self.0.iter().map(|store| format!("{}:", store.scheme())).collect();
            Error::Unsupported(format!("this build cannot reach {uri}: it has stores for {} only", known.join(" ")))
        })
    }
}

/// The roots that inputs may come from.
#[derive(Debug)]
pub struct Allowed(Vec<(Uri, Box<dyn Inputs>)>);

impl Allowed {
    /// The root that holds `uri`, and the key of `uri` there.
    ///
    /// # Errors
    /// [`Error::Forbidden`] when there is none.
    pub fn find(&self, uri: &Uri) -> Result<(&dyn Inputs, Key), Error> {
        let mut roots = self.0.iter().filter_map(|(_, inputs)| Some((inputs.as_ref(), inputs.key(uri)?)));
        roots.next().ok_or_else(|| {
            let allowed: Vec<_> = self.0.iter().map(|(root, _)| root.to_string()).collect();
            Error::Forbidden(if allowed.is_empty() {
                format!("no input may be read without --allow-input: give one that holds {uri}")
            } else {
                let up = matches!(uri, Uri::File(path) if path.components().any(|c| c == Component::ParentDir));
                let why = if up { "; a path with .. lies inside of nothing" } else { "" };
                format!("{uri} lies outside of what --allow-input names ({}){why}", allowed.join(" "))
            })
        })
    }

    /// The roots and how to reach each.
    pub fn roots(&self) -> impl Iterator<Item = (&Uri, &dyn Inputs)> {
        self.0.iter().map(|(uri, inputs)| (uri, inputs.as_ref()))
    }
}
