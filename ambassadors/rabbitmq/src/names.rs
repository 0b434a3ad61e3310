//! How messages are named, and known again when they come again.

use std::collections::{BTreeMap, HashMap, VecDeque};

use contract::ItemName;
use lapin::message::Delivery;
use lapin::types::FieldTable;
use sha2::{Digest, Sha256};

use crate::args::Identity;
use crate::message::{ADDED, identity};

/// Names remembered at most, of each kind; the oldest make room.
const MOST: usize = 65_536;

/// What a message without an identity says, whole, in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Print([u8; 16]);

/// The names of one queue's messages.
///
/// A message that is known by something has a name that depends on that and on its body alone: somebody may give all his messages one id.
/// One that is not is given a name when it comes; when its channel was lost and it comes again, it has the name of one that was lost and
/// said the same: two messages that say the same are the same work, and each is done once for each that is acknowledged.
#[derive(Debug)]
pub(crate) struct Names {
    source_id: String,
    queue: String,
    identity: Identity,
}

/// By what a message is known.
#[derive(Clone, Debug)]
pub(crate) enum Known {
    /// By its name, whenever and wherever it comes.
    By(ItemName),
    /// By what it says alone.
    Says(Print),
}

/// Names of messages that had no identity and were lost, by what they said, the first that came first.
#[derive(Debug, Default)]
pub(crate) struct Lost {
    /// With the how manieth each was that was lost.
    names: HashMap<Print, VecDeque<(ItemName, u64)>>,
    /// As they were lost; what came again since counts no more.
    order: VecDeque<(Print, u64)>,
    next: u64,
}

impl Names {
    /// Of this queue.
    pub(crate) fn new(source_id: &str, queue: &str, identity: Identity) -> Self {
        Self { source_id: source_id.to_owned(), queue: queue.to_owned(), identity }
    }

    /// By what a message is known that came.
    pub(crate) fn known(&self, delivery: &Delivery) -> Known {
        match identity(delivery, &self.identity) {
            None => Known::Says(print(delivery)),
            Some(identity) => {
                let length = (identity.len() as u64).to_be_bytes();
                Known::By(self.derive(&[b"i", &length, &identity, &Sha256::digest(&delivery.data)]))
            }
        }
    }

    /// One that nothing has yet.
    pub(crate) fn new_name(&self) -> ItemName {
        self.derive(&[b"d", &fastrand::u128(..).to_be_bytes()])
    }

    fn derive(&self, identity: &[&[u8]]) -> ItemName {
        ItemName::derive(self.source_id.as_bytes(), self.queue.as_bytes(), &identity.concat())
    }
}

impl Lost {
    /// This one was lost with its channel, and comes again, here or elsewhere.
    pub(crate) fn add(&mut self, print: Print, name: ItemName) {
        self.names.entry(print).or_default().push_back((name, self.next));
        self.order.push_back((print, self.next));
        self.next += 1;
        while self.order.len() > MOST {
            let Some((oldest, lost)) = self.order.pop_front() else { break };
            self.retain(oldest, |(_, number)| *number != lost);
        }
    }

    /// The first that was lost and said this.
    pub(crate) fn claim(&mut self, print: Print) -> Option<ItemName> {
        let (name, _) = self.names.get_mut(&print)?.pop_front()?;
        self.retain(print, |_| true);
        Some(name)
    }

    /// This one does not come again: the broker was told of it just before.
    pub(crate) fn found(&mut self, print: Print, name: &ItemName) {
        self.retain(print, |(lost, _)| lost != name);
    }

    /// Whatever has not come by now is somebody else's.
    pub(crate) fn forget(&mut self) {
        self.names.clear();
        self.order.clear();
    }

    fn retain(&mut self, print: Print, stays: impl FnMut(&(ItemName, u64)) -> bool) {
        let Some(names) = self.names.get_mut(&print) else { return };
        names.retain(stays);
        if names.is_empty() {
            self.names.remove(&print);
        }
    }
}

/// Of all that whoever sent it said, and nothing that the broker adds.
fn print(delivery: &Delivery) -> Print {
    let headers = delivery.properties.headers().iter().flat_map(FieldTable::inner);
    let own = headers.filter(|(name, _)| !ADDED.contains(&name.as_str()));
    let own: BTreeMap<_, _> = own.map(|(name, value)| (name.clone(), value.clone())).collect();
    let properties = delivery.properties.clone().with_headers(own.into());
    let mut hasher = Sha256::new();
    for part in [delivery.exchange.as_str(), delivery.routing_key.as_str(), &format!("{properties:?}")] {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.update(&delivery.data);
    let digest = hasher.finalize();
    Print(*digest.first_chunk().expect("a SHA-256 has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use lapin::BasicProperties;
    use lapin::types::AMQPValue;

    use super::*;

    fn delivery(body: &str, id: Option<&str>, redelivered: bool) -> Delivery {
        let mut delivery = Delivery::mock(1, "".into(), "q".into(), redelivered, body.into());
        if let Some(id) = id {
            delivery.properties = BasicProperties::default().with_message_id(id.into());
        }
        delivery
    }

    fn says(names: &Names, body: &str) -> Print {
        match names.known(&delivery(body, None, false)) {
            Known::Says(print) => print,
            Known::By(name) => panic!("{name} is known"),
        }
    }

    #[test]
    fn a_message_with_an_id_has_one_name_whenever_it_comes() {
        let names = Names::new("/", "Media.Videos", Identity::MessageId);
        let of = |names: &Names, body, id, again| match names.known(&delivery(body, Some(id), again)) {
            Known::By(name) => name,
            Known::Says(_) => panic!("it has an id"),
        };
        let name = of(&names, "a", "1", false);
        assert!(name.as_str().starts_with("media-videos-"), "{name}");
        assert_eq!(of(&names, "a", "1", true), name);
        assert_ne!(of(&names, "b", "1", true), name, "an id that all have is none");
        assert_ne!(of(&names, "a", "2", false), name);
        assert_ne!(of(&Names::new("other", "Media.Videos", Identity::MessageId), "a", "1", false), name);
    }

    #[test]
    fn a_message_without_one_has_the_name_of_one_that_was_lost_and_said_the_same() {
        let names = Names::new("/", "q", Identity::MessageId);
        let (mut lost, [a, b, c]) = (Lost::default(), [(), (), ()].map(|()| names.new_name()));
        let (one, other) = (says(&names, "a"), says(&names, "b"));
        for name in [&a, &b, &c] {
            lost.add(one, name.clone());
        }
        assert_eq!(lost.claim(other), None, "what says something else is another");
        // The broker was told that it is done as its channel ended: those after it come alone.
        lost.found(one, &a);
        assert_eq!([lost.claim(one), lost.claim(one), lost.claim(one)], [Some(b.clone()), Some(c), None]);

        lost.add(one, a.clone());
        lost.forget();
        assert_eq!(lost.claim(one), None);
        for _ in 0..3 {
            lost.add(one, a.clone());
            for _ in 1..MOST {
                lost.add(other, b.clone());
                assert!(lost.claim(other).is_some(), "what came again takes nobody's place");
            }
            assert_eq!(lost.claim(one), Some(a.clone()));
        }
        for _ in 0..=MOST {
            lost.add(one, b.clone());
        }
        assert_eq!(lost.names[&one].len(), MOST);
    }

    #[test]
    fn what_a_queue_counts_does_not_make_another_message_of_it() {
        let mut counted = delivery("a", None, true);
        let mut table = FieldTable::default();
        table.insert("x-delivery-count".into(), AMQPValue::LongLongInt(1));
        let bare = delivery("a", None, false);
        let empty = BasicProperties::default().with_headers(FieldTable::default());
        counted.properties = BasicProperties::default().with_headers(table);
        let mut same = delivery("a", None, false);
        same.properties = empty;
        assert_eq!(print(&counted), print(&same));
        assert_eq!(print(&counted), print(&bare), "a queue gives headers to a message that had none");
    }
}
