//! How a source's backend is: told by whoever watches it, heard by whoever answers for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::source::Health;

/// The health of a source that goes on answering for a while from what it saw last.
#[derive(Debug)]
pub struct Vitals {
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
    /// Nothing is known yet. Once lost, what was last seen stands for `max_stale`, and then no more, whether or not anybody says so
    /// again: a backend that hangs says nothing.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn start(max_stale: Duration) -> Arc<Self> {
        let vitals =
            Arc::new(Self { health: watch::Sender::new(Health::Starting), max_stale, history: Mutex::default() });
        if max_stale > Duration::ZERO {
            tokio::spawn(expire(Arc::downgrade(&vitals), vitals.subscribe()));
        }
        vitals
    }

    /// Hears of every change.
    pub fn subscribe(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// Nothing is known of what is there now: another backend has taken its place, or what was seen of it was never all.
    pub fn anew(&self) {
        let mut history = self.history();
        *history = History::default();
        self.say(Health::Starting);
    }

    /// Part of it was seen for the first time, and what was seen may be told. Says nothing once all was seen, or it was lost.
    pub fn indexing(&self, why: String) {
        let history = self.history();
        if !history.seen && history.lost_since.is_none() {
            self.say(Health::Indexing { why });
        }
    }

    /// All of it was seen, or all that was looked for. Whether it had been lost.
    pub fn live(&self) -> bool {
        let mut history = self.history();
        let before = std::mem::replace(&mut *history, History { seen: true, lost_since: None });
        self.say(Health::Live);
        before.lost_since.is_some()
    }

    /// It cannot be seen. Whether that is new.
    pub fn lost(&self, why: String) -> bool {
        let mut history = self.history();
        let news = history.lost_since.is_none();
        let since = *history.lost_since.get_or_insert_with(Instant::now);
        let stale = history.seen && since.elapsed() < self.max_stale;
        self.say(if stale { Health::Stale { why } } else { Health::Lost { why } });
        news
    }

    /// Whether it was lost and has not come back.
    pub fn is_lost(&self) -> bool {
        self.history().lost_since.is_some()
    }

    /// Until when what was last seen stands, while it is stale.
    fn stale_until(&self) -> Option<Instant> {
        let history = self.history();
        let stale = matches!(&*self.health.borrow(), Health::Stale { .. });
        history.lost_since.filter(|_| stale).map(|since| since + self.max_stale)
    }

    /// Says that it is lost if what was last seen stands no more.
    fn lose_stale(&self) {
        let history = self.history();
        let stale = match &*self.health.borrow() {
            Health::Stale { why } => Some(why.clone()),
            Health::Starting | Health::Indexing { .. } | Health::Live | Health::Lost { .. } => None,
        };
        if let (Some(why), Some(since)) = (stale, history.lost_since)
            && since.elapsed() >= self.max_stale
        {
            self.say(Health::Lost { why });
        }
    }

    /// To be said while the history is held, so that what is said last is what is so.
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

/// Ends what is stale when its time is over, for as long as there is anybody to tell.
async fn expire(vitals: Weak<Vitals>, mut health: watch::Receiver<Health>) {
    loop {
        health.mark_unchanged();
        let Some(until) = vitals.upgrade().map(|vitals| vitals.stale_until()) else { return };
        let over = async {
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = health.changed() => if changed.is_err() { return },
            () = over => if let Some(vitals) = vitals.upgrade() { vitals.lose_stale() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn gone() -> String {
        "gone".into()
    }

    #[tokio::test(start_paused = true)]
    async fn stale_is_for_what_was_seen_and_only_so_long() {
        let vitals = Vitals::start(HOUR);
        let health = vitals.subscribe();
        vitals.indexing("100 keys".into());
        assert!(matches!(*health.borrow(), Health::Indexing { .. }));
        assert!(vitals.lost(gone()) && vitals.is_lost());
        assert_eq!(*health.borrow(), Health::Lost { why: gone() }, "never seen whole: nothing to answer from");
        vitals.indexing("200 keys".into());
        assert_eq!(*health.borrow(), Health::Lost { why: gone() }, "found only when it was read to its end");
        assert!(vitals.live() && !vitals.is_lost());
        vitals.indexing("300 keys".into());
        assert_eq!(*health.borrow(), Health::Live);
        assert!(vitals.lost(gone()) && !vitals.lost(gone()));
        assert_eq!(*health.borrow(), Health::Stale { why: gone() });
        tokio::time::advance(HOUR).await;
        vitals.lost(gone());
        assert_eq!(*health.borrow(), Health::Lost { why: gone() });
        let vitals = Vitals::start(Duration::ZERO);
        vitals.live();
        vitals.lost(gone());
        assert_eq!(*vitals.subscribe().borrow(), Health::Lost { why: gone() });
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_stale_is_lost_when_its_time_is_over_though_nobody_says_so() {
        let vitals = Vitals::start(HOUR);
        let mut health = vitals.subscribe();
        for _ in 0..2 {
            vitals.live();
            let began = Instant::now();
            vitals.lost(gone());
            // Said again, for another reason, the time is what it was.
            tokio::time::sleep(HOUR / 2).await;
            vitals.lost("still gone".into());
            let lost = health.wait_for(|health| matches!(health, Health::Lost { .. })).await.expect("it lives").clone();
            assert_eq!(lost, Health::Lost { why: "still gone".into() });
            assert_eq!(began.elapsed().as_secs(), HOUR.as_secs());
        }
        vitals.live();
        vitals.lost(gone());
        tokio::time::sleep(HOUR / 2).await;
        vitals.live();
        tokio::time::sleep(HOUR).await;
        assert_eq!(*health.borrow(), Health::Live, "what came back stays");
    }
}
