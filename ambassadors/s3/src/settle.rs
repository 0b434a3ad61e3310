//! What becomes of objects whose items are settled: the object is looked at, and acted on if it is what the name stands for, on a
//! condition wherever the store takes one.

mod mark;
mod policy;
mod probe;
mod tagged;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ambassador_kit::catalog::Why;
use ambassador_kit::source::{Outcome, SourceError};
use ambassador_kit::{Remembered, Turns};
use contract::ItemName;
use contract::wire::Settle;
use sidecar::fault;
use storage::Error;
use storage_s3::{Bucket, Condition, Copied, Deleted, Destination, Head, Listed, Origin, Tagged, Which};
use tracing::info;

use self::mark::Mark;
use self::policy::Action;
pub(crate) use self::policy::{OnSettle, Policy, SettleArgs, SettleError};
pub(crate) use self::probe::Honoured;
use self::tagged::Marks;
use crate::args::Settings;
use crate::filter::Verdict;
use crate::item::{find, listed};
use crate::trouble::unavailable;

/// Most objects of one key that are told apart by a number where they are moved to.
const MOST: u32 = 1_000;
/// Metadata of a moved object: which version of which key it was.
const WAS: &str = "longshore-settled";

const NOT_OFFERED: SourceError = SourceError::Unsupported(
    "this bucket is read only: start with --on-settle delete, tag:K=V or move:PREFIX to settle items",
);

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// The object is listed no more: it was acted on, or there was none.
    Over,
    /// Another version stands there; it was left alone.
    Superseded,
    /// It stays where it is, and is withheld.
    Kept(Why),
}

/// Settles items. Cheap to clone; clones share what they remember.
#[derive(Clone, Debug)]
pub(crate) struct Settler(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Arc<Settings>,
    /// Names that were settled before they were listed.
    remembered: Remembered<()>,
    /// Names that were settled here. Whoever has lost the reply asks again, which says nothing of what is uploaded later under
    /// the same name.
    finished: Remembered<()>,
    marks: Marks,
    turns: Turns,
}

impl Settler {
    /// One that begins to find out, on the runtime this is called on, what the store honours.
    pub(crate) fn new(settings: Arc<Settings>) -> Self {
        if settings.settle.on_settle != OnSettle::None {
            probe::start(&settings);
        }
        Self(Arc::new(Inner {
            settings,
            remembered: Remembered::default(),
            finished: Remembered::default(),
            marks: Marks::default(),
            turns: Turns::default(),
        }))
    }

    /// As `GET /v1` says it.
    pub(crate) fn policy(&self) -> Settle {
        self.0.settings.honoured.settles(&self.0.settings.settle.on_settle)
    }

    /// Settles the item `name`, which the object at `key` is or was.
    ///
    /// # Errors
    /// [`SourceError::Unavailable`]: it is to be asked again. [`SourceError::Unsupported`] without a policy.
    pub(crate) async fn settle(&self, name: &ItemName, key: &str, outcome: &Outcome) -> Result<Settled, SourceError> {
        let inner = &*self.0;
        let Settings { bucket, naming, settle, .. } = &*inner.settings;
        let action = settle.action(key, outcome).ok_or(NOT_OFFERED)?;
        let _turn = inner.turns.take(name)?;
        let Some(head) = find(&inner.settings, key).await.map_err(|error| unavailable(&error))? else {
            inner.finished.settle(name, outcome);
            return Ok(Settled::Over);
        };
        if naming.name(key, &head.etag, head.version_id.as_deref()).as_ref() != Ok(name) {
            info!(%name, key, "settled a version that is no more: the new one is left alone");
            return Ok(Settled::Superseded);
        }
        // By a raw name anything could be asked for; what is not listed is nobody's to settle.
        if inner.settings.filter.judge(&listed(key, &head), bucket.s3().now()) != Verdict::Item {
            return Ok(Settled::Superseded);
        }
        let settled = match &action {
            Action::Delete => delete(bucket, key, &head).await,
            Action::Move(to) => move_to(bucket, key, &head, to, &settle.destination(to)).await,
            Action::Tag(tag, value) => inner.tag(key, &head, tag, value).await,
            Action::Keep => Ok(inner.keep(key, &head)),
        };
        let settled = settled.map_err(|error| unavailable(&error))?;
        if settled != Settled::Superseded {
            inner.finished.settle(name, outcome);
        }
        info!(%name, key, ?action, ?settled, "settled");
        Ok(settled)
    }

    /// As [`Remembered::find_or_remember`], of an item that was not settled here before.
    pub(crate) fn find_or_remember<E>(
        &self,
        name: &ItemName,
        outcome: &Outcome,
        find: impl Fn() -> Result<E, SourceError>,
    ) -> Result<Option<E>, SourceError> {
        if self.0.finished.was_settled(name) {
            return match find() {
                Err(SourceError::Gone(_) | SourceError::NotFound(_)) => Ok(None),
                found => found.map(Some),
            };
        }
        self.0.remembered.find_or_remember(name, outcome, find)
    }

    /// As [`Remembered::turned_up`].
    pub(crate) fn turned_up(&self, name: &ItemName) {
        self.0.remembered.turned_up(name);
    }

    /// As [`Remembered::settle_late`].
    pub(crate) fn settle_late<S, F>(
        &self,
        source: &Arc<S>,
        settle: impl Fn(Arc<S>, ItemName, Outcome) -> F + Send + 'static,
    ) where
        S: Send + Sync + 'static,
        F: Future<Output = Result<(), SourceError>> + Send,
    {
        self.0.remembered.settle_late(source, settle);
    }

    /// Why an object that could be listed is not: it was settled to where it lies, failed and stays, or was found to be output.
    pub(crate) fn withheld(&self, object: &Listed) -> Option<Why> {
        let (inner, policy) = (&*self.0, &self.0.settings.settle);
        let content = inner.settings.naming.content(&object.etag, object.version_id.as_deref());
        inner.marks.of(&object.key, content).map(|mark| mark.why(&policy.on_settle))
    }

    /// Where settled objects are tagged: asks for the tags of `objects`, which no listing shows, so that [`withheld`](Self::withheld)
    /// knows. One request each.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn learn(&self, objects: impl Iterator<Item = &Listed> + Send) -> Result<(), Error> {
        match &self.0.settings.settle.on_settle {
            OnSettle::Tag(tag, done) => self.0.marks.ask(&self.0.settings, objects, tag, done).await,
            OnSettle::None | OnSettle::Delete | OnSettle::Move(_) => Ok(()),
        }
    }

    /// A look at everything begins, which asks whether each object that it meets is [`withheld`](Self::withheld).
    pub(crate) fn begin_look(&self) {
        self.0.marks.begin();
    }

    /// It has met everything: what is gone needs not be known any more.
    pub(crate) fn end_look(&self) {
        self.0.marks.end();
    }

    /// What stands at `key` was found to be output of a worker, which no listing shows.
    pub(crate) fn found_output(&self, key: &str, head: &Head) {
        self.0.mark(key, head, Mark::Output);
    }
}

impl Inner {
    fn mark(&self, key: &str, head: &Head, mark: Mark) {
        self.marks.set(key, self.settings.naming.content(&head.etag, head.version_id.as_deref()), mark);
    }

    /// Leaves an object that failed for good where it is, and lists it no more.
    fn keep(&self, key: &str, head: &Head) -> Settled {
        self.mark(key, head, Mark::Stays);
        Settled::Kept(Mark::Stays.why(&self.settings.settle.on_settle))
    }

    async fn tag(&self, key: &str, head: &Head, tag: &str, value: &str) -> Result<Settled, Error> {
        let bucket = &self.settings.bucket;
        fault::point("s3.settle.tag.before").map_err(pass)?;
        let tags = BTreeMap::from([(tag.to_owned(), value.to_owned())]);
        let which = head.version_id.as_deref().map_or(Which::Etag(&head.etag), Which::Version);
        match bucket.set_tags(key, which, &tags).await {
            Ok(Tagged::Yes { .. }) => {}
            Ok(Tagged::Changed) | Err(Error::NotFound(_)) => return Ok(Settled::Superseded),
            Err(Error::Invalid(refused)) => {
                let hint = "an object can have 10 tags: take one away, or settle by delete or move";
                return Err(Error::Invalid(format!("{refused}; {hint}")));
            }
            Err(error) => return Err(error),
        }
        fault::point("s3.settle.tag.after").map_err(pass)?;
        let mark = if value == policy::FAILED { Mark::Failed } else { Mark::Done };
        self.mark(key, head, mark);
        Ok(Settled::Kept(mark.why(&self.settings.settle.on_settle)))
    }
}

/// In a bucket that keeps versions this makes a delete marker: to take the version itself away would have the one before it stand
/// there again, and be listed.
async fn delete(bucket: &Bucket, key: &str, head: &Head) -> Result<Settled, Error> {
    fault::point("s3.settle.delete.before").map_err(pass)?;
    let settled = match bucket.delete(key, Which::Etag(&head.etag)).await? {
        Deleted::Yes { .. } => Settled::Over,
        Deleted::Changed => Settled::Superseded,
    };
    fault::point("s3.settle.delete.after").map_err(pass)?;
    Ok(settled)
}

/// Copies to `to`, or to that with a number if something else stands there, and then deletes. Killed in between, the next settle
/// knows its copy again, and what it has left open by a note below `notes`.
async fn move_to(bucket: &Bucket, key: &str, head: &Head, to: &str, notes: &str) -> Result<Settled, Error> {
    let was = contract::name::hash(&[key.as_bytes(), head.etag.as_bytes()]);
    let marks = HashMap::from([(WAS.to_owned(), was.clone())]);
    let which = head.version_id.as_deref().map_or(Which::Etag(&head.etag), Which::Version);
    fault::point("s3.settle.copy.before").map_err(pass)?;
    for n in 0..MOST {
        let to = if n == 0 { to.to_owned() } else { format!("{to}.{n}") };
        let there = Destination { key: &to, condition: &Condition::Absent, marks: &marks, notes };
        match bucket.copy(Origin { key, which }, there).await {
            Ok(Copied::Yes { .. }) => return delete(bucket, key, head).await,
            Ok(Copied::Changed) | Err(Error::NotFound(_)) => return Ok(Settled::Superseded),
            Ok(Copied::Conflict) => {}
            Err(error) => return Err(error),
        }
        match bucket.head(&to, None).await {
            Ok(there) if there.metadata.get(WAS) == Some(&was) => return delete(bucket, key, head).await,
            Ok(_) => {}
            Err(Error::NotFound(_)) => {
                let why =
                    format!("cannot move {} to {}: something came and went there", bucket.uri(key), bucket.uri(&to));
                return Err(Error::Busy(why));
            }
            Err(error) => return Err(error),
        }
    }
    Err(Error::Busy(format!("cannot move {}: {MOST} others stand at {}", bucket.uri(key), bucket.uri(to))))
}

fn pass(source: std::io::Error) -> Error {
    Error::Io { doing: "pass a fault point".to_owned(), source }
}
