//! Everybody is killed, in random order: ambassadors of a group, managers, workers. Every item is done, none is lost, and what is committed
//! is never ahead of what is done.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use longshore_tests::{Daemon, Ended, wait_until};
use rustix::process::{Pid, Signal, kill_process};

use crate::kafka::site::{Copy, Site};

const PARTITIONS: u32 = 3;
const COPIES: usize = 2;

/// Notes which record was done, by partition and offset, as its very last act.
const WORK: &str = r#"field() { sed "s/.*\"$1\":\([0-9]*\).*/\1/" "$WORK_ITEM_FILE"; }
    sleep 0.01; echo "$(field partition) $(field offset)" >>"$SITE/done""#;

/// How often each record was done.
fn done(site: &Path) -> BTreeMap<(i32, u64), usize> {
    let mut counts = BTreeMap::new();
    for line in fs::read_to_string(site.join("done")).unwrap_or_default().lines() {
        let (partition, offset) = line.split_once(' ').expect("two numbers");
        let at = (partition.parse().expect("a partition"), offset.parse().expect("an offset"));
        *counts.entry(at).or_default() += 1;
    }
    counts
}

/// Fails if the group has committed a record that nobody has done.
fn assert_nothing_passed(site: &Site) {
    // What is committed first: what is done by then is done still.
    let committed = site.kafka.committed(&site.group, &site.topic);
    let done: BTreeSet<_> = done(site.path()).into_keys().collect();
    for (partition, committed) in (0..).zip(committed) {
        let passed: Vec<u64> =
            (0..committed.unwrap_or(0)).filter(|offset| !done.contains(&(partition, *offset))).collect();
        assert!(passed.is_empty(), "committed {committed:?} of partition {partition}, and nobody has done {passed:?}");
    }
}

fn kill(daemon: &mut Daemon) {
    daemon.signal(Signal::KILL);
    assert_eq!(daemon.wait(), Ended::Signal(9), "it ran until then: {}", daemon.log());
}

/// Children of a manager: workers, or shells and what they run.
fn workers(copy: &Copy) -> Vec<Pid> {
    let manager = copy.manager.as_ref().expect("it runs").pid().as_raw_nonzero();
    let children = fs::read_to_string(format!("/proc/{manager}/task/{manager}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
}

#[test]
fn everybody_is_killed_in_random_order_and_nothing_is_lost() {
    #[expect(clippy::disallowed_methods, reason = "a test's process has no flags of its own")]
    let variable = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().expect("a number"));
    let items = variable("LONGSHORE_TEST_KILL_ITEMS").unwrap_or(300);
    let seed = variable("LONGSHORE_TEST_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("LONGSHORE_TEST_SEED={seed} LONGSHORE_TEST_KILL_ITEMS={items}");
    let mut random = fastrand::Rng::with_seed(seed);
    let site = Site::new(PARTITIONS);
    for partition in 0..PARTITIONS {
        let share = items / u64::from(PARTITIONS) + u64::from(u64::from(partition) < items % u64::from(PARTITIONS));
        site.kcat(partition, &[], (0..share).map(|n| n.to_string()));
    }
    let work = WORK.replace("$SITE", &site.path().display().to_string());
    // A session that is over soon, so that what a dead member had comes to the others within seconds.
    let flags = ["--mode", "group", "--group", &site.group, "--window", "100"];
    let flags =
        [&flags[..], &["--property", "session.timeout.ms=3000", "--property", "heartbeat.interval.ms=500"]].concat();
    let manager = ["--parallelism", "4", "--max-attempts", "1000", "--breaker", "0"];
    let mut copies: Vec<Copy> =
        (0..COPIES).map(|n| site.copy(&format!("copy-{n}"), &flags, &manager, &["sh", "-c", &work])).collect();
    let mut kills = BTreeMap::new();
    // Between two kills some work is done, so that the order of kills, and not the speed of the machine, decides.
    let step = (items / variable("LONGSHORE_TEST_KILLS").unwrap_or(12)).max(10);
    let mut next = step;
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                assert_nothing_passed(&site);
                std::thread::sleep(std::time::Duration::from_millis(300));
            }
        });
        while next < items {
            wait_until("more to be done", || {
                (done(site.path()).len() as u64 >= next || watching.is_finished()).then_some(())
            });
            next += step;
            let copy = random.choice(&mut copies).expect("there are some");
            let who = match random.u8(0..4) {
                0 => {
                    kill(copy.ambassador.as_mut().expect("it runs"));
                    copy.start_ambassador();
                    "ambassador"
                }
                1 => {
                    kill(copy.manager.as_mut().expect("it runs"));
                    copy.start_manager();
                    "manager"
                }
                _ => {
                    let workers = workers(copy);
                    if let Some(worker) = random.choice(&workers) {
                        // It may have ended meanwhile.
                        let _ = kill_process(*worker, Signal::KILL);
                    }
                    "worker"
                }
            };
            *kills.entry(who).or_insert(0) += 1;
        }
        wait_until("everything to be committed", || {
            let ends: Vec<_> = site.kafka.end_offsets(&site.topic).into_iter().map(Some).collect();
            (watching.is_finished() || site.kafka.committed(&site.group, &site.topic) == ends).then_some(())
        });
        over.store(true, Ordering::Relaxed);
        watching.join().expect("what is committed was done");
    });
    let done = done(site.path());
    assert_eq!(done.len() as u64, items, "each was done");
    let repeats: usize = done.values().map(|times| times - 1).sum();
    println!("{items} items, killed: {kills:?}, done again: {repeats}");
}
