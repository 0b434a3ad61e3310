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
    lost: Lost,
}

/// Names of messages that had no identity and were lost, by what they said, the first that came first.
#[derive(Debug, Default)]
struct Lost {
    names: HashMap<Print, VecDeque<ItemName>>,
    order: VecDeque<Print>,
}

impl Names {
    /// Of this queue.
    pub(crate) fn new(source_id: &str, queue: &str, identity: Identity) -> Self {
        Self { source_id: source_id.to_owned(), queue: queue.to_owned(), identity, lost: Lost::default() }
    }

    /// The name of a message that came; with what it says, if that is all that is known of it.
    pub(crate) fn of(&mut self, delivery: &Delivery) -> (ItemName, Option<Print>) {
        if let Some(identity) = identity(delivery, &self.identity) {
            let length = (identity.len() as u64).to_be_bytes();
            return (self.derive(&[b"i", &length, &identity, &Sha256::digest(&delivery.data)]), None);
        }
        let print = print(delivery);
        let known = if delivery.redelivered { self.lost.claim(print) } else { None };
        (known.unwrap_or_else(|| self.derive(&[b"d", &fastrand::u128(..).to_be_bytes()])), Some(print))
    }

    /// This one was lost with its channel, and comes again, here or elsewhere.
    pub(crate) fn lose(&mut self, name: ItemName, print: Print) {
        self.lost.add(print, name);
    }

    fn derive(&self, identity: &[&[u8]]) -> ItemName {
        ItemName::derive(self.source_id.as_bytes(), self.queue.as_bytes(), &identity.concat())
    }
}

impl Lost {
    fn add(&mut self, print: Print, name: ItemName) {
        self.names.entry(print).or_default().push_back(name);
        self.order.push_back(print);
        while self.order.len() > MOST {
            let Some(oldest) = self.order.pop_front() else { break };
            self.claim(oldest);
        }
    }

    fn claim(&mut self, print: Print) -> Option<ItemName> {
        let names = self.names.get_mut(&print)?;
        let name = names.pop_front();
        if names.is_empty() {
            self.names.remove(&print);
        }
        name
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

    #[test]
    fn a_message_with_an_id_has_one_name_and_one_without_has_its_own_until_it_is_lost() {
        let mut names = Names::new("/", "Media.Videos", Identity::MessageId);
        let (name, print) = names.of(&delivery("a", Some("1"), false));
        assert!(name.as_str().starts_with("media-videos-") && print.is_none(), "{name}");
        assert_eq!(names.of(&delivery("a", Some("1"), true)).0, name);
        assert_ne!(names.of(&delivery("b", Some("1"), true)).0, name, "an id that all have is none");
        assert_ne!(names.of(&delivery("a", Some("2"), false)).0, name);
        assert_ne!(
            Names::new("other", "Media.Videos", Identity::MessageId).of(&delivery("a", Some("1"), false)).0,
            name
        );

        let mut bare = |body, redelivered| {
            let (name, print) = names.of(&delivery(body, None, redelivered));
            (name, print.expect("it says nothing else"))
        };
        let ((a, says_a), (b, _)) = (bare("a", false), bare("a", false));
        assert_ne!(a, b);
        assert_eq!(bare("a", true).1, says_a);
        names.lose(a.clone(), says_a);
        names.lose(b.clone(), says_a);
        let mut again = |body, redelivered| names.of(&delivery(body, None, redelivered)).0;
        assert!(![&a, &b].contains(&&again("a", false)), "what comes for the first time is none that was lost");
        assert!(![&a, &b].contains(&&again("b", true)), "what says something else is another");
        assert_eq!(
            [again("a", true), again("a", true)],
            [a.clone(), b.clone()],
            "in the order in which they were lost"
        );
        assert!(![&a, &b].contains(&&again("a", true)));
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
