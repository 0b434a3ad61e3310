//! What was written to the dead letter key, and why. A server that forgets the last of what it was told gives it out again, as it does
//! what was done; it is to be written off again then, and not taken for done.

use std::collections::{HashMap, VecDeque};

use contract::ItemName;

/// How many are known.
const MOST: usize = 65_536;

/// The youngest of them.
#[derive(Debug, Default)]
pub(super) struct Buried {
    reasons: HashMap<ItemName, String>,
    order: VecDeque<ItemName>,
}

impl Buried {
    pub(super) fn add(&mut self, name: &ItemName, why: &str) {
        if self.reasons.insert(name.clone(), why.to_owned()).is_none() {
            self.order.push_back(name.clone());
        }
        if self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.reasons.remove(&oldest);
        }
    }

    /// Why this one was, if it was.
    pub(super) fn why(&self, name: &ItemName) -> Option<String> {
        self.reasons.get(name).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_youngest_are_known() {
        let name = |n: usize| ItemName::derive(b"", n.to_string().as_bytes(), b"");
        let mut buried = Buried::default();
        for n in 0..=MOST {
            buried.add(&name(n), "bad");
            buried.add(&name(n), "worse");
        }
        assert_eq!((buried.why(&name(0)), buried.why(&name(1)).as_deref()), (None, Some("worse")));
        assert_eq!((buried.reasons.len(), buried.order.len()), (MOST, MOST));
    }
}
