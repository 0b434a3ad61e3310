//! Brokers that go away, stand still, take nothing or are cut off, and come back: what was listed stays what it was, and is never said to
//! be nothing.

use std::time::{Duration, Instant};

use longshore_tests::{Ambassador, Loader, Watched, numbered, until};
use serde_json::{Value, json};
use test_servers::{RabbitMq, Relay, Server};

use crate::program::{command, serving};
use crate::queue::Queue;

/// What an item is that was lost with its channel, until it comes again.
const LOST: [u16; 1] = [410];

fn at<'a>(rabbit: &'a RabbitMq, name: &str) -> Queue<'a> {
    Queue { rabbit, name: name.to_owned() }
}

fn loading(queue: &Queue<'_>) -> Loader {
    Loader::start(command(queue, &["--load", "-", "--heartbeat", "20s"]))
}

/// It is never said that there is nothing, and nothing behind it: what is on its way is no item yet.
async fn never_said_nothing(watched: Watched) {
    let lists = watched.end().await;
    assert!(!lists.iter().any(|list| list.names == 0 && list.is_all), "{lists:?}");
}

mod needs_rabbitmq {
    use super::*;

    /// How a broker goes, what is said then, and how it comes back.
    type Way = (fn(&mut RabbitMq), &'static str, fn(&mut RabbitMq));

    /// One broker for all of it: each start takes its time. Messages of the second queue have no ids.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_broker_that_is_stopped_stands_still_or_is_killed_has_lost_nothing_when_it_is_back() {
        const ALL: usize = 40;
        // The last of them.
        const KILLED: usize = 2;
        let ways: [Way; 3] = [
            (RabbitMq::stop, "cannot", RabbitMq::restart),
            (|rabbit| rabbit.pause(), "cannot", |rabbit| rabbit.resume()),
            (RabbitMq::kill, "no broker answers", RabbitMq::restart),
        ];
        let mut rabbit = RabbitMq::start(&[]);
        let quorum = Queue::of(&rabbit, json!({"x-queue-type": "quorum"})).name;
        let bare = Queue::of(&rabbit, json!({})).name;
        let message = |n| json!({"body": format!("item-{n}"), "message_id": format!("{n}")});
        at(&rabbit, &quorum).publish(&(0..ALL).map(message).collect::<Vec<_>>());
        at(&rabbit, &bare).publish(&(0..ALL).map(|n| json!({"body": format!("item-{n}")})).collect::<Vec<_>>());
        let flags = ["--window", "20", "--heartbeat", "2s"];
        let programs = [serving(&at(&rabbit, &quorum), &flags).await, serving(&at(&rabbit, &bare), &flags).await];
        let mut values = [Vec::new(), Vec::new()];
        for (round, (go, says, come)) in ways.into_iter().enumerate() {
            let mut before = Vec::new();
            for program in &programs {
                let names = program.holds(20).await;
                program.ready(200).await;
                let first = program.values(&names[..1]).await;
                before.push((names, first, Watched::start(program)));
            }
            go(&mut rabbit);
            for (program, (names, ..)) in programs.iter().zip(&before) {
                program.is_red(says).await;
                let (status, body) = program.ask("/v1/items").await.expect("an answer");
                assert_eq!(status, 503, "{body}");
                // Nobody can be told of it; what is not at hand is remembered, or refused.
                let answer = program.settle(&names[0]).await;
                assert!(matches!(answer, Some(204 | 503)), "{answer:?}");
            }
            come(&mut rabbit);
            for ((program, (names, first, watched)), values) in programs.iter().zip(before).zip(&mut values) {
                program.ready(200).await;
                // One that was killed gives first what it had not given to anybody, or what it has forgotten to be settled.
                let is_orderly = round != KILLED;
                // The first may be settled by now, and make room for another.
                let kept = until("what was listed before", async || {
                    let listed = program.names().await.filter(|listed| listed.len() == 20)?;
                    let kept: Vec<_> = listed.into_iter().filter(|name| names[1..].contains(name)).collect();
                    (kept.len() == 19 || !is_orderly).then_some(kept)
                })
                .await;
                assert!(
                    !is_orderly || kept == names[1..],
                    "names are what they were, in their order: {kept:?} {names:?}"
                );
                program.settles(&names[0]).await;
                values.extend(first);
                never_said_nothing(watched).await;
            }
        }
        for (((program, values), name), forgets) in programs.iter().zip(values).zip([&quorum, &bare]).zip([false, true])
        {
            let mut all = [values, program.drained(&LOST).await].concat();
            let mut expected = numbered(0..ALL);
            all.sort_unstable();
            expected.sort_unstable();
            let settled = all.len();
            all.dedup();
            assert_eq!(all, expected, "none is lost");
            // The last one was settled before it was there again, and may have been seen for a moment when it was.
            let most = 1 + if forgets { KILLED } else { 0 };
            assert!(settled - ALL <= most, "{} were settled again", settled - ALL);
            assert_eq!(at(&rabbit, name).drain(), Vec::<Value>::new(), "and nothing is left");
        }
    }

    /// Both take long in which little is done.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_full_disk_is_waited_for_and_a_minute_of_silence_survived() {
        let rabbit = RabbitMq::start(&[]);
        let (loaded, served) = (Queue::of(&rabbit, json!({})).name, Queue::of(&rabbit, json!({})).name);

        let mut loader = loading(&at(&rabbit, &loaded));
        loader.feed(numbered(0..500));
        until("the first lines", async || (at(&rabbit, &loaded).depth() == 500).then_some(())).await;
        rabbit.disk_alarm(true);
        loader.feed(numbered(500..1_500));
        loader.says("the broker takes no messages now").await;
        assert_eq!(at(&rabbit, &loaded).depth(), 500, "nothing is taken meanwhile");
        rabbit.disk_alarm(false);
        loader.says("the broker takes messages again").await;
        loader.ends().await;
        assert_eq!(at(&rabbit, &loaded).take(1_500), numbered(0..1_500), "each once, in order");

        at(&rabbit, &served).fill(30);
        let loader = loading(&at(&rabbit, &loaded));
        loader.feed(numbered(0..100));
        until("the first lines", async || (at(&rabbit, &loaded).depth() == 100).then_some(())).await;
        let program = serving(&at(&rabbit, &served), &["--window", "20", "--heartbeat", "20s"]).await;
        let names = program.holds(20).await;
        let watched = Watched::start(&program);
        rabbit.pause();
        let begun = Instant::now();
        loader.feed(numbered(100..300));
        program.is_red("cannot").await;
        assert_eq!(program.ask("/v1/items").await.expect("an answer").0, 503);
        tokio::time::sleep(Duration::from_secs(60).saturating_sub(begun.elapsed())).await;
        rabbit.resume();
        program.ready(200).await;
        assert_eq!(program.holds(20).await, names, "names are what they were, in their order");
        never_said_nothing(watched).await;
        let mut values = program.drained(&LOST).await;
        values.sort_unstable();
        let mut expected: Vec<_> = (0..30).map(|n| format!("item {n}")).collect();
        expected.sort_unstable();
        assert_eq!(values, expected, "each once");
        loader.ends().await;
        let there = at(&rabbit, &loaded).drain();
        let body = |message: &Value| {
            let bytes = data_encoding::BASE64.decode(message["base64"].as_str().expect("text").as_bytes());
            String::from_utf8(bytes.expect("base64")).expect("text")
        };
        let different: std::collections::BTreeSet<_> = there.iter().map(body).collect();
        assert_eq!(different, numbered(0..300).into_iter().collect(), "none is lost");
        println!("{} of 300 were published again", there.len() - 300);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn connections_that_are_cut_in_the_middle_of_deliveries_lose_nothing_and_repeat_nothing() {
        const ALL: usize = 600;
        // Each pause before the next connection is twice as long.
        const CUTS: usize = 5;
        let queue = Queue::new();
        let pad = "x".repeat(1_000);
        // Every second one has no id.
        let messages = (0..ALL).map(|n| match n % 2 {
            0 => json!({"body": format!("item-{n}-{pad}"), "message_id": n.to_string()}),
            _ => json!({"body": format!("item-{n}-{pad}")}),
        });
        queue.publish(&messages.collect::<Vec<_>>());
        let relay = Relay::before(&queue.rabbit.address());
        let mut command = command(&queue, &["--window", "50"]);
        command.env("LONGSHORE_URL", queue.rabbit.url().replace(&queue.rabbit.address(), &relay.address()));
        relay.cut(40_000, CUTS);
        let program = Ambassador::start(command).await;
        let values = program.drained(&LOST).await;
        assert_eq!(relay.cuts(), CUTS);
        let number = |value: &String| value.split('-').nth(1).expect("a number").parse::<usize>().expect("a number");
        let mut numbers: Vec<_> = values.iter().map(number).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..ALL).collect::<Vec<_>>(), "each once");
        assert_eq!(queue.drain(), Vec::<Value>::new());
    }
}
