//! What the broker was told of messages, and may not have heard.

use std::collections::{HashMap, VecDeque};

use contract::ItemName;

use super::Verdict;

/// Names remembered at most; the oldest make room.
const MOST: usize = 65_536;

#[derive(Debug, Default)]
pub(super) struct Told {
    /// With what was told, on which link, and as the how manieth.
    names: HashMap<ItemName, (Verdict, u64, u64)>,
    /// As they were told; what was told again since counts no more.
    order: VecDeque<(ItemName, u64)>,
    next: u64,
}

impl Told {
    /// The broker was told this of it.
    pub(super) fn add(&mut self, name: &ItemName, verdict: Verdict, link: u64) {
        self.names.insert(name.clone(), (verdict, link, self.next));
        self.order.push_back((name.clone(), self.next));
        self.next += 1;
        while self.order.len() > MOST {
            if let Some((oldest, told)) = self.order.pop_front()
                && self.names.get(&oldest).is_some_and(|(_, _, last)| *last == told)
            {
                self.names.remove(&oldest);
            }
        }
    }

    /// What may have been lost with an earlier link than this: what is told on one that goes on is heard, and then a message of the same name
    /// is another.
    pub(super) fn unheard(&self, name: &ItemName, link: u64) -> Option<Verdict> {
        self.names.get(name).filter(|(_, told, _)| *told < link).map(|(verdict, ..)| *verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_told_on_an_earlier_link_may_not_have_been_heard() {
        let (mut told, name) = (Told::default(), |n: usize| ItemName::derive(b"", n.to_string().as_bytes(), b""));
        told.add(&name(0), Verdict::Reject, 1);
        assert_eq!((told.unheard(&name(0), 1), told.unheard(&name(0), 2)), (None, Some(Verdict::Reject)));
        told.add(&name(0), Verdict::Ack, 2);
        assert_eq!((told.unheard(&name(0), 2), told.unheard(&name(0), 3)), (None, Some(Verdict::Ack)));
        for n in 1..=MOST {
            told.add(&name(n), Verdict::Ack, 2);
        }
        assert_eq!((told.unheard(&name(0), 3), told.names.len()), (None, MOST), "the oldest make room");
    }
}
