//! Brokers that go away, stand still, take nothing or are cut off, and come back: what was listed stays what it was, and is never said to
//! be nothing.

use std::fs::File;
use std::io::Write;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use test_servers::{RabbitMq, Relay};

use crate::program::{Program, command};
use crate::queue::{Queue, until};

/// How many names each list of a program has from now on, or none where it gives none.
struct Watched {
    seen: Arc<Mutex<Vec<(u16, usize)>>>,
    over: Arc<AtomicBool>,
    watching: tokio::task::JoinHandle<()>,
}

impl Watched {
    fn start(program: &Program) -> Self {
        let (seen, over) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<AtomicBool>::default());
        let watching = tokio::spawn({
            let (seen, over, url) = (Arc::clone(&seen), Arc::clone(&over), format!("{}/v1/items", program.url));
            async move {
                while !over.load(Ordering::Relaxed) {
                    let answer = reqwest::get(&url).await.expect("the ambassador itself never goes");
                    let status = answer.status().as_u16();
                    let body = answer.text().await.expect("a body");
                    let body: Value = serde_json::from_str(&body).expect("JSON");
                    let names = body["items"].as_array().map_or(0, Vec::len);
                    // What is on its way is no item yet, but there is more.
                    let says_nothing =
                        names == 0 && body["metadata"]["complete"] == true && body["metadata"]["backlog"] == 0;
                    seen.lock().expect("no panic").push((status, if says_nothing { 0 } else { names.max(1) }));
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        });
        Self { seen, over, watching }
    }

    /// None of them said that there is nothing, and some said that there is no list.
    async fn never_said_nothing(self) {
        self.over.store(true, Ordering::Relaxed);
        self.watching.await.expect("watched");
        let seen = self.seen.lock().expect("no panic");
        assert!(seen.iter().all(|(status, names)| (*status == 200 && *names > 0) || *status == 503), "{seen:?}");
        assert!(seen.iter().any(|(status, _)| *status == 503), "{seen:?}");
    }
}

/// Settles it, whatever is in the way.
async fn settled(program: &Program, name: &str) {
    until("a settle", async || (program.settle(name).await == Some(204)).then_some(())).await;
}

/// Works on what is listed until there is nothing: the values in the order in which they were settled. A name that is settled is not
/// listed again, and has one value.
async fn drained(program: &Program) -> Vec<String> {
    let (mut values, mut names) = (Vec::new(), Vec::<String>::new());
    let mut done = std::collections::HashSet::new();
    until("nothing that is left", async || {
        for name in std::mem::take(&mut names) {
            assert!(!done.contains(&name), "{name} was settled, and is listed");
            let value = until("an item", async || {
                let (status, item) = program.ask(&format!("/v1/items/{name}")).await?;
                // Lost with its channel, it comes again.
                assert!(matches!(status, 200 | 410 | 503), "{name} was listed, and is {status}");
                Some(item["data"]["value"].as_str()?.to_owned())
            })
            .await;
            settled(program, &name).await;
            values.push(value);
            done.insert(name);
        }
        let list = program.list().await?;
        let listed = list["items"].as_array()?;
        names = listed.iter().map(|name| name.as_str().expect("a name").to_owned()).collect();
        (names.is_empty() && list["metadata"]["backlog"] == 0 && list["metadata"]["complete"] == true).then_some(())
    })
    .await;
    values
}

fn at<'a>(rabbit: &'a RabbitMq, name: &str) -> Queue<'a> {
    Queue { rabbit, name: name.to_owned() }
}

fn in_order(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("item-{n}")).collect()
}

/// A loader that is fed a line at a time.
struct Loader {
    child: Child,
    dir: tempfile::TempDir,
}

impl Loader {
    fn start(queue: &Queue<'_>) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let log = File::create(dir.path().join("log")).expect("a log");
        let mut command = command(queue, &["--load", "-", "--heartbeat", "20s"]);
        let child =
            command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log).spawn().expect("the program starts");
        Self { child, dir }
    }

    fn feed(&mut self, lines: std::ops::Range<usize>) {
        let mut stdin = self.child.stdin.as_ref().expect("piped");
        stdin.write_all(lines.map(|n| format!("item-{n}\n")).collect::<String>().as_bytes()).expect("it reads");
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).expect("a log")
    }

    async fn says(&mut self, what: &str) {
        until(what, async || {
            assert!(self.child.try_wait().expect("a child").is_none(), "it ended: {}", self.log());
            self.log().contains(what).then_some(())
        })
        .await;
    }

    /// There is no more to load: it ends by itself.
    async fn ends(mut self) {
        drop(self.child.stdin.take());
        let ended = until("its end", async || self.child.try_wait().expect("a child")).await;
        assert!(ended.success(), "{}", self.log());
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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
            (RabbitMq::pause, "cannot", RabbitMq::resume),
            (RabbitMq::kill, "no broker answers", RabbitMq::restart),
        ];
        let mut rabbit = RabbitMq::start(&[]);
        let quorum = Queue::of(&rabbit, json!({"x-queue-type": "quorum"})).name;
        let bare = Queue::of(&rabbit, json!({})).name;
        let message = |n| json!({"body": format!("item-{n}"), "message_id": format!("{n}")});
        at(&rabbit, &quorum).publish(&(0..ALL).map(message).collect::<Vec<_>>());
        at(&rabbit, &bare).publish(&(0..ALL).map(|n| json!({"body": format!("item-{n}")})).collect::<Vec<_>>());
        let flags = ["--window", "20", "--heartbeat", "2s"];
        let programs =
            [Program::of(&at(&rabbit, &quorum), &flags).await, Program::of(&at(&rabbit, &bare), &flags).await];
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
                settled(program, &names[0]).await;
                values.extend(first);
                watched.never_said_nothing().await;
            }
        }
        for (((program, values), name), forgets) in programs.iter().zip(values).zip([&quorum, &bare]).zip([false, true])
        {
            let mut all = [values, drained(program).await].concat();
            let mut expected = in_order(ALL);
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
        let mut rabbit = RabbitMq::start(&[]);
        let (loaded, served) = (Queue::of(&rabbit, json!({})).name, Queue::of(&rabbit, json!({})).name);

        let mut loader = Loader::start(&at(&rabbit, &loaded));
        loader.feed(0..500);
        until("the first lines", async || (at(&rabbit, &loaded).depth() == 500).then_some(())).await;
        rabbit.disk_alarm(true);
        loader.feed(500..1_500);
        loader.says("the broker takes no messages now").await;
        assert_eq!(at(&rabbit, &loaded).depth(), 500, "nothing is taken meanwhile");
        rabbit.disk_alarm(false);
        loader.says("the broker takes messages again").await;
        loader.ends().await;
        assert_eq!(at(&rabbit, &loaded).take(1_500), in_order(1_500), "each once, in order");

        at(&rabbit, &served).fill(30);
        let mut loader = Loader::start(&at(&rabbit, &loaded));
        loader.feed(0..100);
        until("the first lines", async || (at(&rabbit, &loaded).depth() == 100).then_some(())).await;
        let program = Program::of(&at(&rabbit, &served), &["--window", "20", "--heartbeat", "20s"]).await;
        let names = program.holds(20).await;
        let watched = Watched::start(&program);
        rabbit.pause();
        let begun = Instant::now();
        loader.feed(100..300);
        program.is_red("cannot").await;
        assert_eq!(program.ask("/v1/items").await.expect("an answer").0, 503);
        tokio::time::sleep(Duration::from_secs(60).saturating_sub(begun.elapsed())).await;
        rabbit.resume();
        program.ready(200).await;
        assert_eq!(program.holds(20).await, names, "names are what they were, in their order");
        watched.never_said_nothing().await;
        let mut values = drained(&program).await;
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
        assert_eq!(different, in_order(300).into_iter().collect(), "none is lost");
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
        let program = Program::start(command).await;
        let values = drained(&program).await;
        assert_eq!(relay.cuts(), CUTS);
        let number = |value: &String| value.split('-').nth(1).expect("a number").parse::<usize>().expect("a number");
        let mut numbers: Vec<_> = values.iter().map(number).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..ALL).collect::<Vec<_>>(), "each once");
        assert_eq!(queue.drain(), Vec::<Value>::new());
    }
}
