//! Keeps the catalog: looks at the bucket again and again, for ever.

mod backoff;
mod hot;
mod outputs;
mod page;
mod scan;
mod settled;
mod stamp;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ambassador_kit::{Catalog, Vitals};
use futures_util::FutureExt;
use storage::Error;
use storage_s3::Listed;
use tokio::sync::mpsc;
use tracing::{error, info, warn};

pub(crate) use self::backoff::Backoff;
use self::hot::Hot;
use self::outputs::Outputs;
use self::scan::Seen;
pub(crate) use self::settled::SettledNow;
pub(crate) use self::stamp::{Stamp, Stamps};
use crate::args::Settings;
use crate::metrics::Metrics;
use crate::settle::Settler;
use crate::trouble;

/// What the keeper shares with those who answer requests.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Arc<Settings>,
    pub(crate) catalog: Arc<Catalog<Stamp>>,
    pub(crate) stamps: Arc<Stamps>,
    pub(crate) vitals: Arc<Vitals>,
    pub(crate) settler: Settler,
    pub(crate) settled: Arc<SettledNow>,
    pub(crate) metrics: Metrics,
}

/// Asks the keeper; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Door(mpsc::UnboundedSender<String>);

impl Door {
    /// Have a look at this key soon.
    pub(crate) fn look(&self, key: &str) {
        // Fails only when the keeper has ended, and then nobody needs it.
        let _ = self.0.send(key.to_owned());
    }
}

/// The task's own state.
#[derive(Debug)]
struct Keeper {
    shared: Shared,
    asks: mpsc::UnboundedReceiver<String>,
    backoff: Backoff,
    /// Objects that are withheld for their youth, by when they are old enough.
    young: BTreeMap<Instant, Vec<Listed>>,
    /// Withheld objects held one by one, of those that stay so; and how many more there are.
    held: u64,
    not_held: u64,
    /// Whether everything is being looked at.
    sweeping: bool,
    /// What every key that can be listed begins with.
    prefix: String,
    /// What the last look at everything cost; `None` before the first.
    seen: Option<Seen>,
    /// Where keys grew, and where the next poll goes on through all of them.
    hot: Hot,
    turn: Option<String>,
    outputs: Outputs,
}

/// Starts to read the bucket, on the runtime this is called on, until the door and its clones are dropped.
pub(crate) fn start(shared: Shared) -> Door {
    let (door, asks) = mpsc::unbounded_channel();
    let prefix = shared.settings.filter.listed_prefix();
    let keeper = Keeper {
        shared,
        asks,
        backoff: Backoff::default(),
        young: BTreeMap::new(),
        held: 0,
        not_held: 0,
        sweeping: false,
        hot: Hot::new(&prefix),
        prefix,
        seen: None,
        turn: None,
        outputs: Outputs::default(),
    };
    tokio::spawn(async move {
        if std::panic::AssertUnwindSafe(keeper.run()).catch_unwind().await.is_err() {
            // A catalog that nobody keeps is a lie; whoever supervises this process starts it anew, and nothing is lost.
            error!("a defect ended the task that reads the bucket: aborting");
            std::process::abort();
        }
    });
    Door(door)
}

impl Keeper {
    async fn run(mut self) {
        loop {
            // What was settled before this look cannot be shown by it.
            self.shared.settled.clear();
            let next = match self.scan().await {
                Ok(rest) => {
                    self.found();
                    rest
                }
                Err(error) => self.lose(&error),
            };
            self.sweeping = false;
            if self.rest(Instant::now() + next).await {
                return;
            }
        }
    }

    fn found(&mut self) {
        self.backoff.reset();
        if self.shared.vitals.live() {
            info!(bucket = self.shared.settings.bucket.name(), "the bucket is back");
        }
    }

    /// Tells everybody that the bucket cannot be seen, and says how long to wait.
    fn lose(&mut self, error: &Error) -> Duration {
        let why = sidecar::chain(error);
        self.shared.metrics.failed(trouble::reason(error));
        if self.shared.vitals.lost(why.clone()) {
            warn!(error = why, "the bucket cannot be seen: its list is kept, not served");
        }
        self.backoff.next()
    }

    /// Until `next`, doing meanwhile what falls due and what is asked for. Whether nobody is there any more to ask.
    async fn rest(&mut self, next: Instant) -> bool {
        loop {
            self.grow_up().await;
            let wake = self.young.keys().next().map_or(next, |young| next.min(*young));
            tokio::select! {
                () = tokio::time::sleep_until(wake.into()) => {
                    if Instant::now() >= next {
                        return false;
                    }
                }
                asked = self.asks.recv() => match asked {
                    Some(key) => self.look(&key).await,
                    None => return true,
                }
            }
        }
    }
}
