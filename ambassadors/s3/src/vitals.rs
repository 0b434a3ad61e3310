//! How the bucket is, as the contract sees it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ambassador_kit::source::Health;
use tokio::sync::watch;

/// Said by whoever reads the bucket, heard by whoever answers for it.
#[derive(Debug)]
pub(crate) struct Vitals {
    health: watch::Sender<Health>,
    max_stale: Duration,
    history: Mutex<History>,
}

#[derive(Debug, Default)]
struct History {
    seen: bool,
    lost_since: Option<Instant>,
}

impl Vitals {
    /// Nothing is known yet. Once lost, the last list stands for `max_stale`.
    pub(crate) fn new(max_stale: Duration) -> Self {
        Self { health: watch::Sender::new(Health::Starting), max_stale, history: Mutex::default() }
    }

    /// Hears of every change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// Part of it was seen for the first time, and what was seen may be told.
    pub(crate) fn indexing(&self, why: String) {
        let history = self.history();
        if !history.seen && history.lost_since.is_none() {
            self.say(Health::Indexing { why });
        }
    }

    /// All of it was seen, or all that was looked for. Whether it had been lost.
    pub(crate) fn live(&self) -> bool {
        let before = std::mem::replace(&mut *self.history(), History { seen: true, lost_since: None });
        self.say(Health::Live);
        before.lost_since.is_some()
    }

    /// It cannot be seen. Whether that is new.
    pub(crate) fn lost(&self, why: String) -> bool {
        let mut history = self.history();
        let news = history.lost_since.is_none();
        let since = *history.lost_since.get_or_insert_with(Instant::now);
        let stale = history.seen && since.elapsed() < self.max_stale;
        drop(history);
        self.say(if stale { Health::Stale { why } } else { Health::Lost { why } });
        news
    }

    /// When what was last seen stands no more, if that is still to come.
    pub(crate) fn stale_until(&self) -> Option<Instant> {
        let history = self.history();
        let until = history.lost_since.filter(|_| history.seen)? + self.max_stale;
        (until > Instant::now()).then_some(until)
    }

    /// What was last seen stands no more.
    pub(crate) fn stale_no_more(&self) {
        let stale = match &*self.health.borrow() {
            Health::Stale { why } => Some(why.clone()),
            Health::Starting | Health::Indexing { .. } | Health::Live | Health::Lost { .. } => None,
        };
        if let Some(why) = stale {
            self.say(Health::Lost { why });
        }
    }

    fn say(&self, health: Health) {
        self.health.send_if_modified(|now| {
            let changed = *now != health;
            *now = health;
            changed
        });
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_is_for_what_was_seen_and_only_so_long() {
        let vitals = Vitals::new(Duration::from_secs(3_600));
        let health = vitals.subscribe();
        vitals.indexing("100 keys".into());
        assert!(matches!(*health.borrow(), Health::Indexing { .. }));
        assert!(vitals.lost("gone".into()));
        assert_eq!(*health.borrow(), Health::Lost { why: "gone".into() }, "never seen whole: nothing to answer from");
        vitals.indexing("200 keys".into());
        assert_eq!(*health.borrow(), Health::Lost { why: "gone".into() }, "found only when it was read to its end");
        assert!(vitals.live());
        assert!(vitals.lost("gone".into()) && !vitals.lost("gone".into()));
        assert_eq!(*health.borrow(), Health::Stale { why: "gone".into() });
        assert!(vitals.stale_until().is_some());
        let vitals = Vitals::new(Duration::ZERO);
        vitals.live();
        vitals.lost("gone".into());
        assert_eq!(*vitals.subscribe().borrow(), Health::Lost { why: "gone".into() });
        assert!(vitals.stale_until().is_none());
    }
}
