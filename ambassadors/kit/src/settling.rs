//! When an item counts as settled that nobody settles: managers that only list and get, over a source that consumes.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use contract::wire::Withheld;
use contract::{ItemName, Key};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use sidecar::cli::value;
use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::source::{Outcome, Source, SourceError};

/// After how long a settlement that failed is tried again.
const RETRY: Duration = Duration::from_secs(2);
/// How often a window that stays full is spoken of.
const AGAIN: Duration = Duration::from_secs(600);

/// Flags of ambassadors whose source consumes what it lists.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Settling")]
pub struct SettleArgs {
    /// When an item is done: `manager`: when the manager says so (DELETE); `on-get`: when it was got, whatever becomes of it then;
    /// `after:10m`: so long after it was last got. The last two are for managers that never settle; each can settle all the same.
    #[arg(long, value_name = "WHEN", default_value = "manager")]
    pub settle: SettleWhen,
    /// After how long a full window of which nothing is settled is told of: in the log, as withheld and as a metric.
    #[arg(long, value_name = "DURATION", value_parser = value::positive_duration, default_value = "5m")]
    pub window_full_after: Duration,
}

/// When an item counts as settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SettleWhen {
    /// When the manager says so.
    #[default]
    Manager,
    /// When it was got.
    OnGet,
    /// So long after it was last got.
    After(Duration),
}

impl FromStr for SettleWhen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "manager" => Ok(Self::Manager),
            None if text == "on-get" => Ok(Self::OnGet),
            Some(("after", duration)) => value::positive_duration(duration).map(Self::After),
            _ => Err("manager, on-get, or after: with a duration, such as after:10m".to_owned()),
        }
    }
}

/// Settles what was got, as far as [`SettleWhen`] says so.
#[derive(Debug)]
pub(crate) struct Settler<S> {
    source: Arc<S>,
    when: SettleWhen,
    /// Holds every settlement under way.
    settling: TaskTracker,
    /// What is to be settled by itself.
    timers: Mutex<HashMap<ItemName, AbortHandle>>,
}

impl<S: Source> Settler<S> {
    pub(crate) fn new(source: Arc<S>, when: SettleWhen, settling: TaskTracker) -> Arc<Self> {
        Arc::new(Self { source, when, settling, timers: Mutex::default() })
    }

    /// An item was read, and is about to be given. With `on-get` it is not given unless it could be settled.
    pub(crate) async fn got(self: &Arc<Self>, name: &ItemName) -> Result<(), SourceError> {
        match self.when {
            SettleWhen::Manager => Ok(()),
            SettleWhen::OnGet => self.settle(name.clone(), Outcome::Done).await,
            SettleWhen::After(pause) => {
                let (this, settled) = (Arc::clone(self), name.clone());
                // Held until it is noted: what is over at once takes its note away after that, and none stays.
                let mut timers = self.timers();
                let timer = tokio::spawn(async move {
                    tokio::time::sleep(pause).await;
                    while let Err(error) = this.settle_now(settled.clone(), Outcome::Done).await {
                        warn!(item = %settled, %error, "what was got could not be settled yet");
                        tokio::time::sleep(RETRY).await;
                    }
                    this.timers().remove(&settled);
                });
                if let Some(before) = timers.insert(name.clone(), timer.abort_handle()) {
                    before.abort();
                }
                Ok(())
            }
        }
    }

    /// Settles, to its end whether or not the asker still waits.
    pub(crate) async fn settle(self: &Arc<Self>, name: ItemName, outcome: Outcome) -> Result<(), SourceError> {
        if let Some(timer) = self.timers().remove(&name) {
            timer.abort();
        }
        self.settle_now(name, outcome).await
    }

    async fn settle_now(self: &Arc<Self>, name: ItemName, outcome: Outcome) -> Result<(), SourceError> {
        let source = Arc::clone(&self.source);
        let settlement = self.settling.spawn(async move { source.settle(&name, &outcome).await });
        settlement.await.unwrap_or_else(|died| Err(SourceError::Internal(Box::new(died))))
    }

    fn timers(&self) -> MutexGuard<'_, HashMap<ItemName, AbortHandle>> {
        self.timers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sees to it that a window is not full in silence: nothing more comes then, and where nobody settles, nothing ever will.
#[derive(Debug)]
pub struct Fullness {
    after: Duration,
    gauge: Gauge,
    state: Mutex<Full>,
}

#[derive(Debug, Default)]
struct Full {
    /// Since when it is full and nothing was settled.
    since: Option<Instant>,
    /// When it was last spoken of.
    told: Option<Instant>,
}

impl Fullness {
    /// Tells of a window that is full for so long, and registers `window_full`.
    pub fn new(after: Duration, registry: &mut Registry) -> Self {
        let gauge = Gauge::default();
        registry.register(
            "window_full",
            "1 while the window is full and nothing of it is settled, for longer than --window-full-after",
            gauge.clone(),
        );
        Self { after, gauge, state: Mutex::default() }
    }

    /// Whether there is room. To be called every second or so.
    pub fn saw(&self, full: bool) {
        let mut state = self.state();
        if !full {
            *state = Full::default();
            self.gauge.set(0);
            return;
        }
        let now = Instant::now();
        let since = *state.since.get_or_insert(now);
        if now - since < self.after {
            return;
        }
        self.gauge.set(1);
        if state.told.is_none_or(|told| now - told >= AGAIN) {
            state.told = Some(now);
            warn!(
                since = ?now - since,
                "the window is full and nothing of it is settled: nothing more comes. A manager that only gets items wants \
                 --settle on-get or --settle after:10m; one that works on them for long wants a larger window"
            );
        }
    }

    /// Something was settled.
    pub fn settled(&self) {
        let mut state = self.state();
        if state.told.is_some() {
            info!("something of the full window was settled");
        }
        *state = Full { since: state.since.map(|_| Instant::now()), told: None };
        self.gauge.set(0);
    }

    /// What is told of it as withheld, where there is something to tell.
    pub fn withheld(&self) -> Option<Withheld> {
        self.state().told.map(|_| Withheld {
            key: Key::new(b"window"),
            reason: "window-full".to_owned(),
            message: "the window is full and nothing of it is settled, so nothing more comes: see --settle and the size of the window"
                .to_owned(),
            pending: false,
            since: None,
        })
    }

    fn state(&self) -> MutexGuard<'_, Full> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_is_said_in_three_ways() {
        assert_eq!("manager".parse(), Ok(SettleWhen::Manager));
        assert_eq!("on-get".parse(), Ok(SettleWhen::OnGet));
        assert_eq!("after:10m".parse(), Ok(SettleWhen::After(Duration::from_secs(600))));
        for wrong in ["", "after", "after:", "after:0s", "after:-1s", "on-get:1s", "never"] {
            assert!(wrong.parse::<SettleWhen>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_window_is_full_in_silence_only_for_a_while() {
        let now = Fullness::new(Duration::ZERO, &mut Registry::default());
        now.saw(false);
        assert_eq!((now.withheld(), now.gauge.get()), (None, 0));
        now.saw(true);
        assert_eq!((now.withheld().map(|one| one.reason), now.gauge.get()), (Some("window-full".to_owned()), 1));
        now.settled();
        assert_eq!((now.withheld(), now.gauge.get()), (None, 0));
        now.saw(true);
        now.saw(false);
        assert_eq!((now.withheld(), now.gauge.get()), (None, 0));
        let later = Fullness::new(Duration::from_secs(3_600), &mut Registry::default());
        later.saw(true);
        assert_eq!((later.withheld(), later.gauge.get()), (None, 0));
    }
}
