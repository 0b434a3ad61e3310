//! Servers that go away, stand still, take no writes or are cut off, and come back: what was listed stays what it was, and is never said
//! to be nothing.

use std::time::Duration;

use longshore_tests::{Ambassador, Loader, Watched, numbered, until};
use test_servers::{Redis, Server};

use crate::keys::Keys;
use crate::program::{serving_list, serving_stream};

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

    async fn program(self, keys: &Keys<'_>, flags: &[&str]) -> Ambassador {
        match self {
            Self::List => serving_list(keys, flags).await,
            Self::Stream => serving_stream(keys, flags).await,
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

mod needs_redis {
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
        let flags = ["--window", "20", "--stall-after", "2s", "--lease", "1h"];
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
                program.settles(name).await;
            }
            let lists = watched.end().await;
            assert!(lists.iter().all(|list| list.names >= 18), "{lists:?}");
        }
        values.extend(program.drained(&[]).await);
        assert_eq!(values, numbered(0..ALL), "each once");
        kind.is_done(&at(&redis, &name)).await;
    }

    const STOPPED: Way = (Redis::stop, "no server answers", Redis::restart);
    const KILLED: Way = (Redis::kill, "no server answers", Redis::restart);
    const STANDS_STILL: Way = (|redis| redis.pause(), "says nothing", |redis| redis.resume());
    const IS_A_REPLICA: Way = (
        |redis| drop(redis.ask(&["REPLICAOF", "127.0.0.1", "1"])),
        "a replica",
        |redis| drop(redis.ask(&["REPLICAOF", "NO", "ONE"])),
    );

    /// Its disk is full, or what else keeps it from saving its data.
    const CANNOT_SAVE: Way = (|redis| saving(redis, false), "MISCONF", |redis| saving(redis, true));

    /// Has it save its data, where that can be or not.
    fn saving(redis: &Redis, can: bool) {
        let in_the_way =
            redis.ask(&["CONFIG", "GET", "dir"]).lines().nth(1).expect("a folder").to_owned() + "/dump.rdb";
        match can {
            true => std::fs::remove_dir_all(&in_the_way).expect("it is removed"),
            false => std::fs::create_dir_all(format!("{in_the_way}/file")).expect("it is made"),
        }
        redis.ask(&["CONFIG", "SET", "save", if can { "" } else { "3600 1" }]);
        redis.ask(&["BGSAVE"]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_list_s_server_that_goes_and_comes_back_has_lost_nothing() {
        survives(Kind::List, &[STOPPED, KILLED, STANDS_STILL, IS_A_REPLICA, CANNOT_SAVE]).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_stream_s_server_that_goes_and_comes_back_has_lost_nothing() {
        survives(Kind::Stream, &[STOPPED, KILLED, STANDS_STILL, IS_A_REPLICA, CANNOT_SAVE]).await;
    }

    /// Longer than any lease: whoever is back first has what the other had taken, by its names.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_server_that_stands_still_for_a_minute_has_two_share_what_they_had() {
        const ALL: usize = 30;
        let redis = Redis::start(&[]);
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
                program.drained(&[]).await;
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
            let program = Ambassador::start(command).await;
            let values = program.drained(&[]).await;
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
            assert_eq!(program.drained(&[]).await, numbered(0..ALL), "{kind:?}");
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
        let mut loader = Loader::start(command(&keys, &["--list", &keys.name, "--load", "-"]));
        let pad = "x".repeat(1_000);
        loader.feed((0..ALL).map(|n| format!("item-{n} {pad}")));
        loader.says("memory is full").await;
        assert!(keys.of_key("LLEN").parse::<usize>().is_ok_and(|there| there < ALL));
        redis.ask(&["CONFIG", "SET", "maxmemory", "0"]);
        loader.ends().await;
        let values = keys.elements(&keys.name);
        let there: Vec<_> = values.iter().map(|value| value.split(' ').next().expect("a word")).collect();
        assert_eq!(there, numbered(0..ALL), "each once, in order: what was refused was not there");
    }
}
