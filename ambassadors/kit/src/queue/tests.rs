use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;
use contract::ItemName;
use prometheus_client::registry::Registry;
use proptest::prelude::*;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::source::{Health, Outcome, SourceError};
use crate::{SettleArgs, SettleWhen};

const FAILED: Outcome = Outcome::Failed { reason: None };

fn window(most: u16) -> Window<u32> {
    let settling = SettleArgs { settle: SettleWhen::Manager, window_full_after: Duration::ZERO };
    let message = MessageArgs { payload: Payload::Text, max_value: ByteSize::b(8) };
    Window::new(&WindowArgs { window: most, settling }, message, &mut Registry::default())
}

fn name(n: usize) -> ItemName {
    ItemName::derive(b"", n.to_string().as_bytes(), b"")
}

fn said(value: &str) -> Said<'_> {
    Said { value: Some(value.as_bytes()), ..Said::default() }
}

fn take(window: &Window<u32>, n: usize, token: u32, again: bool) -> Taken {
    window.take(&name(n), n.to_string().as_bytes(), said("value"), Vec::new(), token, again)
}

fn begin<'a>(window: &'a Window<u32>, n: usize, outcome: &Outcome) -> Settling<'a, u32> {
    window.settle(&name(n), outcome).expect("nobody else settles it").expect("it is at hand")
}

/// All pages joined, of so many each.
fn listed(window: &Window<u32>, max: usize) -> Vec<ItemName> {
    let (mut all, mut from) = (Vec::new(), None);
    loop {
        let page = window.page(from, max);
        all.extend(page.items);
        match page.next {
            Some(next) => from = Some(next),
            None => return all,
        }
    }
}

fn withheld(window: &Window<u32>) -> Vec<(String, String)> {
    let page = window.withheld(None, usize::MAX);
    page.items.into_iter().map(|one| (one.key.to_string(), one.reason)).collect()
}

#[test]
fn what_is_taken_is_listed_until_it_is_settled_and_then_it_is_gone() {
    let window = window(3);
    assert_eq!(take(&window, 1, 10, false), Taken::Listed);
    assert_eq!(take(&window, 2, 20, false), Taken::Listed);
    assert_eq!(take(&window, 1, 11, true), Taken::Double, "what is held stays as it is");
    assert_eq!((listed(&window, 1), window.room()), (vec![name(1), name(2)], 1));
    let settling = begin(&window, 1, &Outcome::Done);
    assert_eq!(settling.token, 10);
    assert!(matches!(window.settle(&name(1), &Outcome::Done), Err(SourceError::Unavailable { .. })), "one at a time");
    drop(settling);
    assert!(window.get(&name(1)).is_ok(), "nothing came of it");
    begin(&window, 1, &Outcome::Done).done();
    assert!(matches!(window.get(&name(1)), Err(SourceError::Gone(_))));
    assert!(matches!(window.get(&name(3)), Err(SourceError::NotFound(_))));
    assert!(window.settle(&name(1), &Outcome::Done).expect("an answer").is_none(), "it is settled already");
    assert_eq!(take(&window, 1, 12, true), Taken::Settled, "it comes once more, since nobody has heard of it yet");
    assert_eq!((listed(&window, 9), window.room()), (vec![name(2)], 2));
    assert_eq!(take(&window, 1, 13, false), Taken::Listed, "another one of that name");
    assert_eq!(listed(&window, 9), [name(2), name(1)]);
}

#[test]
fn what_is_no_item_is_withheld_and_takes_a_place_until_it_is_settled() {
    let window = window(3);
    let large = window.take(&name(1), b"1", said("nine byte"), Vec::new(), 1, false);
    assert!(
        matches!(large, Taken::Withheld(why) if why.reason == "too-large" && why.message.contains("--max-value is 8"))
    );
    let why = Why { reason: "delivered-too-often", message: "why".into() };
    assert_eq!(window.withhold(&name(2), b"2", why.clone(), 2, false), Taken::Withheld(why));
    take(&window, 3, 3, false);
    begin(&window, 3, &FAILED).keep("it broke", "mend it");
    let reasons = ["too-large", "delivered-too-often", "dead-letter"];
    let expected: Vec<_> = ["1", "2", "3"].into_iter().zip(reasons).collect();
    let found = withheld(&window);
    assert_eq!(found.iter().map(|(key, why)| (key.as_str(), why.as_str())).collect::<Vec<_>>(), expected);
    assert_eq!((listed(&window, 9), window.room()), (vec![], 0));
    for n in 1..=3 {
        assert!(matches!(window.get(&name(n)), Err(SourceError::NotFound(_))));
        begin(&window, n, &Outcome::Done).done();
    }
    assert_eq!((withheld(&window), window.room()), (vec![], 3));
}

#[test]
fn a_queue_is_empty_only_if_a_look_since_the_last_item_left_found_nothing() {
    let window = window(3);
    let backlog = || (window.page(None, 9).complete, window.page(None, 9).backlog);
    assert_eq!(backlog(), (false, None), "nobody has looked yet");
    assert!(!window.had_items());
    assert!(!window.seen(window.look(), 0) && !window.had_items());
    assert_eq!((backlog(), window.health().borrow().clone()), ((true, Some(0)), Health::Live));
    take(&window, 1, 1, false);
    take(&window, 2, 2, false);
    let before = window.look();
    begin(&window, 1, &Outcome::Done).done();
    window.seen(before, 0);
    assert_eq!(backlog(), (true, Some(0)), "there is one still");
    window.lose(&name(2));
    assert_eq!(backlog(), (true, Some(1)), "it is back in the queue");
    window.seen(before, 0);
    assert_eq!(backlog(), (true, Some(1)), "that look began before");
    window.seen(window.look(), 7);
    assert_eq!(backlog(), (true, Some(7)));
    window.seen(window.look(), 0);
    assert_eq!(backlog(), (true, Some(0)));
    // What is withheld is no item: whether there is one behind it is as unsure.
    take(&window, 3, 3, false);
    begin(&window, 3, &FAILED).keep("it broke", "mend it");
    assert_eq!(backlog(), (true, Some(1)));
    assert!(window.lost("it is away".into()) && !window.lost("it is away".into()));
    assert_eq!(backlog(), (false, None));
    assert!(window.seen(window.look(), 0) && window.had_items());
}

/// What was settled late: with which token, and how.
type Late = (ItemName, u32, Outcome);

async fn next(late: &mut UnboundedReceiver<Late>) -> Option<Late> {
    tokio::time::timeout(Duration::from_secs(60), late.recv()).await.expect("one is settled late")
}

/// Settles late by the window alone, and tells of it.
fn settled_late(window: &Arc<Window<u32>>) -> UnboundedReceiver<Late> {
    let (tell, told) = unbounded_channel();
    window.settle_late(window, move |window, name, outcome| {
        let tell = tell.clone();
        async move {
            if let Some(settling) = window.settle(&name, &outcome)? {
                tell.send((name, settling.token, outcome)).map_err(|error| SourceError::Internal(error.into()))?;
                settling.done();
            }
            Ok(())
        }
    });
    told
}

#[tokio::test]
async fn what_is_settled_before_it_comes_is_settled_when_it_comes_and_so_is_what_comes_again_meanwhile() {
    let window = Arc::new(window(3));
    let mut late = settled_late(&window);
    assert!(window.settle(&name(1), &FAILED).expect("an answer").is_none(), "nothing of that name is at hand");
    assert_eq!(take(&window, 1, 10, false), Taken::Listed);
    assert_eq!(next(&mut late).await, Some((name(1), 10, FAILED)));
    assert_eq!(take(&window, 1, 11, true), Taken::Settled);

    // Lost while it is settled: it may come again, since the broker may not have heard of it.
    take(&window, 2, 20, false);
    let settling = begin(&window, 2, &Outcome::Done);
    assert_eq!(window.lose(&name(2)), Some(20));
    settling.done();
    assert_eq!(take(&window, 2, 21, true), Taken::Settled);

    // Lost and taken again while it is settled, with another token.
    take(&window, 3, 30, false);
    let settling = begin(&window, 3, &Outcome::Done);
    window.lose(&name(3));
    assert_eq!(take(&window, 3, 31, true), Taken::Listed);
    settling.done();
    assert_eq!(next(&mut late).await, Some((name(3), 31, Outcome::Done)));

    take(&window, 4, 40, false);
    let settling = begin(&window, 4, &FAILED);
    window.lose(&name(4));
    settling.keep("it broke", "mend it");
    take(&window, 4, 41, true);
    assert_eq!(next(&mut late).await, Some((name(4), 41, FAILED)));
    assert_eq!((listed(&window, 9), window.room()), (vec![], 3));
}

#[tokio::test]
async fn room_is_waited_for_until_something_leaves() {
    let window = Arc::new(window(1));
    window.has_room().await;
    take(&window, 1, 1, false);
    let waiting = Arc::clone(&window);
    let waiter = tokio::spawn(async move { waiting.has_room().await });
    tokio::task::yield_now().await;
    assert!(!waiter.is_finished());
    window.look();
    assert_eq!(withheld(&window), [("window".to_owned(), "window-full".to_owned())]);
    begin(&window, 1, &Outcome::Done).done();
    let woken = tokio::time::timeout(Duration::from_secs(60), waiter).await.expect("it is told of the room");
    woken.expect("there is room");
    assert_eq!(withheld(&window), []);
}

#[tokio::test]
async fn room_that_is_hardly_any_is_not_worth_asking_for_more() {
    let window = window(8);
    for n in 0..7 {
        take(&window, n, 1, false);
    }
    assert!(futures_util::FutureExt::now_or_never(window.has_room()).is_none(), "for one of eight");
    begin(&window, 0, &Outcome::Done).done();
    assert!(futures_util::FutureExt::now_or_never(window.has_room()).is_some(), "for two");
}

/// What a model of a broker and its consumer does.
#[derive(Clone, Debug)]
enum Step {
    /// A message is published.
    Publish,
    /// The broker hands one of those that wait over.
    Deliver(usize),
    /// Somebody settles a message that was published, whether it is at hand or not.
    Settle {
        which: usize,
        failed: bool,
    },
    /// The connection is lost, between the broker's being told and the window's or not.
    Break {
        which: usize,
        told: bool,
    },
    /// A look begins, or ends.
    Look,
    Seen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Publish),
        5 => any::<usize>().prop_map(Step::Deliver),
        4 => (any::<usize>(), any::<bool>()).prop_map(|(which, failed)| Step::Settle { which, failed }),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(which, told)| Step::Break { which, told }),
        2 => Just(Step::Look),
        2 => Just(Step::Seen),
    ]
}

/// A broker, as far as a window can see it.
#[derive(Debug, Default)]
struct Broker {
    published: usize,
    waiting: BTreeSet<usize>,
    /// What was handed over and is not acknowledged: message, tag.
    unacked: Vec<(usize, u32)>,
    handed_over: BTreeSet<usize>,
    acked: BTreeSet<usize>,
    next_tag: u32,
}

impl Broker {
    /// By its tag, which must be of this connection.
    fn ack(&mut self, tag: u32) {
        let at =
            self.unacked.iter().position(|(_, of)| *of == tag).expect("the tag is of a message that is handed over");
        let (n, _) = self.unacked.remove(at);
        assert!(self.acked.insert(n), "{n} is acknowledged once");
    }

    fn is_empty(&self, kept: &BTreeSet<usize>) -> bool {
        self.waiting.is_empty() && self.unacked.iter().all(|(n, _)| kept.contains(n))
    }
}

proptest! {
    /// Whatever happens, the window lists what the broker has handed over and was not settled, in that order, and no item is given
    /// to anybody after it was settled.
    #[test]
    fn a_window_shows_what_its_broker_handed_over(steps in proptest::collection::vec(step(), 1..60)) {
        let (window, mut broker) = (window(4), Broker::default());
        let (mut settled, mut failed, mut kept) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut looks = Vec::new();
        let mut seen_empty = false;
        for step in steps {
            match step {
                Step::Publish => {
                    broker.waiting.insert(broker.published);
                    broker.published += 1;
                }
                Step::Deliver(which) if window.room() > 0 && !broker.waiting.is_empty() => {
                    let n = *broker.waiting.iter().nth(which % broker.waiting.len()).expect("it waits");
                    broker.waiting.remove(&n);
                    broker.next_tag += 1;
                    let (tag, again) = (broker.next_tag, !broker.handed_over.insert(n));
                    broker.unacked.push((n, tag));
                    match take(&window, n, tag, again) {
                        Taken::Listed => prop_assert!(!kept.contains(&n), "{} has failed for good", n),
                        Taken::Withheld(why) => prop_assert!(kept.contains(&n) && why.reason == "dead-letter"),
                        Taken::Settled => {
                            prop_assert!(settled.contains(&n));
                            broker.ack(tag);
                        }
                        Taken::Double => prop_assert!(false, "{} was lost", n),
                    }
                    // As `settle_late` does, in the next moment.
                    if let Some(outcome) = window.remembered.take(&name(n)) {
                        prop_assert!(settled.contains(&n) || failed.contains(&n));
                        finish(&window, &mut broker, &mut kept, n, &outcome);
                    }
                    prop_assert!(!settled.contains(&n) || broker.acked.contains(&n), "{} is worked on again", n);
                }
                Step::Settle { which, failed: fails } if broker.published > 0 => {
                    let n = which % broker.published;
                    let outcome = if fails && !settled.contains(&n) { FAILED } else { Outcome::Done };
                    if outcome == FAILED { failed.insert(n); } else { settled.insert(n); }
                    finish(&window, &mut broker, &mut kept, n, &outcome);
                }
                Step::Break { which, told } => {
                    let settling = (told && !broker.unacked.is_empty()).then(|| {
                        let n = broker.unacked[which % broker.unacked.len()].0;
                        settled.insert(n);
                        kept.remove(&n);
                        begin(&window, n, &Outcome::Done)
                    });
                    for (n, _) in std::mem::take(&mut broker.unacked) {
                        prop_assert!(window.lose(&name(n)).is_some());
                        broker.waiting.insert(n);
                    }
                    if let Some(settling) = settling {
                        settling.done();
                    }
                }
                Step::Look => looks.push((window.look(), broker.waiting.len() as u64, broker.is_empty(&kept))),
                Step::Seen => {
                    if let Some((look, waiting, empty)) = looks.pop() {
                        looks.clear();
                        window.seen(look, waiting);
                        seen_empty = empty;
                    }
                }
                Step::Deliver(_) | Step::Settle { .. } => {}
            }
            let held = |n: &usize| !kept.contains(n);
            let expected: Vec<_> = broker.unacked.iter().map(|(n, _)| *n).filter(held).map(name).collect();
            for max in 1..=4 {
                prop_assert_eq!(&listed(&window, max), &expected, "{} at a time", max);
            }
            prop_assert_eq!(window.room(), 4 - broker.unacked.len());
            let page = window.page(None, 9);
            if page.items.is_empty() && page.complete && page.backlog == Some(0) {
                prop_assert!(seen_empty, "it was not seen empty");
            }
        }
    }
}

/// Settles `n`, and tells the broker.
fn finish(window: &Window<u32>, broker: &mut Broker, kept: &mut BTreeSet<usize>, n: usize, outcome: &Outcome) {
    let Some(settling) = window.settle(&name(n), outcome).expect("nobody else settles it") else { return };
    match outcome {
        Outcome::Done => {
            broker.ack(settling.token);
            kept.remove(&n);
            settling.done();
        }
        Outcome::Failed { .. } => {
            kept.insert(n);
            settling.keep("it broke", "mend it");
        }
    }
}
