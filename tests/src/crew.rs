//! Ambassadors of one queue, a manager beside each, the workers that these run, and somebody who kills any of them at any time.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use test_servers::free_port;

use crate::ambassador::is_nothing;
use crate::http::ask;
use crate::programs::program_alone;
use crate::supervised::{Daemon, Ended, wait_until};

/// Notes the value of its item, as its very last act. It starts nothing itself: there are thousands of it.
const WORK: &str = r#"read -r item <"$WORK_ITEM_FILE" || [ "$item" ]
item=${item#*'"value":"'}; echo "${item%%'"'*}" >>"$0""#;

/// A trial that a crew has to survive: how many items, how many kills, and by which seed, as the variables say or else the test.
#[derive(Debug)]
pub struct Ordeal {
    /// So many items are to be there.
    pub items: usize,
    kills: usize,
    seed: u64,
}

impl Ordeal {
    /// Twelve kills among so many items.
    pub fn of(items: usize) -> Self {
        let number = |variable, default| said(variable).map_or(default, |said| usize::try_from(said).expect("it fits"));
        Self {
            items: number("LONGSHORE_TEST_KILL_ITEMS", items),
            kills: number("LONGSHORE_TEST_KILLS", 12),
            seed: said("LONGSHORE_TEST_SEED").unwrap_or_else(|| fastrand::u64(..)),
        }
    }

    /// Has these ambassadors of one queue, and all who work beside them, go through it.
    ///
    /// # Panics
    /// If an item is lost; and outside a runtime.
    #[expect(clippy::print_stdout, reason = "who was killed, and by which seed, is to be seen")]
    pub async fn survived_by(self, ambassadors: Vec<Command>) {
        let Self { items, kills, seed } = self;
        println!("LONGSHORE_TEST_SEED={seed} LONGSHORE_TEST_KILL_ITEMS={items} LONGSHORE_TEST_KILLS={kills}");
        let surviving = tokio::task::spawn_blocking(move || {
            let mut crew = Crew::start(ambassadors, seed);
            let killed = crew.work_through(items, kills);
            println!("{items} items, killed: {:?}, done again: {}", killed.kills, killed.repeats);
            crew.stop();
        });
        surviving.await.unwrap_or_else(|died| std::panic::resume_unwind(died.into_panic()));
    }
}

/// All of them. Values of items are to be of what JSON leaves as it is.
#[derive(Debug)]
struct Crew {
    dir: tempfile::TempDir,
    pairs: Vec<Pair>,
    random: fastrand::Rng,
}

/// Who was killed how often, and what came of it.
#[derive(Debug, Default)]
struct Killed {
    /// By who it was.
    kills: BTreeMap<&'static str, usize>,
    /// How often items were done beyond the first time.
    repeats: usize,
}

#[derive(Debug)]
struct Pair {
    address: String,
    dir: PathBuf,
    commands: (Command, Command),
    ambassador: Daemon,
    manager: Daemon,
}

/// What a variable says of how to test: `LONGSHORE_TEST_KILL_ITEMS`, `LONGSHORE_TEST_KILLS`, `LONGSHORE_TEST_SEED`.
///
/// # Panics
/// Where that is no number.
#[expect(clippy::disallowed_methods, reason = "a test's process has no flags of its own")]
pub fn said(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|value| value.parse().expect("a number"))
}

impl Crew {
    /// Starts each of these ambassadors, which is told where to listen, and a manager beside it.
    fn start(ambassadors: Vec<Command>, seed: u64) -> Self {
        let dir = tempfile::Builder::new().prefix("longshore-crew-").tempdir().expect("a folder");
        let done = dir.path().join("done");
        let start = |(n, mut ambassador): (usize, Command)| {
            let (address, probes) = (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port()));
            let dir = dir.path().join(n.to_string());
            fs::create_dir_all(dir.join("tmp")).expect("a folder");
            ambassador.args(["--listen", &address, "--probe-listen", &probes]).stdout(Stdio::null());
            let mut manager = Command::new(program_alone("queue-manager"));
            manager
                .args(["local", "--source", &format!("http://{address}"), "--probe-listen", "127.0.0.1:0", "--state"])
                .arg(dir.join("state"))
                .args(["--poll", "200ms", "--backoff", "10ms..100ms", "--parallelism", "4"])
                // However often chance kills one and the same.
                .args(["--max-attempts", "1000", "--breaker", "0", "--", "sh", "-c", WORK])
                .arg(&done)
                .env("TMPDIR", dir.join("tmp"))
                .stdout(Stdio::null());
            let runs = Daemon::start(&mut ambassador, &dir.join("ambassador.log"));
            let manages = Daemon::start(&mut manager, &dir.join("manager.log"));
            Pair { address, dir, commands: (ambassador, manager), ambassador: runs, manager: manages }
        };
        let pairs = ambassadors.into_iter().enumerate().map(start).collect();
        Self { pairs, dir, random: fastrand::Rng::with_seed(seed) }
    }

    /// Kills somebody, so many times, whenever as many more of so many items are done, and waits until all are, and nothing is left to
    /// be settled.
    ///
    /// # Panics
    /// If an item is not done in time, or somebody ended by himself.
    fn work_through(&mut self, items: usize, kills: usize) -> Killed {
        let mut killed = Killed::default();
        for kill in 1..=kills {
            // Between two kills some work is done, so that the order of kills, and not the speed of the machine, decides.
            self.wait_for(items * kill / (kills + 1));
            *killed.kills.entry(self.kill_one()).or_default() += 1;
        }
        self.wait_for(items);
        for pair in &self.pairs {
            wait_until("an ambassador that has nothing left", || {
                let (status, list) = ask(&pair.address, "GET", "/v1/items");
                let list: Value = serde_json::from_str(&list).ok()?;
                (status == 200 && is_nothing(&list)).then_some(())
            });
        }
        let done = self.done();
        assert_eq!(done.len(), items, "nothing was done that nobody asked for");
        killed.repeats = done.values().map(|times| times - 1).sum();
        killed
    }

    /// Ends all, in an orderly way.
    ///
    /// # Panics
    /// If somebody does not.
    fn stop(mut self) {
        for pair in &mut self.pairs {
            pair.manager.terminate();
            assert_eq!(pair.ambassador.terminate(), Ended::Code(0));
        }
    }

    /// How often each value was done.
    fn done(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for line in fs::read_to_string(self.dir.path().join("done")).unwrap_or_default().lines() {
            *counts.entry(line.to_owned()).or_default() += 1;
        }
        counts
    }

    fn wait_for(&self, items: usize) {
        // One more hundred at a time, so that a slow machine has as long as it needs.
        let begun = self.done().len();
        for next in (begun..items).step_by(100).skip(1).chain([items]) {
            wait_until(&format!("{next} items that are done"), || {
                std::thread::sleep(Duration::from_millis(50));
                (self.done().len() >= next).then_some(())
            });
        }
    }

    fn kill_one(&mut self) -> &'static str {
        let pair = self.random.choice(self.pairs.iter_mut()).expect("there are some");
        match self.random.u8(0..3) {
            0 => {
                kill(&mut pair.ambassador);
                pair.ambassador = Daemon::start(&mut pair.commands.0, &pair.dir.join("ambassador.log"));
                "ambassador"
            }
            1 => {
                kill(&mut pair.manager);
                pair.manager = Daemon::start(&mut pair.commands.1, &pair.dir.join("manager.log"));
                "manager"
            }
            _ => {
                if let Some(worker) = self.random.choice(pair.workers()) {
                    // It may have ended meanwhile.
                    let _ = kill_process(worker, Signal::KILL);
                }
                "worker"
            }
        }
    }
}

impl Pair {
    /// Children of the manager: workers.
    fn workers(&self) -> Vec<Pid> {
        let manager = self.manager.pid().as_raw_nonzero();
        let children = fs::read_to_string(format!("/proc/{manager}/task/{manager}/children")).unwrap_or_default();
        children.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
    }
}

fn kill(daemon: &mut Daemon) {
    daemon.signal(Signal::KILL);
    assert_eq!(daemon.wait(), Ended::Signal(9), "it ran until then: {}", daemon.log());
}

impl Drop for Crew {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for daemon in self.pairs.iter().flat_map(|pair| [&pair.ambassador, &pair.manager]) {
                let log = daemon.log();
                let end: Vec<_> = log.lines().rev().take(30).collect();
                // With what else is shown of a test that failed.
                let _ = writeln!(std::io::stderr(), "a log, the last line first:\n{}", end.join("\n"));
            }
        }
    }
}
