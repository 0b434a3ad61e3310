//! Reads the log, once and then on for ever, on a thread of its own.

mod begin;
mod session;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use self::session::{End, Session};
use super::Shared;
use crate::thread;
use crate::topic::Observer;
use crate::trouble::Trouble;

/// How soon a reader sees that nobody asks any more.
const TICK: Duration = Duration::from_millis(100);
/// Longest that brokers may take to answer what they know by heart; sooner with a shorter `--stall-after`.
const ANSWER: Duration = Duration::from_secs(10);
/// What rests between attempts double up to this.
const LONGEST_REST: Duration = Duration::from_secs(8);

/// Starts to read, until nobody asks any more.
pub(super) fn start(shared: Arc<Shared>) {
    thread::start("log-reader", move || run(&shared));
}

fn run(shared: &Shared) {
    let (mut failures, mut topics) = (0, 0);
    while !shared.is_over() {
        let read = Observer::connect(&shared.settings.cluster, shared.settings.group.as_deref()).and_then(|observer| {
            let mut session = Session::open(shared, &observer, &mut topics)?;
            failures = 0;
            session.follow()
        });
        match read {
            Ok(End::Over) => return,
            Ok(End::Anew(why)) => info!(topic = shared.settings.topic, why, "reading the topic by a new connection"),
            Err(trouble) => {
                lose(shared, &trouble);
                rest_until(shared, Instant::now() + backoff(failures));
                failures += 1;
            }
        }
    }
}

/// Tells everybody that the topic cannot be seen.
fn lose(shared: &Shared, trouble: &Trouble) {
    shared.metrics.failed(trouble.word());
    let why = trouble.to_string();
    if shared.vitals.lost(why.clone()) {
        warn!(error = why, "the topic cannot be seen: its list is kept, not served");
    }
}

/// How long to wait after so many failures in a row.
fn backoff(failures: u32) -> Duration {
    let longest = LONGEST_REST.min(Duration::from_millis(500) * 2_u32.saturating_pow(failures));
    longest.mul_f64(0.5 + fastrand::f64() / 2.0)
}

fn rest_until(shared: &Shared, until: Instant) {
    while !shared.is_over() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left.min(TICK));
    }
}
