//! How the folder is, as the contract sees it: and whether the one thread that reads it still gets answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ambassador_kit::source::Health;
use tokio::sync::{Notify, watch};

/// Shared by the thread that reads the folder, its watchdog, and whoever asks.
#[derive(Debug)]
pub(crate) struct Vitals {
    folder: Arc<ambassador_kit::Vitals>,
    born: Instant,
    /// Milliseconds since `born` at which the thread last got an answer; 0 while it asks for none.
    beat: AtomicU64,
    working: Notify,
    stalled: AtomicBool,
}

/// While the outermost of these lives, answers are expected.
#[derive(Debug)]
pub(crate) struct Working<'a>(Option<&'a Vitals>);

impl Vitals {
    /// Nothing is known yet. Once lost, the last list stands for `max_stale`.
    ///
    /// # Panics
    /// Outside a runtime.
    pub(crate) fn new(max_stale: Duration) -> Self {
        Self {
            folder: ambassador_kit::Vitals::start(max_stale),
            born: Instant::now(),
            beat: AtomicU64::new(0),
            working: Notify::new(),
            stalled: AtomicBool::new(false),
        }
    }

    /// Hears of every change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Health> {
        self.folder.subscribe()
    }

    /// The whole folder was seen.
    pub(crate) fn live(&self) {
        self.folder.live();
    }

    /// It cannot be seen.
    pub(crate) fn lost(&self, why: String) {
        self.folder.lost(why);
    }

    /// Whether it was lost and has not come back.
    pub(crate) fn is_lost(&self) -> bool {
        self.folder.is_lost()
    }

    /// The thread begins to ask the file system, or goes on to.
    pub(crate) fn work(&self) -> Working<'_> {
        let outermost = self.beat.load(Ordering::Relaxed) == 0;
        self.answered();
        if outermost {
            self.working.notify_one();
        }
        Working(outermost.then_some(self))
    }

    /// The file system answered.
    pub(crate) fn answered(&self) {
        let millis = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.beat.store(millis.max(1), Ordering::Relaxed);
    }

    /// Whether an answer was so long in coming that the folder was said to be lost; asked once.
    pub(crate) fn take_stalled(&self) -> bool {
        self.stalled.swap(false, Ordering::Relaxed)
    }

    /// Says that the folder is lost whenever an answer takes longer than `stall_after`. Costs nothing while nothing is
    /// asked.
    pub(crate) async fn watch_for_stalls(self: Arc<Self>, stall_after: Duration) {
        let tick = (stall_after / 4).max(Duration::from_millis(10));
        loop {
            self.working.notified().await;
            loop {
                tokio::time::sleep(tick).await;
                let beat = self.beat.load(Ordering::Relaxed);
                if beat == 0 {
                    break;
                }
                if self.born.elapsed().saturating_sub(Duration::from_millis(beat)) >= stall_after {
                    self.stalled.store(true, Ordering::Relaxed);
                    self.lost(format!(
                        "the folder has not answered for more than {} (is its file server there?)",
                        humantime::format_duration(stall_after)
                    ));
                }
            }
        }
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        if let Some(vitals) = self.0 {
            vitals.beat.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_system_that_does_not_answer_is_lost_and_found() {
        let vitals = Arc::new(Vitals::new(Duration::ZERO));
        vitals.live();
        let mut health = vitals.subscribe();
        let dog = tokio::spawn(Arc::clone(&vitals).watch_for_stalls(Duration::ZERO));
        let work = vitals.work();
        health.wait_for(|h| matches!(h, Health::Lost { why } if why.contains("answered"))).await.expect("heard of it");
        drop(work);
        assert!(vitals.take_stalled() && vitals.is_lost());
        vitals.live();
        assert_eq!(*health.borrow(), Health::Live);
        dog.abort();
    }
}
