//! Servers that go away, stand still, take no writes or are cut off, and come back: what was listed stays what it was, and is never said
//! to be nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use test_servers::Redis;

use crate::keys::{Keys, until};
use crate::program::Program;

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
                    let body: serde_json::Value =
                        serde_json::from_str(&answer.text().await.expect("a body")).expect("JSON");
                    seen.lock().expect("no panic").push((status, body["items"].as_array().map_or(0, Vec::len)));
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        });
        Self { seen, over, watching }
    }

    /// None of them was shorter than this, and some said that there is none.
    async fn had(self, least: usize) {
        self.over.store(true, Ordering::Relaxed);
        self.watching.await.expect("watched");
        let seen = self.seen.lock().expect("no panic");
        assert!(seen.iter().all(|(status, names)| (*status == 200 && *names >= least) || *status == 503), "{seen:?}");
        assert!(seen.iter().any(|(status, _)| *status == 503), "{seen:?}");
    }
}

/// A list or a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    List,
    Stream,
}

const KINDS: [Kind; 2] = [Kind::List, Kind::Stream];

impl Kind {
    /// `item-0` … by redis-cli.
    fn fill(self, keys: &Keys<'_>, count: usize) {
        let name = &keys.name;
        keys.pipe((0..count).map(|n| match self {
            Self::List => format!("RPUSH {name} item-{n}"),
            Self::Stream => format!("XADD {name} * value item-{n}"),
        }));
    }

    async fn program(self, keys: &Keys<'_>, flags: &[&str]) -> Program {
        match self {
            Self::List => Program::of_list(keys, flags).await,
            Self::Stream => Program::of_stream(keys, flags).await,
        }
    }

    /// Waits until the server knows of nothing that is not settled.
    async fn is_done(self, keys: &Keys<'_>) {
        match self {
            Self::List => keys.is_nowhere().await,
            Self::Stream => {
                let pending =
                    async || keys.redis.ask(&["XPENDING", &keys.name, "media"]).starts_with('0').then_some(());
                until("no pending entries", pending).await;
            }
        }
    }
}

fn at<'a>(redis: &'a Redis, name: &str) -> Keys<'a> {
    Keys { redis, name: name.to_owned() }
}

/// Settles it, whatever is in the way.
async fn settled(program: &Program, name: &str) {
    until("a settle", async || (program.settle(name).await == Some(204)).then_some(())).await;
}

/// Works on what is listed until there is nothing: the values in the order in which they were settled.
async fn drained(program: &Program) -> Vec<String> {
    let mut values = Vec::new();
    let mut names: Vec<String> = Vec::new();
    until("nothing that is left", async || {
        for name in std::mem::take(&mut names) {
            let value = until("an item", async || {
                let (status, item) = program.ask(&format!("/v1/items/{name}")).await?;
                assert!(matches!(status, 200 | 503), "{name} is listed, and is {status}");
                Some(item["data"]["value"].as_str()?.to_owned())
            })
            .await;
            settled(program, &name).await;
            values.push(value);
        }
        let list = program.list().await?;
        let listed = list["items"].as_array()?;
        names = listed.iter().map(|name| name.as_str().expect("a name").to_owned()).collect();
        (names.is_empty() && list["metadata"]["backlog"] == 0 && list["metadata"]["complete"] == true).then_some(())
    })
    .await;
    values
}

fn in_order(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("item-{n}")).collect()
}

mod needs_redis {
    use std::fs::File;
    use std::io::Write;
    use std::process::Stdio;

    use test_servers::Relay;

    use super::*;
    use crate::program::command;

    /// How a server goes, what is said then, and how it comes back.
    type Way = (fn(&mut Redis), &'static str, fn(&mut Redis));

    /// Has the server go and come back beneath an ambassador, in each way.
    async fn survives(kind: Kind, ways: &[Way]) {
        const ALL: usize = 40;
        let mut redis = Redis::start(&[]);
        let name = Keys::of(&redis).name;
        kind.fill(&at(&redis, &name), ALL);
        // Heard of so often that whatever is taken from a replica is found out.
        let flags = ["--window", "20", "--stall-after", "2s", "--lease", "6s"];
        let program = kind.program(&at(&redis, &name), &flags).await;
        let mut values = Vec::new();
        for (go, says, come) in ways {
            let names = program.holds(20).await;
            program.ready(200).await;
            let watched = Watched::start(&program);
            go(&mut redis);
            program.is_red(says).await;
            let (status, body) = program.ask("/v1/items").await.expect("an answer");
            assert!(
                status == 503 && body["message"].as_str().is_some_and(|why| why.contains(says)),
                "{status}: {body}"
            );
            assert_eq!(program.settle(&names[0]).await, Some(503), "nobody can be told");
            come(&mut redis);
            program.ready(200).await;
            assert_eq!(program.holds(20).await, names, "{kind:?}: names are what they were, in their order");
            for name in &names[..2] {
                values.extend(program.values(std::slice::from_ref(name)).await);
                settled(&program, name).await;
            }
            watched.had(18).await;
        }
        values.extend(drained(&program).await);
        assert_eq!(values, in_order(ALL), "each once");
        kind.is_done(&at(&redis, &name)).await;
    }

    const STOPPED: Way = (Redis::stop, "no server answers", Redis::restart);
    const KILLED: Way = (Redis::kill, "no server answers", Redis::restart);
    const STANDS_STILL: Way = (Redis::pause, "says nothing", Redis::resume);
    const IS_A_REPLICA: Way = (
        |redis| drop(redis.ask(&["REPLICAOF", "127.0.0.1", "1"])),
        "a replica",
        |redis| drop(redis.ask(&["REPLICAOF", "NO", "ONE"])),
    );

    #[tokio::test(flavor = "multi_thread")]
    async fn a_list_s_server_that_goes_and_comes_back_has_lost_nothing() {
        survives(Kind::List, &[STOPPED, KILLED, STANDS_STILL, IS_A_REPLICA]).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_stream_s_server_that_goes_and_comes_back_has_lost_nothing() {
        survives(Kind::Stream, &[STOPPED, KILLED, STANDS_STILL, IS_A_REPLICA]).await;
    }

    /// Longer than any lease: whoever is back first has what the other had taken, by its names.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_server_that_stands_still_for_a_minute_has_two_share_what_they_had() {
        const ALL: usize = 30;
        let mut redis = Redis::start(&[]);
        let names = KINDS.map(|_| Keys::of(&redis).name);
        let mut pairs = Vec::new();
        for kind in KINDS {
            kind.fill(&at(&redis, &names[kind as usize]), ALL);
            let flags = ["--window", "20", "--lease", "5s", "--stall-after", "3s"];
            let first = kind.program(&at(&redis, &names[kind as usize]), &flags).await;
            let mut before = first.holds(20).await;
            let second = kind.program(&at(&redis, &names[kind as usize]), &flags).await;
            before.extend(second.holds(10).await);
            before.sort();
            pairs.push((kind, before, [first, second]));
        }
        redis.pause();
        let begun = std::time::Instant::now();
        for (_, _, programs) in &pairs {
            for program in programs {
                program.is_red("says nothing").await;
                assert_eq!(program.ask("/v1/items").await.expect("an answer").0, 503);
            }
        }
        tokio::time::sleep(Duration::from_secs(60).saturating_sub(begun.elapsed())).await;
        redis.resume();
        for (kind, before, programs) in &pairs {
            for program in programs {
                program.ready(200).await;
            }
            // Where one had to give up what the other took over, both may have room for a moment.
            let both = until("all of it, once", async || {
                let mut both = [programs[0].names().await?, programs[1].names().await?];
                let mut all = both.concat();
                all.sort();
                both.iter_mut().for_each(|names| names.truncate(20));
                (all == *before).then_some(both)
            })
            .await;
            println!("{kind:?}: {} and {}", both[0].len(), both[1].len());
            for program in programs {
                drained(program).await;
            }
            kind.is_done(&at(&redis, &names[*kind as usize])).await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn connections_that_are_cut_in_the_middle_of_answers_lose_nothing_and_repeat_nothing() {
        const ALL: usize = 1_000;
        const CUTS: usize = 8;
        for kind in KINDS {
            let keys = Keys::new();
            let pad = "x".repeat(1_000);
            keys.pipe((0..ALL).map(|n| match kind {
                Kind::List => format!("RPUSH {} item-{n}-{pad}", keys.name),
                Kind::Stream => format!("XADD {} * value item-{n}-{pad}", keys.name),
            }));
            let relay = Relay::before(&keys.redis.address());
            let what: &[&str] = if kind == Kind::List { &["--list"] } else { &["--group", "media", "--stream"] };
            let flags = [what, &[&keys.name, "--window", "100"]].concat();
            let mut command = command(&keys, &flags);
            command.env("LONGSHORE_URL", keys.redis.url().replace(&keys.redis.address(), &relay.address()));
            relay.cut(40_000, CUTS);
            let program = Program::start(command).await;
            let values = drained(&program).await;
            assert_eq!(relay.cuts(), CUTS, "{kind:?}");
            let numbers = values.iter().map(|value| value.split('-').nth(1).expect("a number").parse::<usize>());
            let mut numbers: Vec<_> = numbers.map(|number| number.expect("a number")).collect();
            numbers.sort_unstable();
            assert_eq!(numbers, (0..ALL).collect::<Vec<_>>(), "{kind:?}: each once");
            kind.is_done(&keys).await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_server_that_is_full_of_its_own_queue_is_drained_all_the_same() {
        const ALL: usize = 300;
        let redis = Redis::start(&[]);
        for kind in KINDS {
            let keys = Keys::of(&redis);
            kind.fill(&keys, ALL);
            // A group is made before: that is somebody's key, and no message that anything could be done about.
            if kind == Kind::Stream {
                redis.ask(&["XGROUP", "CREATE", &keys.name, "media", "0"]);
            }
            redis.ask(&["CONFIG", "SET", "maxmemory", "1"]);
            let refused = redis.cli().args(["SET", "any", "thing"]).output().expect("redis-cli runs");
            assert!(String::from_utf8_lossy(&refused.stderr).contains("OOM"), "{refused:?}");
            let program = kind.program(&keys, &["--window", "50"]).await;
            assert_eq!(drained(&program).await, in_order(ALL), "{kind:?}");
            kind.is_done(&keys).await;
            drop(program);
            redis.ask(&["CONFIG", "SET", "maxmemory", "0"]);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_server_whose_memory_is_full_is_waited_for_by_whoever_loads_it_and_named() {
        const ALL: usize = 6_000;
        let redis = Redis::start(&[]);
        let keys = Keys::of(&redis);
        let memory = keys.redis.ask(&["INFO", "memory"]);
        let used = memory.lines().find_map(|line| line.strip_prefix("used_memory:")?.trim().parse::<u64>().ok());
        let most = used.expect("a number") + (2 << 20);
        redis.ask(&["CONFIG", "SET", "maxmemory", &most.to_string()]);
        let dir = tempfile::tempdir().expect("a folder");
        let log = dir.path().join("log");
        let mut load = command(&keys, &["--list", &keys.name, "--load", "-"]);
        load.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(File::create(&log).expect("a log"));
        let mut loader = load.spawn().expect("the program starts");
        let mut stdin = loader.stdin.take().expect("piped");
        let pad = "x".repeat(1_000);
        let feeding = std::thread::spawn(move || {
            for n in 0..ALL {
                writeln!(stdin, "item-{n} {pad}").expect("it reads");
            }
        });
        until("what is wrong", async || {
            let said = std::fs::read_to_string(&log).expect("a log");
            assert!(loader.try_wait().expect("a child").is_none(), "it ended: {said}");
            said.contains("memory is full").then_some(())
        })
        .await;
        assert!(keys.of_key("LLEN").parse::<usize>().is_ok_and(|there| there < ALL));
        redis.ask(&["CONFIG", "SET", "maxmemory", "0"]);
        let ended = until("its end", async || loader.try_wait().expect("a child")).await;
        assert!(ended.success(), "{}", std::fs::read_to_string(&log).expect("a log"));
        feeding.join().expect("all of it was read");
        let values = keys.elements(&keys.name);
        let there: Vec<_> = values.iter().map(|value| value.split(' ').next().expect("a word")).collect();
        assert_eq!(there, in_order(ALL), "each once, in order: what was refused was not there");
    }
}
