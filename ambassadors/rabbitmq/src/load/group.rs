//! Messages that are on their way together, and what became of each.
//!
//! What no queue takes, the broker returns before it confirms it; but lapin gives a returned message to whichever confirm it completes next,
//! and those that the broker completes at once it completes in any order. So none counts as taken before all that were on their way with
//! it are answered, and which of them came back is known by what it says.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::{BoxFuture, ready};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use lapin::message::BasicReturnMessage;
use lapin::options::BasicPublishOptions;
use lapin::{Channel, Confirmation};

use super::{Destination, Letter};

/// What the broker says to a message.
pub(super) type Answer = (Arc<Letter>, lapin::Result<Confirmation>);

#[derive(Default)]
pub(super) struct Group {
    under_way: FuturesUnordered<BoxFuture<'static, Answer>>,
    answered: Answered,
}

/// Those that have their answers, by the numbers of their lines.
#[derive(Default)]
struct Answered {
    taken: BTreeMap<u64, Arc<Letter>>,
    refused: BTreeMap<u64, Arc<Letter>>,
    returned: Vec<BasicReturnMessage>,
}

/// What became of a group, by the numbers of lines.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) taken: Vec<u64>,
    /// The broker has no room for them.
    pub(super) refused: Vec<u64>,
    /// No queue takes them.
    pub(super) unroutable: Vec<u64>,
    /// One came back that is none of those that were sent: from which line to which it may have been.
    pub(super) doubtful: Option<(u64, u64)>,
}

impl Group {
    /// How many were sent.
    pub(super) fn sent(&self) -> usize {
        self.under_way.len() + self.answered.taken.len() + self.answered.refused.len()
    }

    /// Whether none waits for its answer.
    pub(super) fn is_answered(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Publishes a message, in the order of calls.
    pub(super) fn post(&mut self, channel: &Channel, to: &Destination, letter: &Arc<Letter>) {
        let publishing = publishing(channel.clone(), to.clone(), Arc::clone(letter));
        let mut publishing: BoxFuture<'static, Answer> = Box::pin(publishing);
        // What is asked once is on its way; the answer is for others to wait for.
        self.under_way.push(match (&mut publishing).now_or_never() {
            Some(answer) => Box::pin(ready(answer)),
            None => publishing,
        });
    }

    /// The next answer; none where none is waited for.
    pub(super) async fn next(&mut self) -> Option<Answer> {
        self.under_way.next().await
    }

    /// This one is confirmed, or refused; with it, or with any other, comes what was returned.
    pub(super) fn note(&mut self, letter: Arc<Letter>, confirmation: Confirmation) {
        let Answered { taken, refused, returned } = &mut self.answered;
        let of = if confirmation.is_ack() { taken } else { refused };
        of.insert(letter.number, letter);
        returned.extend(confirmation.take_message());
    }

    /// What became of all of them, once all are answered. It is empty then.
    pub(super) fn outcome(&mut self) -> Outcome {
        std::mem::take(&mut self.answered).outcome()
    }
}

impl Answered {
    fn outcome(mut self) -> Outcome {
        let mut outcome = Outcome::default();
        let mut unknown = false;
        for message in &self.returned {
            let same = |(number, letter): (&u64, &Arc<Letter>)| letter.is(message).then_some(*number);
            let found = self.taken.iter().find_map(same).or_else(|| self.refused.iter().find_map(same));
            let Some(number) = found else {
                unknown = true;
                continue;
            };
            self.taken.remove(&number);
            self.refused.remove(&number);
            outcome.unroutable.push(number);
        }
        let ends = self.taken.keys().next().copied().zip(self.taken.keys().next_back().copied());
        if unknown && ends.is_some() {
            outcome.doubtful = ends;
            self.taken.clear();
        }
        outcome.taken.extend(self.taken.into_keys());
        outcome.refused.extend(self.refused.into_keys());
        outcome
    }
}

/// Publishes a message, and waits until the broker has it, or says why it has not.
async fn publishing(channel: Channel, to: Destination, letter: Arc<Letter>) -> Answer {
    let options = BasicPublishOptions { mandatory: true, immediate: false };
    let (exchange, key) = (to.exchange.as_str().into(), to.routing_key.as_str().into());
    let answer = match channel.basic_publish(exchange, key, options, &letter.body, letter.properties.clone()).await {
        Ok(confirm) => confirm.await,
        Err(error) => Err(error),
    };
    (letter, answer)
}

#[cfg(test)]
mod tests {
    use lapin::BasicProperties;
    use lapin::message::Delivery;

    use super::*;

    fn letter(number: u64, id: &str, body: &str) -> Arc<Letter> {
        let properties = BasicProperties::default().with_message_id(id.into());
        Arc::new(Letter { number, properties, body: body.into() })
    }

    fn returned(letter: &Letter) -> BasicReturnMessage {
        let mut delivery = Delivery::mock(0, "".into(), "".into(), false, letter.body.clone());
        delivery.properties = letter.properties.clone();
        BasicReturnMessage { delivery, reply_code: 312, reply_text: "NO_ROUTE".into() }
    }

    #[test]
    fn what_came_back_is_known_by_what_it_says_whoever_it_came_with() {
        let letters =
            [letter(1, "a", "x"), letter(2, "b", "x"), letter(3, "b", "y"), letter(4, "b", "x"), letter(5, "c", "z")];
        let outcome = |confirmations: [Confirmation; 5]| {
            let mut group = Group::default();
            for (letter, confirmation) in letters.iter().zip(confirmations) {
                group.note(Arc::clone(letter), confirmation);
            }
            assert_eq!(group.sent(), 5);
            let outcome = group.outcome();
            assert_eq!(group.sent(), 0);
            outcome
        };
        let with = |at: usize| Some(returned(&letters[at]));
        let (ack, nack) = (Confirmation::Ack, Confirmation::Nack);
        assert_eq!(
            outcome([ack(None), ack(None), ack(None), nack(None), ack(None)]),
            Outcome { taken: vec![1, 2, 3, 5], refused: vec![4], ..Outcome::default() }
        );
        // Lines 3, then one of 2 and 4, which are the same; one of them comes with a refusal.
        assert_eq!(
            outcome([ack(with(2)), ack(None), ack(None), ack(None), nack(with(3))]),
            Outcome { taken: vec![1, 4], refused: vec![5], unroutable: vec![3, 2], doubtful: None }
        );
        let other = Some(returned(&letter(9, "d", "x")));
        assert_eq!(
            outcome([nack(other), ack(None), ack(with(4)), ack(None), ack(None)]),
            Outcome { taken: vec![], refused: vec![1], unroutable: vec![5], doubtful: Some((2, 4)) }
        );
    }
}
