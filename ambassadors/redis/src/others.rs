//! Who else holds messages, and whether they live, as far as was seen.
//!
//! A lease says that somebody lived a while ago. What those hold who were not seen to live since we came is not theirs for certain: whoever
//! ends when nothing is left would end too early where they are dead, and nobody was left to take it over.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Somebody who holds messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) name: String,
    pub(crate) held: u64,
    /// Another whenever they were heard of.
    pub(crate) sign: u64,
}

/// What was seen of them.
#[derive(Debug, Default)]
pub(crate) struct Others(Mutex<HashMap<String, Seen>>);

#[derive(Clone, Copy, Debug)]
struct Seen {
    sign: u64,
    /// When that changed last, if it ever did.
    lived: Option<Instant>,
}

impl Others {
    /// How much is held by those of whom no sign was seen for longer than `patience`, or ever; signs that differ by no more than `slack`
    /// are the same.
    pub(crate) fn doubtful(&self, holders: &[Holder], slack: u64, patience: Duration) -> u64 {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|name, _| holders.iter().any(|holder| holder.name == *name));
        let mut doubtful = 0;
        for Holder { name, held, sign } in holders {
            let last = seen.entry(name.clone()).or_insert(Seen { sign: *sign, lived: None });
            if last.sign.abs_diff(*sign) > slack {
                *last = Seen { sign: *sign, lived: Some(Instant::now()) };
            }
            if last.lived.is_none_or(|lived| lived.elapsed() > patience) {
                doubtful += held;
            }
        }
        doubtful
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn holder(name: &str, held: u64, sign: u64) -> Holder {
        Holder { name: name.to_owned(), held, sign }
    }

    #[test]
    fn only_who_was_seen_to_live_is_no_doubt() {
        let others = Others::default();
        let doubtful = |all: &[Holder], patience| others.doubtful(all, 5, patience);
        assert_eq!(doubtful(&[holder("a", 1, 10), holder("b", 20, 10)], HOUR), 21, "nobody was seen twice");
        assert_eq!(doubtful(&[holder("a", 1, 16), holder("b", 20, 15)], HOUR), 20);
        assert_eq!(doubtful(&[holder("a", 1, 16), holder("b", 20, 15)], HOUR), 20, "one sign lasts a while");
        assert_eq!(doubtful(&[holder("a", 1, 16), holder("b", 20, 3)], Duration::ZERO), 21, "and not for ever");
        assert_eq!(doubtful(&[holder("b", 20, 3)], HOUR), 0);
        assert_eq!(doubtful(&[holder("a", 1, 16)], HOUR), 1, "who was gone is a stranger");
    }
}
