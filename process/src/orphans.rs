//! Processes that have lost their parent, and have become our children: reaped as they end. What waits for a command for hours,
//! as the first process of a container does, must not fill the process table meanwhile.

use std::collections::HashSet;
use std::convert::Infallible;

use rustix::process::getpid;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Mutex;

use crate::claim::reap_adopted;
use crate::nursery::nursery;
use crate::table;

/// Reaps those that have ended, for as long as this is polled. Whoever waits for a [`Child`](crate::Child) does so anyway; the first
/// process of a container has to while it has none, too. Of several who do, one does it at a time. To be called within a runtime
/// that has I/O enabled.
pub async fn reap_orphans() -> Infallible {
    static TURN: Mutex<()> = Mutex::const_new(());
    let _turn = TURN.lock().await;
    let Ok(mut child_ended) = signal(SignalKind::child()) else { return std::future::pending().await };
    loop {
        reap_ended();
        if child_ended.recv().await.is_none() {
            return std::future::pending().await;
        }
    }
}

/// Costs microseconds where nobody is adopted, as mostly nobody is.
fn reap_ended() {
    let adopted = nursery().others();
    if adopted.is_empty() {
        return;
    }
    let me = getpid().as_raw_nonzero().get();
    let rows: Vec<_> = adopted.into_iter().chain([me]).filter_map(table::row).collect();
    reap_adopted(&rows, &HashSet::new());
}
