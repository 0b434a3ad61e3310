//! What was settled and is not done with: names that were not at hand, and native items that failed and were told to stay.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use contract::ItemName;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tracing::warn;

use crate::source::{Outcome, SourceError};

/// Names remembered at most; the oldest make room.
const MOST: usize = 10_000;
/// How long a name is remembered.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// What was settled, by name and, with its version `V`, by native key. In memory only: after a restart a manager settles again
/// whatever is listed again. Cheap to clone; clones share it.
///
/// A settle may come before its item does, and the two in the same instant, from different threads. Neither is missed as long as
/// whoever settles asks [`find_or_remember`](Self::find_or_remember), and whoever lists says [`turned_up`](Self::turned_up)
/// once it is listed.
#[derive(Debug)]
pub struct Remembered<V>(Arc<Shared<V>>);

#[derive(Debug)]
struct Shared<V> {
    inner: Mutex<Inner<V>>,
    late: UnboundedSender<ItemName>,
    /// Until somebody settles them.
    lates: Mutex<Option<UnboundedReceiver<ItemName>>>,
}

#[derive(Debug)]
struct Inner<V> {
    outcomes: HashMap<ItemName, (Outcome, Instant)>,
    order: VecDeque<(ItemName, Instant)>,
    stays: HashMap<Box<[u8]>, V>,
}

impl<V> Default for Remembered<V> {
    fn default() -> Self {
        let (late, lates) = unbounded_channel();
        let inner = Inner { outcomes: HashMap::new(), order: VecDeque::new(), stays: HashMap::new() };
        Self(Arc::new(Shared { inner: Mutex::new(inner), late, lates: Mutex::new(Some(lates)) }))
    }
}

impl<V> Clone for Remembered<V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<V: PartialEq> Remembered<V> {
    /// What `find` finds of a name that is settled, to be settled now. `None` if nothing of that name is listed: it is remembered
    /// then, and settled when it [turns up](Self::turned_up).
    ///
    /// # Errors
    /// Those of `find`, but for [`SourceError::Gone`] and [`SourceError::NotFound`].
    pub fn find_or_remember<E>(
        &self,
        name: &ItemName,
        outcome: &Outcome,
        find: impl Fn() -> Result<E, SourceError>,
    ) -> Result<Option<E>, SourceError> {
        match find() {
            Err(SourceError::Gone(_) | SourceError::NotFound(_)) => {}
            found => return found.map(Some),
        }
        self.settle(name, outcome);
        // It may have been listed since, by somebody who looked at what is remembered just before this was.
        match find() {
            Ok(found) if self.take(name).is_some() => Ok(Some(found)),
            _ => Ok(None),
        }
    }

    /// This item is listed from now on: if it was settled before, it is now. To be said after it is listed, and not before.
    pub fn turned_up(&self, name: &ItemName) {
        if self.was_settled(name) {
            // Fails only where nobody settles any more.
            let _ = self.0.late.send(name.clone());
        }
    }

    /// Has `settle` settle what [turned up](Self::turned_up) late, on the runtime this is called on, as long as there is a `source`
    /// to do it; again and again while it says [`SourceError::Unavailable`]. To be called once.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn settle_late<S, F>(&self, source: &Arc<S>, settle: impl Fn(Arc<S>, ItemName, Outcome) -> F + Send + 'static)
    where
        S: Send + Sync + 'static,
        F: Future<Output = Result<(), SourceError>> + Send,
        V: Send + 'static,
    {
        let Some(mut lates) = self.0.lates.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let (remembered, source) = (Arc::downgrade(&self.0), Arc::downgrade(source));
        tokio::spawn(async move {
            while let Some(name) = lates.recv().await {
                let (Some(remembered), Some(source)) = (remembered.upgrade().map(Self), source.upgrade()) else {
                    return;
                };
                let Some(outcome) = remembered.take(&name) else { continue };
                match settle(source, name.clone(), outcome.clone()).await {
                    Ok(()) => {}
                    Err(SourceError::Unavailable { why, retry }) => {
                        warn!(%name, why, "an item that was settled before it turned up could not be settled yet");
                        remembered.settle_after(retry, name, outcome);
                    }
                    Err(error) => {
                        warn!(%name, %error, "an item that was settled before it turned up could not be settled");
                    }
                }
            }
        });
    }

    /// Remembers it again, unless it was settled anew meanwhile, and takes it for turned up once more in a while. Others are settled meanwhile.
    fn settle_after(&self, pause: Duration, name: ItemName, outcome: Outcome)
    where
        V: Send + 'static,
    {
        if !self.was_settled(&name) {
            self.settle(&name, &outcome);
        }
        let remembered = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            if let Some(remembered) = remembered.upgrade() {
                Self(remembered).turned_up(&name);
            }
        });
    }

    /// This name was settled and nothing of that name is listed.
    pub fn settle(&self, name: &ItemName, outcome: &Outcome) {
        let mut inner = self.lock();
        let now = Instant::now();
        inner.order.push_back((name.clone(), now));
        inner.outcomes.insert(name.clone(), (outcome.clone(), now));
        while let Some((name, at)) = inner.order.front().cloned() {
            if inner.order.len() <= MOST && at.elapsed() < LONGEST {
                break;
            }
            inner.order.pop_front();
            if inner.outcomes.get(&name).is_some_and(|(_, last)| *last == at) {
                inner.outcomes.remove(&name);
            }
        }
    }

    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        let inner = self.lock();
        inner.outcomes.is_empty() && inner.stays.is_empty()
    }

    /// Whether this name was settled before it was listed.
    pub fn was_settled(&self, name: &ItemName) -> bool {
        self.lock().outcomes.get(name).is_some_and(|(_, at)| at.elapsed() < LONGEST)
    }

    /// How it was settled; from now on it is not remembered.
    pub fn take(&self, name: &ItemName) -> Option<Outcome> {
        self.lock().outcomes.remove(name).map(|(outcome, _)| outcome)
    }

    /// This version of a native item failed for good, and stays where it is.
    pub fn stay(&self, key: &[u8], version: V) {
        self.lock().stays.insert(key.into(), version);
    }

    /// Whether it did. Another version of it has not.
    pub fn stays(&self, key: &[u8], version: V) -> bool {
        let mut inner = self.lock();
        let stays = inner.stays.get(key).map(|stays| *stays == version);
        if stays == Some(false) {
            inner.stays.remove(key);
        }
        stays == Some(true)
    }

    fn lock(&self) -> MutexGuard<'_, Inner<V>> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn name(key: &str) -> ItemName {
        ItemName::derive(b"", key.as_bytes(), b"")
    }

    #[test]
    fn what_is_listed_while_its_settle_is_written_down_is_settled_by_whoever_comes_first() {
        let (remembered, a) = (Remembered::<()>::default(), name("a"));
        let looks = Cell::new(0);
        let listed_at = |look: u32| {
            let (looks, a) = (&looks, &a);
            looks.set(0);
            move || {
                looks.set(looks.get() + 1);
                if looks.get() < look { Err(SourceError::NotFound(a.clone())) } else { Ok("it") }
            }
        };
        let find = |look| remembered.find_or_remember(&a, &Outcome::Done, listed_at(look)).expect("an answer");
        assert_eq!((find(1), remembered.was_settled(&a)), (Some("it"), false));
        assert_eq!(find(2), Some("it"), "it was listed in that very moment, by somebody who knew of no settle");
        assert!(!remembered.was_settled(&a), "nobody is to settle what turns up of that name later");
        assert_eq!((find(3), remembered.was_settled(&a)), (None, true), "it waits");
        // Listed in that very moment, by somebody who has settled it by now.
        let listed = Cell::new(false);
        let taken = remembered.find_or_remember(&a, &Outcome::Done, || {
            let listed = listed.replace(true);
            if !listed {
                return Err(SourceError::Gone(a.clone()));
            }
            remembered.take(&a);
            Ok("it")
        });
        assert_eq!((taken.expect("an answer"), remembered.was_settled(&a)), (None, false));
        let lost = || Err::<(), _>(SourceError::Unavailable { why: String::new(), retry: LONGEST });
        assert!(remembered.find_or_remember(&a, &Outcome::Done, lost).is_err() && !remembered.was_settled(&a));
    }

    #[tokio::test]
    async fn what_turns_up_late_is_settled_once_as_it_was_meant() {
        let (remembered, source) = (Remembered::<()>::default(), Arc::new(()));
        let (tell, mut told) = unbounded_channel();
        let failed = Outcome::Failed { reason: None };
        remembered.settle(&name("late"), &failed);
        remembered.turned_up(&name("late"));
        remembered.turned_up(&name("late"));
        remembered.turned_up(&name("never settled"));
        remembered.settle_late(&source, move |_, name, outcome| {
            let sent = tell.send((name, outcome));
            async move { sent.map_err(|error| SourceError::Internal(error.into())) }
        });
        remembered.settle(&name("later"), &Outcome::Done);
        remembered.turned_up(&name("later"));
        assert_eq!(told.recv().await, Some((name("late"), failed)));
        assert_eq!(told.recv().await, Some((name("later"), Outcome::Done)));
        drop((remembered, source));
        assert_eq!(told.recv().await, None, "nobody waits for more");
    }

    #[tokio::test]
    async fn what_cannot_be_settled_yet_is_settled_later_and_holds_up_nothing() {
        let (remembered, source) = (Remembered::<()>::default(), Arc::new(AtomicU32::new(0)));
        let (tell, mut told) = unbounded_channel();
        remembered.settle_late(&source, move |refusals, name, outcome| {
            let refuse = name == self::name("refused") && refusals.fetch_add(1, Ordering::Relaxed) < 3;
            let answer = match refuse {
                true => Err(SourceError::Unavailable { why: "away".into(), retry: Duration::from_millis(10) }),
                false => tell.send((name, outcome)).map_err(|error| SourceError::Internal(error.into())),
            };
            async move { answer }
        });
        for which in ["refused", "other"] {
            remembered.settle(&name(which), &Outcome::Done);
            remembered.turned_up(&name(which));
        }
        let mut next =
            async || tokio::time::timeout(Duration::from_secs(60), told.recv()).await.expect("one is settled");
        assert_eq!(next().await, Some((name("other"), Outcome::Done)));
        assert_eq!(next().await, Some((name("refused"), Outcome::Done)));
        assert!(source.load(Ordering::Relaxed) == 4 && remembered.is_empty(), "it is settled once");
    }

    #[test]
    fn memory_is_bounded_and_the_youngest_stay() {
        let remembered = Remembered::<u64>::default();
        let name = |n: usize| name(&n.to_string());
        for n in 0..MOST + 5 {
            remembered.settle(&name(n), &Outcome::Done);
            remembered.settle(&name(MOST + 4), &Outcome::Done);
        }
        assert!(remembered.was_settled(&name(MOST + 4)));
        assert!(!remembered.was_settled(&name(0)));
        assert!(remembered.lock().outcomes.len() <= MOST);
        assert_eq!(remembered.take(&name(MOST + 4)), Some(Outcome::Done));
        assert_eq!(remembered.take(&name(MOST + 4)), None);
    }

    #[test]
    fn only_the_version_that_failed_stays() {
        let remembered = Remembered::default();
        remembered.stay(b"k", 1);
        assert!(remembered.stays(b"k", 1));
        assert!(!remembered.stays(b"k", 2));
        assert!(!remembered.stays(b"k", 1));
    }
}
