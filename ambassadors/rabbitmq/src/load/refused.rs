//! Messages that the broker took no room for, and when they are offered again.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

/// Before they are offered again.
const PAUSE: Duration = Duration::from_millis(500);
/// How many are offered at once: by those it is known whether there is room for more.
const SOME: usize = 100;

/// What was refused, by the numbers of lines, to be offered again in their order.
#[derive(Debug)]
pub(super) struct Refused {
    numbers: BTreeSet<u64>,
    again: Instant,
    /// Whether it was said.
    said: bool,
}

impl Default for Refused {
    fn default() -> Self {
        Self { numbers: BTreeSet::new(), again: Instant::now(), said: false }
    }
}

impl Refused {
    /// This one was refused.
    pub(super) fn add(&mut self, number: u64) {
        if !std::mem::replace(&mut self.said, true) {
            warn!(
                "the broker refuses messages, and they are offered again until it takes them: the queue is full (x-max-length with \
                 x-overflow), or too few of its nodes are there"
            );
        }
        self.numbers.insert(number);
        self.again = Instant::now() + PAUSE;
    }

    /// An answer came; whether it was the last that is waited for.
    pub(super) fn taken(&mut self, last: bool) {
        if last && self.numbers.is_empty() && std::mem::take(&mut self.said) {
            info!("the broker takes messages again");
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// When to offer some: at once where all that were offered last were taken.
    pub(super) fn again(&self) -> Instant {
        self.again
    }

    /// The first of them, which are on their way from now on.
    pub(super) fn some(&mut self) -> Vec<u64> {
        (0..SOME).map_while(|_| self.numbers.pop_first()).collect()
    }

    /// All are offered again, on another connection.
    pub(super) fn forget(&mut self) {
        self.numbers.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_comes_again_in_its_order_some_at_a_time() {
        let mut refused = Refused::default();
        let count = u64::try_from(SOME).expect("it fits") + 2;
        for number in (0..count).rev() {
            refused.add(number);
        }
        assert!(refused.again() > Instant::now());
        assert_eq!(refused.some(), (0..count - 2).collect::<Vec<_>>());
        refused.add(3);
        refused.taken(true);
        assert_eq!(refused.some(), [3, count - 2, count - 1]);
        assert!(refused.is_empty() && refused.said);
        refused.taken(false);
        assert!(refused.said, "others are on their way");
        refused.taken(true);
        assert!(!refused.said);
    }
}
