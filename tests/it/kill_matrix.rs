//! `kill -9` of every program at every place where state changes hands, and what must hold afterwards.
//!
//! The fault points are read from the sources, so one that nobody ever passes fails the test as surely as one that is
//! not survived.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use longshore_tests::sources::{fault_points, fault_points_below};
use longshore_tests::{Ended, Faults, Settling, World, wait_until};

/// Says what was met, also where the test passes: libtest keeps back only what goes through `print!`.
fn show(what: &str) {
    writeln!(std::io::stdout(), "{what}").expect("standard output can be written");
}

/// The manager's verdict when everything but the poison succeeded.
const SOME_DEAD: i32 = 3;

/// What a program is killed at and what befell it before. Recovery has points of its own, which only a start after an
/// earlier kill passes: so each program is first killed in the middle of its work, then at `point`.
fn killed_twice(first: &str, point: &str) -> Vec<String> {
    vec![format!("{first}=kill"), format!("{point}=kill")]
}

fn trip(world: &World, faults: Faults, revision: u64) {
    assert_eq!(world.trip(&faults, 2, revision), SOME_DEAD, "{}", world.logs());
    world.check(revision);
}

/// Takes a world's items through their lives with a kill at `point`. Gives the points that were passed.
fn survive(point: &str) -> BTreeSet<String> {
    let new = |settling| {
        let mut world = World::new(settling);
        world.add_usual_files();
        world
    };
    match point.split_once('.').expect("a family and a place") {
        ("manager", "stop.before" | "stop.after") => {
            let world = new(Settling::Beside);
            stop_amid(&world, point);
            trip(&world, Faults::default(), 0);
            world.hits()
        }
        ("manager" | "executor", _) => {
            let world = new(Settling::Beside);
            trip(&world, Faults { manager: killed_twice("executor.spawn.after", point), ..Faults::default() }, 0);
            world.hits()
        }
        ("files", _) => {
            let mut hits = BTreeSet::new();
            for settling in [Settling::Beside, Settling::Across] {
                let world = new(settling);
                let ambassador = killed_twice("files.settle.aside.after", point);
                trip(&world, Faults { ambassador, ..Faults::default() }, 0);
                hits.extend(world.hits());
            }
            hits
        }
        ("worker", _) => {
            let world = new(Settling::Nowhere);
            trip(&world, Faults { worker: killed_twice("worker.rename.before", point), ..Faults::default() }, 0);
            // Everything again over what stands there, first on a file system that can exchange two directories, then
            // on one that cannot.
            trip(&world, Faults { worker: killed_twice("worker.exchange.before", point), ..Faults::default() }, 1);
            let without_exchange = |fault: String| format!("worker.exchange.before=fail,{fault}");
            let worker = killed_twice("worker.aside.after", point).into_iter().map(without_exchange).collect();
            trip(&world, Faults { worker, ..Faults::default() }, 2);
            world.hits()
        }
        _ => panic!("fault point {point:?} is of no family that this test knows"),
    }
}

/// A manager that is told to end while its attempts are in the middle of their work, and is killed as it stops them.
fn stop_amid(world: &World, point: &str) {
    world.set_pace("30");
    let mut ambassador = world.ambassador(None);
    let mut manager = world.manager(Some(&format!("{point}=kill")), 2, 0);
    wait_until("a run to be in its middle", || world.path().join("copied").exists().then_some(()));
    assert_eq!(manager.terminate(), Ended::Signal(9), "{}", world.logs());
    world.set_pace("0.02");
    ambassador.terminate();
}

#[test]
fn every_fault_point_is_passed_and_survived() {
    // Those of object stores need some; those of stages are passed in workers/stage-shim/tests/it/kills.rs, those
    // of pipelines in workers/multi/tests/it/kills.rs, those of topics in ambassadors/kafka/tests/it/kills.rs.
    let folders =
        ["storage/s3", "ambassadors/s3", "ambassadors/kafka", "workers/stage", "workers/stage-shim", "workers/multi"];
    let elsewhere: BTreeSet<String> = folders.into_iter().flat_map(fault_points_below).collect();
    let points: Vec<String> = fault_points().into_iter().filter(|point| !elsewhere.contains(point)).collect();
    assert!(points.len() > 20, "only {} fault points were found in the sources", points.len());
    survive_all(&points, survive);
}

/// Survives a kill at each point, and fails where one is not survived or never passed.
fn survive_all(points: &[String], survive: impl Fn(&str) -> BTreeSet<String> + Sync) {
    let (next, hits, failures) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while let Some(point) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match catch_unwind(AssertUnwindSafe(|| survive(point))) {
                        Ok(seen) => {
                            let mut hits = hits.lock().expect("no panic holds it");
                            seen.into_iter().for_each(|hit| *hits.entry(hit).or_insert(0) += 1);
                        }
                        Err(panic) => failures.lock().expect("no panic holds it").push((point, panic)),
                    }
                }
            });
        }
    });
    let hits = hits.into_inner().expect("no panic holds it");
    let lines: String = hits.iter().map(|(point, trips)| format!("\n  {point:<40} {trips}")).collect();
    show(&format!("{} fault points passed, and in how many trips:{lines}", hits.len()));
    let failures = failures.into_inner().expect("no panic holds it");
    let failed: Vec<_> = failures.iter().map(|(point, _)| point).collect();
    assert!(failed.is_empty(), "not survived: {failed:?} (each is described above)");
    let never: Vec<_> = points.iter().filter(|point| !hits.contains_key(*point)).collect();
    assert!(never.is_empty(), "never passed: {never:?}");
}

/// A worker that is killed while it publishes to a bucket.
mod needs_s3_servers {
    use test_servers::S3Server;

    use super::*;

    /// Large enough to be uploaded in parts.
    const LARGE: usize = 17 * 1024 * 1024;

    fn survive_in_bucket(point: &str, server: &S3Server) -> BTreeSet<String> {
        let mut world = World::with_bucket(Settling::Nowhere, server);
        let large: Vec<u8> = b"sub folder/large.bin".iter().copied().cycle().take(LARGE).collect();
        for (key, content) in [
            (&b"poison.txt"[..], &b"poison"[..]),
            (b"plain + one.txt", b"plain + one.txt"),
            (b"sub folder/large.bin", &large),
        ] {
            world.add(key, content);
        }
        for (revision, mode) in [(0, "in-place"), (1, "attempts")] {
            world.set_publish(mode);
            // What a first run had uploaded, or was about to, is there when the second is killed; some points are met only then.
            let first =
                if point.starts_with("worker.abort.") { "worker.complete.before" } else { "worker.commit.before" };
            // The first worker may get the poison, which comes to no publishing: the first fault is there twice.
            let worker = [first, first, point, point].map(|point| format!("{point}=kill")).to_vec();
            trip(&world, Faults { worker, ..Faults::default() }, revision);
        }
        world.hits()
    }

    #[test]
    fn every_fault_point_of_publishing_to_a_bucket_is_passed_and_survived() {
        let mut points = fault_points_below("storage/s3");
        points.extend(fault_points_below("workers/kit"));
        let points: Vec<String> = points.into_iter().filter(|point| point.starts_with("worker.")).collect();
        assert!(points.len() > 15, "only {points:?} were found in the sources");
        let server = S3Server::minio();
        survive_all(&points, |point| survive_in_bucket(point, &server));
        assert_eq!(server.open_uploads(), 0, "uploads in parts were left open");
    }
}

#[test]
fn a_script_killed_at_any_step_runs_again() {
    for step in ["start", "middle", "end"] {
        let mut world = World::new(Settling::Beside);
        world.add_usual_files();
        let token = world.path().join("kill-script").join(step);
        fs::create_dir_all(&token).expect("a token");
        trip(&world, Faults::default(), 0);
        assert!(!token.exists(), "no script was killed at its {step}");
    }
}

#[test]
fn random_kills_over_five_hundred_items_lose_and_double_nothing() {
    const ITEMS: usize = 500;
    /// After which the rest is left in peace.
    const KILLS: usize = 150;
    let mut world = World::new(Settling::Beside);
    for n in 0..ITEMS {
        let key = format!("dir{}/item {n}.txt", n % 7).into_bytes();
        world.add(&key, &[&key[..], b" content"].concat());
    }
    let (done, kills) = (AtomicBool::new(false), Mutex::new(BTreeMap::<&str, usize>::new()));
    let code = std::thread::scope(|scope| {
        scope.spawn(|| {
            let victims = ["queue-manager local", "script-worker --permanent", "/script", "files-ambassador --root"];
            let mut killed = 0;
            while !done.load(Ordering::Relaxed) && killed < KILLS {
                std::thread::sleep(Duration::from_millis(fastrand::u64(50..400)));
                let victim = fastrand::choice(victims).expect("there are some");
                if world.kill_one(victim) {
                    *kills.lock().expect("no panic holds it").entry(victim).or_default() += 1;
                    killed += 1;
                }
            }
        });
        let code = catch_unwind(AssertUnwindSafe(|| world.trip(&Faults::default(), 4, 0)));
        done.store(true, Ordering::Relaxed);
        code.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    let kills = kills.into_inner().expect("no panic holds it");
    let begun = world.runs().iter().filter(|run| run.starts_with("start")).count();
    show(&format!("killed over {ITEMS} items: {kills:?}; runs begun: {begun}"));
    assert!(kills.values().sum::<usize>() >= 20, "too few kills to prove anything: {kills:?}");
    assert_eq!(code, 0, "{}", world.logs());
    world.check(0);
}

/// The last word from outside: the kernel kills the worker as it enters a system call that changes what others see.
mod needs_strace {
    use std::process::Command;

    use super::*;
    use longshore_tests::Daemon;
    use longshore_tests::programs::program;

    fn worker(world: &World, inject: Option<(&str, usize)>) -> Ended {
        let mut command = Command::new(if inject.is_some() { "strace".into() } else { program("script-worker") });
        if let Some((calls, nth)) = inject {
            command
                .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}")])
                .args(["-e", &format!("inject={calls}:signal=KILL:when={nth}")])
                .arg(program("script-worker"));
        }
        command
            .env("WORLD", world.path())
            .env("TMPDIR", world.path().join("tmp"))
            .env("WORK_ITEM_FILE", world.path().join("item.json"))
            .env("LONGSHORE_ATTEMPT_ID", format!("attempt-{}", fastrand::u64(..)))
            .arg("--allow-input")
            .arg(format!("file://{}/", world.path().join("source").display()))
            .arg("--output")
            .arg(format!("{}/{{key}}/", world.path().join("out").display()))
            .arg("--report")
            .arg(world.path().join("report.json"))
            .arg("--")
            .arg(world.path().join("script"));
        let mut worker = Daemon::start(&mut command, &world.path().join("worker.log"));
        let ended = worker.wait();
        // The kernel killed the worker; what a manager would do about its script is done here.
        while world.kill_one("/script") {}
        ended
    }

    fn dies_at_every(calls: &str) {
        let mut deaths = 0;
        for nth in 1.. {
            let mut world = World::new(Settling::Beside);
            world.add(b"a.txt", b"a.txt content");
            let uri = format!("file://{}/source/a.txt", world.path().display());
            let item = serde_json::json!({"uri": uri, "key": "a.txt"}).to_string();
            fs::write(world.path().join("item.json"), item).expect("an item file");
            let first = worker(&world, Some((calls, nth)));
            if first == Ended::Code(0) {
                break;
            }
            deaths += 1;
            wait_until("the killed worker's script to end", || world.processes().is_empty().then_some(()));
            let whole = longshore_tests::world::whole(&world.path().join("out/a.txt"));
            assert!(
                whole.is_ok() || !world.path().join("out/a.txt").exists(),
                "{calls} {nth}: half published: {whole:?}"
            );
            assert_eq!(worker(&world, None), Ended::Code(0), "{calls} {nth}: {}", world.logs());
            world.check_one_committed(&format!("{calls} number {nth}"));
        }
        show(&format!("a worker was killed at each of its {deaths} calls of {calls}"));
        assert!(deaths > 0, "the worker makes no call of {calls}: nothing was tested");
    }

    #[test]
    fn a_worker_killed_at_any_rename_is_made_good() {
        // One by one, since strace counts the calls of each thread by itself: killed at the first of one kind, the
        // worker would never come to the other.
        dies_at_every("renameat");
        dies_at_every("rename");
    }

    #[test]
    fn a_worker_killed_at_any_fsync_is_made_good() {
        dies_at_every("fsync,fdatasync");
    }

    #[test]
    fn a_worker_killed_at_any_mkdir_or_unlink_is_made_good() {
        for calls in ["mkdir", "unlinkat", "unlink"] {
            dies_at_every(calls);
        }
    }
}
